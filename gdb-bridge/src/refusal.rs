//! Why a request is refused, and how gdb is told.
//!
//! gdb takes `E.text` as an error and shows the text, but gdbstub can only answer with numbers. Numbers that have a text
//! here become that text on their way out (see [`crate::link`]).

/// EROFS: something of the recorded machine was to be changed.
pub const READ_ONLY: u8 = 30;
/// EFAULT: no memory is mapped there.
pub const UNMAPPED: u8 = 14;
/// ENOENT: there is no file of that name.
pub const NO_FILE: u8 = 2;
/// E2BIG: more than one request may ask for.
pub const TOO_LARGE: u8 = 7;

const TEXTS: &[(u8, &str)] =
    &[(READ_ONLY, "this is a recording: its registers and its memory can be read but not changed")];

/// The reply that says in words what `reply`, a whole packet, says in a number.
pub fn in_words(reply: &[u8]) -> Option<Vec<u8>> {
    let (code, text) = TEXTS.iter().find(|(code, _)| reply == packet(format!("E{code:02x}").as_bytes()))?;
    tracing::debug!(code, "refused");
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
    fn the_refusal_to_change_the_recording_is_said_in_words() {
        let words = in_words(b"$E1e#db").unwrap();
        assert!(words.starts_with(b"$E.this is a recording"));
        assert_eq!(in_words(b"$E0e#d9"), None);
        assert_eq!(in_words(b"$OK#9a"), None);
    }

    #[test]
    fn texts_have_no_character_that_the_protocol_would_have_to_escape() {
        for (_, text) in TEXTS {
            assert!(text.bytes().all(|byte| byte.is_ascii() && !b"#$}*".contains(&byte)), "{text}");
        }
    }
}
