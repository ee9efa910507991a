//! The symbol tables that a Linux kernel keeps for its own backtraces, found in guest memory.
//!
//! `scripts/kallsyms.c` lays them out in read-only data, each part aligned to 8 bytes. Up to 6.4:
//!
//! ```text
//! offsets u32[n] | relative_base u64 | num_syms u32 | names | markers u32[(n + 255) / 256] | token_table | token_index u16[256]
//! ```
//!
//! and later `num_syms | names | markers | token_table | token_index | offsets | relative_base`. A name is a length (one byte, or
//! two with bit 7 of the first set) and so many bytes, each of which stands for a token; the first character of
//! the text is the type letter of `nm`. Markers are the offsets of every 256th name. The token table is found by what
//! it holds: each digit is a token of its own, in order. All other parts follow from their neighbours, and
//! all of it is checked, since a guest may hold anything. In kernels 6.2 to 6.4, and where that was ported back (Debian's 6.1),
//! a table of three bytes for each name lies between the markers and the tokens.

use memchr::memmem;

use super::table::Table;
use super::text;

/// Tokens for the characters from 0 to 9.
const DIGITS: &[u8] = b"\x000\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00";
/// Places that are looked at closely.
const MAX_CANDIDATES: usize = 4096;
const TOKENS: usize = 256;
/// Longest token.
const TOKEN_BYTES: usize = 128;
/// Longest name (`KSYM_NAME_LEN` is 512).
const NAME_BYTES: usize = 2048;
const NAMES_A_MARKER: usize = 256;
/// Most names.
const MAX_NAMES: usize = 1 << 21;
/// Where kernels live.
const KERNEL_SPACE: u64 = 0xffff_8000_0000_0000;

/// The tables of the kernel that `translate` maps, if there are some in `ram`.
pub(super) fn find(ram: &[u8], translate: impl Fn(u64) -> Option<u64>) -> Option<Table> {
    memmem::find_iter(ram, DIGITS).take(MAX_CANDIDATES).find_map(|at| {
        let tokens = Tokens::around(ram, at + 1)?;
        let names = Names::before(ram, &tokens)?;
        let addresses = Addresses::around(ram, &names, &tokens)?;
        let table = table(ram, &tokens, &names, &addresses)?;
        is_alive(ram, &table, &translate).then_some(table)
    })
}

/// Whether the kernel runs where the table says. What is unpacked may be left over from being moved.
fn is_alive(ram: &[u8], table: &Table, translate: impl Fn(u64) -> Option<u64>) -> bool {
    const BANNER: &[u8] = b"Linux version ";
    // Page tables of a user program may hide it: then nobody can say.
    let Some(gpa) = table.named("linux_banner").and_then(|banner| translate(banner.address)) else {
        return true;
    };
    usize::try_from(gpa).ok().and_then(|gpa| ram.get(gpa..)).is_some_and(|there| there.starts_with(BANNER))
}

