//! The guest's console, read back out of a recording: every byte with the position at which it was printed.
//!
//! A byte is printed by a write to the transmitter of COM1 or to a debug port, and such a write is an exit. So the exits of
//! a recording have the whole console, and nothing needs to be replayed for it. The position is the one before the writing
//! instruction: who goes there stands before the byte, and one step later it is printed.

/// Text from a guest, made fit for a terminal.
mod clean;
/// Bytes out of port writes.
mod decode;
/// Lines out of bytes.
mod lines;

pub use clean::{Cleaner, Colours};
pub use decode::{Decoder, Printed, Source};
pub use lines::{LINE_BYTES, Line, Lines};

use recorder::{ReadError, Recording};

/// Every byte that the guest has printed, in order.
pub fn printed(recording: &Recording) -> impl Iterator<Item = Result<Printed, ReadError>> {
    let mut decoder = Decoder::default();
    let mut found = Vec::new();
    recording.exits().flat_map(move |exit| {
        match exit {
            Ok((at, exit)) => decoder.exit(at, &exit, &mut |byte| found.push(Ok(byte))),
            Err(error) => found.push(Err(error)),
        }
        std::mem::take(&mut found)
    })
}
