//! Bits and their names.

/// Names of bits: number and name. Fields of more than one bit are shown by who knows them.
pub(crate) type Bits = &'static [(u32, &'static str)];

/// The names of the bits that are set, in their order; `-` for none. Bits without a name are shown as a number.
pub(crate) fn set_names(value: u64, bits: Bits) -> String {
    let mut names: Vec<String> =
        bits.iter().filter(|(bit, _)| value >> bit & 1 != 0).map(|(_, name)| (*name).to_owned()).collect();
    let known = bits.iter().fold(0, |known, (bit, _)| known | 1_u64 << bit);
    if value & !known != 0 {
        names.push(format!("{:#x}", value & !known));
    }
    if names.is_empty() { "-".to_owned() } else { names.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_name_is_a_number() {
        const BITS: Bits = &[(0, "PE"), (31, "PG")];
        assert_eq!(set_names(0x8000_0001, BITS), "PE PG");
        assert_eq!(set_names(0x8000_0012, BITS), "PG 0x12");
        assert_eq!(set_names(0, BITS), "-");
    }
}
