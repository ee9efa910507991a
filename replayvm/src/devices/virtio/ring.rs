//! Taking chains of buffers from a virtqueue and giving them back (Virtio 1.2, 2.7 "Split Virtqueues").
//!
//! `virtio-queue` reads the rings; this file decides what a chain must be like to be served at all. A driver that breaks the rules gets
//! no answer but the device's wish to be reset.

use virtio_queue::{Queue, QueueOwnedT, QueueT};

use super::memory::{DeviceMemory, Span};

/// Descriptors of a chain at the most, whatever an indirect table claims.
const MAX_DESCRIPTORS: usize = 256;

const USED_HEADER_BYTES: u64 = 4;
const USED_ELEMENT_BYTES: u64 = 8;

/// The driver has broken the rules of the queue: the device needs a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// A chain of buffers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chain {
    head: u16,
    /// What the device reads.
    pub(super) readable: Vec<Span>,
    /// What the device writes, after all that it reads.
    pub(super) writable: Vec<Span>,
}

/// The next chain that the driver has made available.
pub(super) fn pop(queue: &mut Queue, memory: &DeviceMemory<'_>) -> Result<Option<Chain>, Broken> {
    let mut available = queue.iter(memory.ram.memory()).map_err(|_| Broken)?;
    let Some(mut descriptors) = available.next() else { return Ok(None) };
    let mut chain = Chain { head: descriptors.head_index(), readable: Vec::new(), writable: Vec::new() };
    let mut last_goes_on = true;
    for descriptor in descriptors.by_ref() {
        last_goes_on = descriptor.has_next();
        let span = Span { gpa: descriptor.addr().0, len: descriptor.len() };
        if descriptor.is_write_only() {
            chain.writable.push(span);
        } else if chain.writable.is_empty() {
            chain.readable.push(span);
        } else {
            return Err(Broken);
        }
        if chain.readable.len() + chain.writable.len() > MAX_DESCRIPTORS {
            return Err(Broken);
        }
    }
    // The iterator ends quietly where a chain leads nowhere or into a loop, and where a table cannot be read; its last
    // descriptor then asks for another one.
    if last_goes_on { Err(Broken) } else { Ok(Some(chain)) }
}

/// Gives a chain back, `len` bytes of it written.
pub(super) fn push(
    queue: &mut Queue,
    chain: &Chain,
    len: u32,
    memory: &mut DeviceMemory<'_>,
) -> Result<(), Broken> {
    let slot = u64::from(queue.next_used() % queue.size().max(1));
    queue.add_used(memory.ram.memory(), chain.head, len).map_err(|_| Broken)?;
    let ring = queue.used_ring();
    memory.written(ring + USED_HEADER_BYTES + slot * USED_ELEMENT_BYTES, USED_ELEMENT_BYTES);
    memory.written(ring + 2, 2);
    Ok(())
}
