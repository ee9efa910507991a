//! virtio-blk: requests on a disk (Virtio 1.2, 5.2).
//!
//! A request is done when it is asked for: what the guest sees of it depends on the disk and its own memory alone. Reads, writes,
//! flushes and the identification are answered; everything else is unsupported. A request that cannot be done
//! gets an I/O error; one that has no room for a status breaks the rules of the queue.

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_SIZE_MAX,
    VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID,
    VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
};

use super::disk::Disk;
use super::memory::{DeviceMemory, cut, total};
use super::ring::{Broken, Chain};
use crate::machine::SECTOR_BYTES;

/// Type, priority, sector.
const HEADER_BYTES: u64 = 16;
/// Buffers of a request at the most, and bytes of each: what the guest is told.
const MAX_SEGMENTS: u32 = 126;
const MAX_SEGMENT_BYTES: u32 = 32 << 10;
/// Data of a request at the most. The host's work and memory for a request are bounded by it.
const MAX_REQUEST_BYTES: u64 = MAX_SEGMENTS as u64 * MAX_SEGMENT_BYTES as u64;

/// Bytes of the configuration: up to and including the size of a block.
pub(super) const CONFIG_BYTES: usize = 24;

/// The features of a disk.
pub(super) fn features(disk: &Disk) -> u64 {
    let common = 1 << VIRTIO_BLK_F_SIZE_MAX | 1 << VIRTIO_BLK_F_SEG_MAX | 1 << VIRTIO_BLK_F_BLK_SIZE;
    if disk.read_only() { common | 1 << VIRTIO_BLK_F_RO } else { common | 1 << VIRTIO_BLK_F_FLUSH }
}

/// The configuration of a disk (5.2.4): capacity in sectors, size_max, seg_max, geometry (none), blk_size.
pub(super) fn config(disk: &Disk) -> [u8; CONFIG_BYTES] {
    let mut config = [0; CONFIG_BYTES];
    config[..8].copy_from_slice(&disk.sectors().to_le_bytes());
    config[8..12].copy_from_slice(&MAX_SEGMENT_BYTES.to_le_bytes());
    config[12..16].copy_from_slice(&MAX_SEGMENTS.to_le_bytes());
    config[20..24].copy_from_slice(&(SECTOR_BYTES as u32).to_le_bytes());
    config
}

/// Serves a request. Returns how many bytes of the chain were written.
pub(super) fn serve(disk: &Disk, chain: &Chain, memory: &mut DeviceMemory<'_>) -> Result<u32, Broken> {
    let room = total(&chain.writable).checked_sub(1).ok_or(Broken)?;
    let status_at = cut(&chain.writable, room, 1);
    if !memory.contains(&status_at) {
        return Err(Broken);
    }
    let (status, written) = match request(disk, chain, room, memory) {
        Ok(written) => (VIRTIO_BLK_S_OK, written),
        Err(status) => (status, 0),
    };
    memory.write(&status_at, &[status as u8]).ok_or(Broken)?;
    // At most `MAX_REQUEST_BYTES` and the status.
    Ok(written as u32 + 1)
}

/// Does what is asked for; the bytes written, or the status of the failure.
fn request(disk: &Disk, chain: &Chain, room: u64, memory: &mut DeviceMemory<'_>) -> Result<u64, u32> {
    let sent = total(&chain.readable).checked_sub(HEADER_BYTES).ok_or(VIRTIO_BLK_S_IOERR)?;
    if sent > MAX_REQUEST_BYTES || room > MAX_REQUEST_BYTES {
        return Err(VIRTIO_BLK_S_IOERR);
    }
    let (outgoing, incoming) = (cut(&chain.readable, HEADER_BYTES, sent), cut(&chain.writable, 0, room));
    if !memory.contains(&incoming) {
        return Err(VIRTIO_BLK_S_IOERR);
    }
    let header = memory.read(&cut(&chain.readable, 0, HEADER_BYTES)).ok_or(VIRTIO_BLK_S_IOERR)?;
    let (kind, sector) = match header.as_slice() {
        &[a, b, c, d, _, _, _, _, ref sector @ ..] => {
            let sector = sector.try_into().map_err(|_| VIRTIO_BLK_S_IOERR)?;
            (u32::from_le_bytes([a, b, c, d]), u64::from_le_bytes(sector))
        }
        _ => return Err(VIRTIO_BLK_S_IOERR),
    };
    match kind {
        VIRTIO_BLK_T_IN => {
            let place = disk.place(sector, room).ok_or(VIRTIO_BLK_S_IOERR)?;
            let mut bytes = vec![0; room as usize];
            if !disk.read(memory.ram, place, &mut bytes) {
                return Err(VIRTIO_BLK_S_IOERR);
            }
            memory.write(&incoming, &bytes).ok_or(VIRTIO_BLK_S_IOERR)?;
            Ok(room)
        }
        VIRTIO_BLK_T_OUT => {
            let place = disk.place(sector, sent).ok_or(VIRTIO_BLK_S_IOERR)?;
            let bytes = memory.read(&outgoing).ok_or(VIRTIO_BLK_S_IOERR)?;
            if disk.write(memory.ram, place, &bytes) { Ok(0) } else { Err(VIRTIO_BLK_S_IOERR) }
        }
        // What is written is there.
        VIRTIO_BLK_T_FLUSH => Ok(0),
        VIRTIO_BLK_T_GET_ID => {
            let id = disk.id();
            let count = room.min(id.len() as u64);
            memory.write(&incoming, &id[..count as usize]).ok_or(VIRTIO_BLK_S_IOERR)?;
            Ok(count)
        }
        _ => Err(VIRTIO_BLK_S_UNSUPP),
    }
}
