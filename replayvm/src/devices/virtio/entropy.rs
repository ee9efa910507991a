//! virtio-rng: bytes from the session's entropy (Virtio 1.2, 5.4).
//!
//! What a request gets is an input of the run, logged by the position of the step that asked for it.

use recorder::Position;

use super::memory::{DeviceMemory, cut, total};
use super::ring::{Broken, Chain};
use crate::machine::Entropy;

/// Bytes of an answer at the most: a longer buffer is filled in part, as the device may.
pub(super) const MAX_ANSWER_BYTES: u64 = 1024;

/// Serves a request, the `index`th of this step. Returns how many bytes of the chain were written.
pub(super) fn serve(
    entropy: &mut dyn Entropy,
    (at, index): (Position, usize),
    chain: &Chain,
    memory: &mut DeviceMemory<'_>,
) -> Result<u32, Broken> {
    let len = total(&chain.writable).min(MAX_ANSWER_BYTES);
    let into = cut(&chain.writable, 0, len);
    // A buffer of no bytes asks for nothing (5.4.6.1).
    if len == 0 || !chain.readable.is_empty() || !memory.contains(&into) {
        return Err(Broken);
    }
    let bytes = entropy.bytes(at, index, len as usize);
    memory.write(&into, &bytes).ok_or(Broken)?;
    Ok(len as u32)
}