fn u16_at(ram: &[u8], at: usize) -> Option<u16> {
    ram.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(ram: &[u8], at: usize) -> Option<u32> {
    ram.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(ram: &[u8], at: usize) -> Option<u64> {
    ram.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

const fn aligned(at: usize) -> usize {
    at.next_multiple_of(8)
}

/// The token table and its index.
struct Tokens<'a> {
    /// Where the table begins.
    start: usize,
    /// Where the index ends.
    end: usize,
    texts: Vec<&'a [u8]>,
}

impl<'a> Tokens<'a> {
    /// The table whose token for the character 0 is at `zero`.
    fn around(ram: &'a [u8], zero: usize) -> Option<Self> {
        let mut at = zero;
        for _ in usize::from(b'0')..TOKENS {
            at += token(ram, at)?.len() + 1;
        }
        let index = aligned(at);
        let offset = |token: usize| u16_at(ram, index + 2 * token).map(usize::from);
        let start = zero.checked_sub(offset(usize::from(b'0'))?)?;
        let mut texts = Vec::with_capacity(TOKENS);
        let mut expected = 0;
        for number in 0..TOKENS {
            if offset(number)? != expected {
                return None;
            }
            let text = token(ram, start + expected)?;
            expected += text.len() + 1;
            texts.push(text);
        }
        Some(Self { start, end: index + 2 * TOKENS, texts })
    }
}

/// The token at a place, up to its zero.
fn token(ram: &[u8], at: usize) -> Option<&[u8]> {
    let bytes = ram.get(at..)?;
    let length = bytes.iter().take(TOKEN_BYTES).position(|byte| *byte == 0)?;
    let text = &bytes[..length];
    text.iter().all(u8::is_ascii_graphic).then_some(text)
}

/// The names, packed.
struct Names {
    /// Where `num_syms` is.
    count_at: usize,
    count: usize,
    start: usize,
}

impl Names {
    fn before(ram: &[u8], tokens: &Tokens<'_>) -> Option<Self> {
        Self::before_markers(ram, tokens.start, None).or_else(|| Self::before_sequence(ram, tokens.start))
    }

    /// With a number of three bytes for each name between the markers and `end`: how long that table is says how many
    /// names there are, and so how many markers. Each length is tried.
    fn before_sequence(ram: &[u8], end: usize) -> Option<Self> {
        const NUMBER_BYTES: usize = 3;
        let longest = aligned(NUMBER_BYTES * MAX_NAMES);
        (NAMES_A_MARKER..longest)
            .step_by(8)
            .map_while(|length| Some((length, end.checked_sub(length)?)))
            .find_map(|(length, end)| {
                let most = length / NUMBER_BYTES;
                let fewest = (length - 7).div_ceil(NUMBER_BYTES);
                let markers = most.div_ceil(NAMES_A_MARKER);
                Self::before_markers(ram, end, Some(markers)).or_else(|| {
                    let fewer = fewest.div_ceil(NAMES_A_MARKER);
                    (fewer != markers).then(|| Self::before_markers(ram, end, Some(fewer))).flatten()
                })
            })
    }

    /// The names before the markers that end at `end`, of which there are so many, if that is known.
    fn before_markers(ram: &[u8], end: usize, wanted: Option<usize>) -> Option<Self> {
        if let Some(wanted) = wanted {
            // Most places are none: that shows at the first marker and the second.
            let first = end.checked_sub(aligned(4 * wanted))?;
            if wanted < 2 || u64_at(ram, first)? >> 32 == 0 || u32_at(ram, first)? != 0 {
                return None;
            }
        }
        // The markers, from the last to the first, which is 0. Zeros fill up to the next part.
        let mut at = end.checked_sub(4)?;
        if u32_at(ram, at)? == 0 {
            at = at.checked_sub(4)?;
        }
        let last = u32_at(ram, at)? as usize;
        let mut marker = last;
        let mut markers = 1;
        while marker != 0 {
            at = at.checked_sub(4)?;
            let before = u32_at(ram, at)? as usize;
            let apart = marker.checked_sub(before)?;
            if apart == 0 || apart > NAMES_A_MARKER * NAME_BYTES || markers > MAX_NAMES / NAMES_A_MARKER {
                return None;
            }
            marker = before;
            markers += 1;
        }
        if wanted.is_some_and(|wanted| wanted != markers) {
            return None;
        }
        // The names end where the markers begin, and begin so far before that there is room for all of them.
        let longest = at.checked_sub(last + 1)? & !7;
        let farthest = longest.saturating_sub(NAMES_A_MARKER * NAME_BYTES).max(8);
        (farthest..=longest).rev().step_by(8).find_map(|start| {
            let count = u32_at(ram, start - 8)? as usize;
            let plausible = u32_at(ram, start - 4)? == 0 && count.div_ceil(NAMES_A_MARKER) == markers;
            let names = Self { count_at: start - 8, count, start };
            (plausible && names.end(ram, at).is_some()).then_some(names)
        })
    }

    /// Where the names end, if the markers at `markers` fit them.
    fn end(&self, ram: &[u8], markers: usize) -> Option<usize> {
        let mut at = self.start;
        for number in 0..self.count {
            if number % NAMES_A_MARKER == 0 {
                let marker = u32_at(ram, markers + number / NAMES_A_MARKER * 4)? as usize;
                if at != self.start + marker {
                    return None;
                }
            }
            at += self.packed(ram, at)?.1;
        }
        (aligned(at) == markers).then_some(at)
    }

    /// A packed name, and how many bytes it takes with its length.
    fn packed<'a>(&self, ram: &'a [u8], at: usize) -> Option<(&'a [u8], usize)> {
        let first = usize::from(*ram.get(at)?);
        let (length, prefix) = match first & 0x80 {
            0 => (first, 1),
            _ => (first & 0x7f | usize::from(*ram.get(at + 1)?) << 7, 2),
        };
        if length == 0 || length > NAME_BYTES {
            return None;
        }
        Some((ram.get(at + prefix..at + prefix + length)?, prefix + length))
    }
}

/// Where the addresses are.
struct Addresses {
    offsets: usize,
    base: u64,
    /// Offsets are addresses of per-CPU data if they are positive, and count down from the base otherwise.
    absolute_percpu: bool,
}

impl Addresses {
    fn around(ram: &[u8], names: &Names, tokens: &Tokens<'_>) -> Option<Self> {
        let bytes = aligned(4 * names.count);
        let before = names.count_at.checked_sub(8).and_then(|base| Some((base.checked_sub(bytes)?, base)));
        let after = (aligned(tokens.end), aligned(tokens.end) + bytes);
        before.into_iter().chain([after]).find_map(|(offsets, base)| {
            let base = u64_at(ram, base).filter(|base| *base >= KERNEL_SPACE)?;
            let all = ram.get(offsets..offsets + 4 * names.count)?;
            let words =
                || all.chunks_exact(4).map(|word| i32::from_le_bytes([word[0], word[1], word[2], word[3]]));
            let found = Self { offsets, base, absolute_percpu: words().any(|offset| offset < 0) };
            // Names come in the order of their addresses.
            let mut last = 0;
            let mut falls = 0;
            for offset in words() {
                let address = found.address(offset);
                falls += usize::from(address < last);
                last = address;
            }
            (falls <= names.count / 64).then_some(found)
        })
    }

    const fn address(&self, offset: i32) -> u64 {
        match (self.absolute_percpu, offset) {
            (false, offset) => self.base.wrapping_add(offset as u32 as u64),
            (true, 0..) => offset as u64,
            (true, _) => self.base.wrapping_sub(1).wrapping_sub(offset as i64 as u64),
        }
    }
}

fn table(ram: &[u8], tokens: &Tokens<'_>, names: &Names, addresses: &Addresses) -> Option<Table> {
    let mut table = Table::default();
    let mut at = names.start;
    let mut text = Vec::new();
    for number in 0..names.count {
        let (packed, bytes) = names.packed(ram, at)?;
        at += bytes;
        text.clear();
        for token in packed {
            text.extend_from_slice(tokens.texts.get(usize::from(*token))?);
        }
        let (letter, name) = text.split_first()?;
        if name.len() > NAME_BYTES || !letter.is_ascii_alphabetic() {
            return None;
        }
        let offset = u32_at(ram, addresses.offsets + 4 * number)?.cast_signed();
        // Tokens are ASCII.
        let name = std::str::from_utf8(name).ok()?;
        if !table.push(text::symbol(addresses.address(offset), *letter, name)) {
            return None;
        }
    }
    table.sort();
    Some(table)
}
