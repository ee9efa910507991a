//! Why a request is refused, and how gdb is told.
//!
//! gdb takes `E.text` as an error and shows the text, but gdbstub can only answer with numbers. The number [`REFUSED`] becomes a
//! text on its way out, the one that was left for it (see [`crate::link`]).

/// EROFS: something of the machine was to be changed, and there are words why it is not.
pub const REFUSED: u8 = 30;
/// EFAULT: no memory is mapped there.
pub const UNMAPPED: u8 = 14;
/// ENOENT: there is no file of that name.
pub const NO_FILE: u8 = 2;
/// E2BIG: more than one request may ask for.
pub const TOO_LARGE: u8 = 7;

/// Why nothing of a recording is changed.
pub const RECORDING: &str = "this is a recording: its registers and its memory can be read but not changed; `monitor fork` begins a branch that can";

/// The reply that says `text` where `reply`, a whole packet, only says that something is refused.
pub fn in_words(reply: &[u8], text: &str) -> Option<Vec<u8>> {
    if reply != packet(format!("E{REFUSED:02x}").as_bytes()) {
        return None;
    }
    tracing::debug!(text, "refused");
    // What the protocol would have to escape, and what gdb would not show.
    let plain = |char: char| if matches!(char, ' '..='~') && !"#$}*".contains(char) { char } else { '?' };
    let text: String = text.chars().map(plain).collect();
    Some(packet(format!("E.{text}").as_bytes()))
}

/// A packet around a body that needs no escapes.
pub fn packet(body: &[u8]) -> Vec<u8> {
    let checksum = body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    let mut packet = Vec::with_capacity(body.len() + 4);
    packet.push(b'$');
    packet.extend_from_slice(body);
    packet.extend_from_slice(format!("#{checksum:02x}").as_bytes());
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_carries_its_checksum() {
        assert_eq!(packet(b"OK"), b"$OK#9a");
    }

    #[test]
    fn a_refusal_is_said_in_words_and_nothing_else_is() {
        let words = in_words(b"$E1e#db", RECORDING).unwrap();
        assert!(words.starts_with(b"$E.this is a recording"));
        assert_eq!(in_words(b"$E0e#d9", RECORDING), None);
        assert_eq!(in_words(b"$OK#9a", RECORDING), None);
    }

    #[test]
    fn words_have_no_character_that_the_protocol_would_have_to_escape() {
        let words = in_words(b"$E1e#db", "a}b#c$d*e\u{e9}\n").unwrap();
        assert!(words.starts_with(b"$E.a?b?c?d?e??#"));
    }
}
