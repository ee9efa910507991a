//! The types that a Linux kernel describes in its own memory (BTF, `Documentation/bpf/btf.rst`): where a structure has a member.
//!
//! It comes out of the guest and is untrusted: everything is bounded, and what does not fit is no type.

const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;
/// More types than any kernel has.
const MAX_TYPES: usize = 1 << 20;
/// Unnamed structures within each other.
const MAX_DEPTH: u32 = 8;

const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;

/// Types.
#[derive(Debug)]
pub struct Btf<'b> {
    types: &'b [u8],
    strings: &'b [u8],
    /// Where each type is in `types`, from type 1 on.
    places: Vec<u32>,
}

struct Header {
    name: u32,
    kind: u32,
    /// How many members, values or parameters.
    count: usize,
    flag: bool,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

impl<'b> Btf<'b> {
    /// Reads them; `None` if these are none.
    pub fn parse(bytes: &'b [u8]) -> Option<Self> {
        let magic = bytes.get(..2)?;
        if u16::from_le_bytes(magic.try_into().ok()?) != MAGIC || bytes.get(2) != Some(&1) {
            return None;
        }
        let header = word(bytes, 4)? as usize;
        if header < HEADER {
            return None;
        }
        let part = |at: usize| {
            let (offset, length) = (word(bytes, at)? as usize, word(bytes, at + 4)? as usize);
            let start = header.checked_add(offset)?;
            bytes.get(start..start.checked_add(length)?)
        };
        let mut btf = Self { types: part(8)?, strings: part(16)?, places: Vec::new() };
        let mut at = 0;
        while at < btf.types.len() && btf.places.len() < MAX_TYPES {
            let Header { kind, count, .. } = btf.header(at)?;
            btf.places.push(at as u32);
            let more = match kind {
                KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
                KIND_ARRAY => 12,
                KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => count * 12,
                KIND_ENUM | KIND_FUNC_PROTO => count * 8,
                _ => 0,
            };
            at += 12 + more;
        }
        Some(btf)
    }

    fn header(&self, at: usize) -> Option<Header> {
        let info = word(self.types, at + 4)?;
        Some(Header {
            name: word(self.types, at)?,
            kind: info >> 24 & 0x1f,
            count: (info & 0xffff) as usize,
            flag: info >> 31 != 0,
        })
    }

    fn is_named(&self, name: u32, wanted: &str) -> bool {
        let text = self.strings.get(name as usize..).unwrap_or_default();
        text.starts_with(wanted.as_bytes()) && text.get(wanted.len()) == Some(&0)
    }

    /// The bytes from the begin of a structure to a member, which may be in an unnamed structure within it.
    pub fn offset(&self, structure: &str, member: &str) -> Option<u64> {
        self.places.iter().find_map(|place| {
            let header = self.header(*place as usize)?;
            if header.kind != KIND_STRUCT || !self.is_named(header.name, structure) {
                return None;
            }
            self.member(*place as usize, member, 0)
        })
    }

    fn member(&self, at: usize, wanted: &str, depth: u32) -> Option<u64> {
        let Header { kind, count, flag, .. } = self.header(at)?;
        if depth > MAX_DEPTH || kind != KIND_STRUCT && kind != KIND_UNION {
            return None;
        }
        (0..count).find_map(|number| {
            let entry = at + 12 + number * 12;
            let (name, of, offset) =
                (word(self.types, entry)?, word(self.types, entry + 4)?, word(self.types, entry + 8)?);
            // With the flag the upper bits say how many bits a bit field has.
            let bytes = u64::from(if flag { offset & 0xff_ffff } else { offset }) / 8;
            if self.is_named(name, wanted) {
                return Some(bytes);
            }
            if !self.is_named(name, "") {
                return None;
            }
            let inner = *self.places.get((of as usize).checked_sub(1)?)?;
            Some(bytes + self.member(inner as usize, wanted, depth + 1)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct t { int a; union { int b; struct { int c; int d; }; }; }`.
    fn made_up() -> Vec<u8> {
        let strings = b"\0int\0t\0a\0b\0c\0d\0";
        let (int, t, a, b, c, d) = (1, 5, 7, 9, 11, 13);
        let structure = |name: u32, kind: u32, members: &[[u32; 3]]| {
            let mut words = vec![name, kind << 24 | members.len() as u32, 0];
            words.extend(members.iter().flatten());
            words
        };
        let mut words = vec![int, KIND_INT << 24, 4, 32];
        words.extend(structure(0, KIND_STRUCT, &[[c, 1, 0], [d, 1, 32]]));
        words.extend(structure(0, KIND_UNION, &[[b, 1, 0], [0, 2, 0]]));
        words.extend(structure(t, KIND_STRUCT, &[[a, 1, 0], [0, 3, 32]]));
        let types: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            bytes.extend(u32::to_le_bytes(word));
        }
        bytes.extend(&types);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn members_are_found_in_unnamed_structures_too() {
        let bytes = made_up();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.offset("t", "a"), Some(0));
        assert_eq!(btf.offset("t", "b"), Some(4));
        assert_eq!(btf.offset("t", "d"), Some(8));
        assert_eq!(btf.offset("t", "e"), None);
        assert_eq!(btf.offset("u", "a"), None);
    }

    #[test]
    fn damage_makes_no_types() {
        let bytes = made_up();
        for length in 0..bytes.len() {
            assert!(Btf::parse(&bytes[..length]).is_none_or(|btf| btf.offset("t", "e").is_none()));
        }
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0xff;
            if let Some(btf) = Btf::parse(&wrong) {
                btf.offset("t", "d");
            }
        }
    }
}
