//! Events as columns: tags, ticks, offsets, integers, bytes.

use super::{Declared, DecodeError, PositionReader, PositionWriter, join, split};
use crate::format::varint;
use crate::{Event, Position};

const CLOCK: u8 = 0;
const ENTROPY: u8 = 1;
const SERIAL: u8 = 2;
const IDLE: u8 = 3;
const TIMER_DELAY: u8 = 4;
const INTERRUPT_HOLD: u8 = 5;
const DEVICE_ENTROPY: u8 = 6;

/// Encodes events in order of position.
pub(crate) fn encode(events: &[(Position, Event)]) -> Vec<u8> {
    let mut positions = PositionWriter::new(events.first().map_or(Position::START, |first| first.0));
    let mut tags = Vec::with_capacity(events.len());
    let (mut integers, mut bytes) = (Vec::new(), Vec::new());
    for (position, event) in events {
        positions.put(*position);
        tags.push(match event {
            Event::Clock { unix_seconds } => {
                varint::put(&mut integers, *unix_seconds);
                CLOCK
            }
            Event::Entropy { value } => {
                bytes.extend_from_slice(&value.to_le_bytes());
                ENTROPY
            }
            Event::DeviceEntropy { bytes: handed } => {
                varint::put(&mut integers, handed.len() as u64);
                bytes.extend_from_slice(handed);
                DEVICE_ENTROPY
            }
            Event::Serial { bytes: received } => {
                varint::put(&mut integers, received.len() as u64);
                bytes.extend_from_slice(received);
                SERIAL
            }
            Event::Idle { ns } => {
                varint::put(&mut integers, *ns);
                IDLE
            }
            Event::TimerDelay { source, ns } => {
                bytes.push(*source);
                varint::put(&mut integers, *ns);
                TIMER_DELAY
            }
            Event::InterruptHold { ticks } => {
                varint::put(&mut integers, u64::from(*ticks));
                INTERRUPT_HOLD
            }
        });
    }
    join([tags, positions.ticks, positions.offsets, integers, bytes])
}

/// Decodes what [`encode`] made.
pub(crate) fn decode(columns: &[u8], declared: Declared) -> Result<Vec<(Position, Event)>, DecodeError> {
    declared.check_count()?;
    let count = declared.count;
    let [mut tags, ticks, offsets, mut integers, mut bytes] = split(columns)?;
    let mut positions = PositionReader { previous: declared.first, ticks, offsets };
    let mut events = Vec::with_capacity(count.min(tags.0.len()));
    for index in 0..count {
        let tag = tags.byte().ok_or(DecodeError::Column { column: "tags", index })?;
        let position = positions.take().ok_or(DecodeError::Column { column: "positions", index })?;
        let integer = DecodeError::Column { column: "integers", index };
        let raw = DecodeError::Column { column: "bytes", index };
        let event = match tag {
            CLOCK => Event::Clock { unix_seconds: integers.varint().ok_or(integer)? },
            ENTROPY => Event::Entropy { value: bytes.u64_le().ok_or(raw)? },
            DEVICE_ENTROPY => {
                let length = integers.varint().ok_or(integer)?;
                Event::DeviceEntropy { bytes: bytes.bytes(length).ok_or(raw)?.to_vec() }
            }
            SERIAL => {
                let length = integers.varint().ok_or(integer)?;
                Event::Serial { bytes: bytes.bytes(length).ok_or(raw)?.to_vec() }
            }
            IDLE => Event::Idle { ns: integers.varint().ok_or(integer)? },
            TIMER_DELAY => {
                Event::TimerDelay { source: bytes.byte().ok_or(raw)?, ns: integers.varint().ok_or(integer)? }
            }
            INTERRUPT_HOLD => Event::InterruptHold { ticks: integers.varint().ok_or(integer)? },
            tag => return Err(DecodeError::UnknownEvent { tag, index }),
        };
        events.push((position, event));
    }
    let rest = [tags, positions.ticks, positions.offsets, integers, bytes];
    if !rest.iter().all(varint::Cursor::is_empty) {
        return Err(DecodeError::LeftOver { count });
    }
    declared.check_span(events.first().map(|e| e.0), events.last().map(|e| e.0))?;
    Ok(events)
}
