//! Text from a guest, made fit for a terminal.
//!
//! A terminal obeys what it is sent: it moves its cursor, retitles its window, and some answer as if somebody had typed. What a
//! guest has printed is data. Line feeds, tabs and, if wanted, colours come through; other control characters
//! and whole escape sequences (ECMA-48) do not.

/// Whether colours (ECMA-48 SGR) come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    /// They do: the reader is a terminal.
    Kept,
    /// They do not.
    Dropped,
}

/// Longest parameters of a control sequence that is looked at. A longer one is not a colour.
const PARAMETERS: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Text,
    /// ESC has come.
    Escape,
    /// ESC [ has come, and these parameters.
    Control(String),
    /// Within a string (title, device control) that ends with BEL, ESC \ or, here, with a line.
    Words,
    /// ESC has come in such a string.
    WordsEscape,
}

/// Cleans a stream of bytes that comes in pieces, which may end anywhere.
#[derive(Debug, Clone)]
pub struct Cleaner {
    colours: Colours,
    state: State,
    /// The first bytes of a character that is not whole yet.
    pending: Vec<u8>,
    /// Whether a colour was let through that has not been reset since.
    coloured: bool,
}

impl Cleaner {
    /// At the begin of a stream.
    #[must_use]
    pub const fn new(colours: Colours) -> Self {
        Self { colours, state: State::Text, pending: Vec::new(), coloured: false }
    }

    /// A whole text at once, back to no colours at its end.
    #[must_use]
    pub fn whole(colours: Colours, bytes: &[u8]) -> String {
        let mut cleaner = Self::new(colours);
        let mut text = cleaner.piece(bytes);
        text.push_str(&cleaner.finish());
        text
    }

    /// The next piece. Bytes that are no UTF-8 become U+FFFD.
    pub fn piece(&mut self, bytes: &[u8]) -> String {
        let mut joined = std::mem::take(&mut self.pending);
        joined.extend_from_slice(bytes);
        let mut text = String::new();
        let mut chunks = joined.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            chunk.valid().chars().for_each(|c| self.character(c, &mut text));
            let wrong = chunk.invalid();
            if wrong.is_empty() {
                continue;
            }
            // At the end it may only be unfinished: what could still become a character waits.
            if chunks.peek().is_none() && unfinished(wrong) {
                self.pending = wrong.to_vec();
            } else {
                self.character(char::REPLACEMENT_CHARACTER, &mut text);
            }
        }
        text
    }

    /// What is still to be printed at the end of the stream.
    pub fn finish(&mut self) -> String {
        let mut text = String::new();
        if !self.pending.is_empty() {
            self.pending.clear();
            self.character(char::REPLACEMENT_CHARACTER, &mut text);
        }
        if std::mem::take(&mut self.coloured) {
            text.push_str("\x1b[m");
        }
        text
    }

    fn character(&mut self, c: char, text: &mut String) {
        self.state = match (std::mem::replace(&mut self.state, State::Text), c) {
            // An end of line ends whatever was under way: an unfinished sequence must not swallow the console.
            (_, '\n') => {
                text.push('\n');
                State::Text
            }
            (State::Words, '\x1b') => State::WordsEscape,
            (State::Words, '\x07' | '\u{9c}') => State::Text,
            (State::WordsEscape, '\\') => State::Text,
            (State::Words | State::WordsEscape, _) => State::Words,
            (_, '\x1b') => State::Escape,
            (_, '\u{9b}') | (State::Escape, '[') => State::Control(String::new()),
            (_, '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}')
            | (State::Escape, ']' | 'P' | 'X' | '^' | '_') => State::Words,
            // Intermediate characters of a longer escape sequence.
            (State::Escape, ' '..='/') => State::Escape,
            (State::Escape, _) => State::Text,
            (State::Control(mut parameters), ' '..='?') => {
                if parameters.len() < PARAMETERS {
                    parameters.push(c);
                    State::Control(parameters)
                } else {
                    // Still to its final character, but no colour any more.
                    State::Control(" ".repeat(PARAMETERS))
                }
            }
            (State::Control(parameters), 'm') => {
                self.colour(&parameters, text);
                State::Text
            }
            (State::Control(_), _) => State::Text,
            (State::Text, c) => {
                if !c.is_control() || c == '\t' {
                    text.push(c);
                }
                State::Text
            }
        };
    }

    fn colour(&mut self, parameters: &str, text: &mut String) {
        let plain = parameters.chars().all(|c| c.is_ascii_digit() || matches!(c, ';' | ':'));
        if plain && self.colours == Colours::Kept {
            self.coloured = !parameters.is_empty() && parameters != "0";
            text.push_str("\x1b[");
            text.push_str(parameters);
            text.push('m');
        }
    }
}

/// Whether these bytes, which are no character, could be the first ones of one.
fn unfinished(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(bytes: &[u8]) -> String {
        Cleaner::whole(Colours::Dropped, bytes)
    }

    #[test]
    fn text_stays_and_control_characters_go() {
        assert_eq!(plain("a\tb\r\nc\x07\x08\x7f\u{85}ü€😀".as_bytes()), "a\tb\ncü€😀");
    }

    #[test]
    fn whole_sequences_go_and_not_only_their_first_character() {
        assert_eq!(plain(b"/ # \x1b[6nls\x1b[J"), "/ # ls");
        assert_eq!(plain(b"a\x1b]0;title\x07b\x1b]2;x\x1b\\c\x1bP1$r0m\x1b\\d"), "abcd");
        assert_eq!(plain(b"a\x1b(Bb\x1bcc\x1b7d"), "abcd");
        assert_eq!(plain("a\u{9b}31mb\u{9d}0;x\u{9c}c".as_bytes()), "abc");
    }

    #[test]
    fn colours_come_through_where_they_are_wanted_and_are_reset_at_the_end() {
        let text = b"\x1b[1;31mred\x1b[0m \x1b[32mgreen";
        assert_eq!(Cleaner::whole(Colours::Kept, text), "\x1b[1;31mred\x1b[0m \x1b[32mgreen\x1b[m");
        assert_eq!(plain(text), "red green");
        // Another control sequence that only ends like a colour (xterm's key modifiers).
        assert_eq!(Cleaner::whole(Colours::Kept, b"\x1b[>4;2mx"), "x");
        let long = [b"\x1b[".as_slice(), &[b'1'; 100], b"mx"].concat();
        assert_eq!(Cleaner::whole(Colours::Kept, &long), "x");
    }

    #[test]
    fn what_is_not_finished_swallows_no_more_than_its_line() {
        assert_eq!(plain(b"a\x1b]0;never\nb\x1b[12\nc\x1b"), "a\nb\nc");
    }

    #[test]
    fn pieces_give_what_the_whole_gives() {
        let text = "ü\x1b[1mb€\x1b]0;t\x07\u{9b}6n😀".as_bytes();
        let bytes = [text, b"\xff\xc3\x28\xe2\x82"].concat();
        for cut in 0..=bytes.len() {
            let mut cleaner = Cleaner::new(Colours::Kept);
            let mut got = cleaner.piece(&bytes[..cut]);
            got.push_str(&cleaner.piece(&bytes[cut..]));
            got.push_str(&cleaner.finish());
            assert_eq!(got, Cleaner::whole(Colours::Kept, &bytes), "cut at {cut}");
        }
        assert!(plain(&bytes).ends_with("😀\u{fffd}\u{fffd}(\u{fffd}"), "{:?}", plain(&bytes));
    }
}
