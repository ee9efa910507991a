//! The lines that the guest has printed, with positions.

use recorder::{Position, Recording};
use replayvm::console::{Cleaner, Colours, Decoder, Lines, printed};

/// Bytes of text that are kept.
const MAX_BYTES: usize = 16 << 20;
/// Characters of a line that are kept.
const LINE_CHARS: usize = 500;
/// Lines between two looks at whoever waits.
const UNSEEN: u64 = 64;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleLine {
    /// Where its first byte was printed: before the step that did.
    pub at: Position,
    /// The same of its last byte.
    pub last: Position,
    /// What it says.
    pub text: String,
}

/// The console.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ConsoleLines {
    /// In order.
    pub lines: Vec<ConsoleLine>,
    /// There is more, which is not kept.
    pub cut: bool,
}

impl ConsoleLines {
    /// Reads the console; `None` if `go_on` says no.
    pub fn build(recording: &Recording, go_on: &mut dyn FnMut() -> bool) -> Option<Self> {
        let mut console = Self::default();
        let mut bytes = 0;
        // What is damaged is told by who reads the exits.
        for line in Lines::new(printed(recording)).map_while(Result::ok) {
            if line.number % UNSEEN == 0 && !go_on() {
                return None;
            }
            let text = clean(&line.bytes);
            bytes += text.len() + size_of::<ConsoleLine>();
            if bytes > MAX_BYTES {
                console.cut = true;
                break;
            }
            console.lines.push(ConsoleLine { at: line.at, last: line.last, text });
        }
        go_on().then_some(console)
    }

    /// How many lines are begun before a position.
    #[must_use]
    pub fn begun(&self, position: Position) -> usize {
        self.lines.partition_point(|line| line.at < position)
    }

    /// What of a line is printed before a position; it is begun before that.
    #[must_use]
    pub fn text_at(&self, recording: &Recording, line: &ConsoleLine, position: Position) -> String {
        if line.last < position {
            return line.text.clone();
        }
        let mut decoder = Decoder::default();
        let mut bytes = Vec::new();
        let exits = recording.exits_from(line.at).map_while(Result::ok);
        for (at, exit) in exits.take_while(|(at, _)| *at < position) {
            decoder.exit(at, &exit, &mut |printed| bytes.push(printed.byte));
        }
        let text = clean(&bytes);
        // The state of the port was not followed up to here; what it does not bear out is not shown.
        if line.text.starts_with(&text) { text } else { String::new() }
    }
}

fn clean(bytes: &[u8]) -> String {
    let text = Cleaner::whole(Colours::Dropped, bytes);
    text.replace('\t', "    ").chars().take(LINE_CHARS).collect()
}
