//! Reading everything out of bytes that may be anything: shared by the tests and the fuzz target.

use std::error::Error;

use recorder::{PAGE_BYTES, Position, ReadError, Recording};

/// Opens `bytes` and, where that works, reads all there is, by every way that leads to it. Panics where an error does
/// not say where it is.
pub fn exercise(bytes: Vec<u8>) -> Result<Recording, ReadError> {
    let recording = Recording::open(bytes).map_err(checked)?;
    if let Some(recovery) = recording.recovery() {
        assert_eq!(recovery.valid_bytes + recovery.lost_bytes, recording.file_bytes());
        assert!(!recovery.to_string().is_empty());
    }
    for index in 0..recording.images().len() {
        let _ = recording.image_bytes(index).map_err(checked);
    }
    let last = recording.last_position();
    let mut previous = Position::START;
    for (position, _) in recording.events().map_while(|event| event.map_err(checked).ok()) {
        assert!(previous <= position && position <= last);
        previous = position;
    }
    previous = Position::START;
    for (position, _) in recording.exits().map_while(|exit| exit.map_err(checked).ok()) {
        assert!(previous <= position && position <= last);
        previous = position;
    }
    for (index, info) in recording.checkpoints().iter().enumerate() {
        assert!(info.position <= last);
        let _ = recording.events_from(info.position).next();
        let _ = recording.exits_from_number(info.exits_before).next();
        let Ok(checkpoint) = recording.checkpoint(index).map_err(checked) else { continue };
        for page in checkpoint.pages {
            let offset = recording.page_file_offset(&page).unwrap_or_default();
            assert_eq!(offset % PAGE_BYTES as u64, 0);
            let _ = recording.page(&page).map_err(checked);
        }
    }
    if let Some(last) = recording.checkpoints().len().checked_sub(1) {
        let _ = recording.memory_at(last).map_err(checked);
    }
    let _ = recording.verify().map_err(checked);
    Ok(recording)
}

/// Errors name the place: the header, or a frame and a byte, or a byte.
fn checked(error: ReadError) -> ReadError {
    let text = format!("{error}: {}", error.source().map(ToString::to_string).unwrap_or_default());
    let frame = text.contains("frame ") && text.contains(" at byte ");
    let page = matches!(error, ReadError::Page { .. } | ReadError::Image { .. }) && text.contains("byte ");
    assert!(frame || page || matches!(error, ReadError::Header(_)), "{text}");
    error
}

/// Makes the checksums of the header and of the frames right, so that what is behind them is reached.
pub fn reseal(bytes: &mut [u8]) {
    if bytes.len() < 32 {
        return;
    }
    let crc = crc32fast::hash(&bytes[..28]);
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    let mut offset = word(bytes, 20) as usize;
    while let Some(frame) = bytes.get_mut(offset..).filter(|rest| rest.len() >= 16) {
        let kind = word(frame, 0);
        let length = u64::from_le_bytes([8, 9, 10, 11, 12, 13, 14, 15].map(|index: usize| frame[index]));
        let Some(end) =
            usize::try_from(length).ok().and_then(|l| l.checked_add(16)).filter(|&end| end <= frame.len())
        else {
            return;
        };
        // Of a pages frame only the head is covered, and its length comes first.
        let covered = if kind == 4 && length >= 4 { (16 + word(frame, 16) as usize).min(end) } else { end };
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&frame[..4]);
        hasher.update(&frame[8..covered]);
        let crc = hasher.finalize();
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
        offset += end;
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
