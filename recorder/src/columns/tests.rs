//! Columns that no writer makes.

use super::*;
use crate::format::varint::put;
use crate::{Event, Exit};

const AT: Position = Position::new(5, 1);
const ONE: Declared = Declared { first: AT, last: AT, count: 1 };

fn integers(values: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|value| put(&mut out, *value));
    out
}

fn events(tag: u8, integer: &[u64], bytes: &[u8]) -> Result<Vec<(Position, Event)>, DecodeError> {
    events::decode(&join([vec![tag], vec![0], vec![0], integers(integer), bytes.to_vec()]), ONE)
}

fn exits(shape: &[u64], number: u64, read: &[u64]) -> Result<Vec<(Position, Exit)>, DecodeError> {
    let empty = Vec::new;
    let shapes = [integers(&[10]), integers(shape)].concat();
    let columns = [
        shapes,
        integers(&[number]),
        vec![0],
        vec![0],
        integers(read),
        empty(),
        empty(),
        empty(),
        empty(),
        empty(),
    ];
    exits::decode(&join(columns), ONE)
}

#[test]
fn an_unknown_event_is_an_error_and_never_skipped() {
    assert_eq!(events(3, &[7], &[]), Ok(vec![(AT, Event::Idle { ns: 7 })]));
    assert_eq!(events(7, &[7], &[]), Err(DecodeError::UnknownEvent { tag: 7, index: 0 }));
}

#[test]
fn an_unknown_exit_is_an_error_and_never_skipped() {
    assert_eq!(
        exits(&[0, 0x60, 1], 0, &[9]),
        Ok(vec![(AT, Exit::PortRead { port: 0x60, size: 1, value: 9 })])
    );
    assert_eq!(exits(&[16], 0, &[]), Err(DecodeError::UnknownExit { tag: 16, index: 0 }));
    assert_eq!(exits(&[9], 1, &[]), Err(DecodeError::Column { column: "shape numbers", index: 0 }));
}

#[test]
fn values_that_are_missing_too_large_or_left_over_are_errors() {
    assert_eq!(events(2, &[5], b"four"), Err(DecodeError::Column { column: "bytes", index: 0 }));
    assert_eq!(events(2, &[u64::MAX], b"four"), Err(DecodeError::Column { column: "bytes", index: 0 }));
    assert_eq!(events(5, &[1 << 32], &[]), Err(DecodeError::Column { column: "integers", index: 0 }));
    assert_eq!(events(5, &[1, 2], &[]), Err(DecodeError::LeftOver { count: 1 }));
    assert_eq!(exits(&[0, 0x10000, 1], 0, &[9]), Err(DecodeError::Column { column: "shapes", index: 0 }));
    assert_eq!(exits(&[0, 0x60, 1], 0, &[]), Err(DecodeError::Column { column: "values read", index: 0 }));
    assert_eq!(exits(&[9, 9], 0, &[]), Err(DecodeError::LeftOver { count: 1 }));
    assert_eq!(exits(&[9], 0, &[1]), Err(DecodeError::LeftOver { count: 1 }));
}

#[test]
fn positions_past_the_last_one_are_errors() {
    let columns = |tick: u64, offset: u64| {
        join([vec![3], integers(&[tick]), integers(&[offset]), integers(&[7]), Vec::new()])
    };
    let wrong = DecodeError::Column { column: "positions", index: 0 };
    assert_eq!(events::decode(&columns(u64::MAX, 0), ONE), Err(wrong.clone()));
    assert_eq!(events::decode(&columns(0, u64::from(u32::MAX)), ONE), Err(wrong));
    // In range, and not where the batch says it is.
    assert_eq!(events::decode(&columns(1, 0), ONE), Err(DecodeError::Span { first: AT, last: AT }));
}

#[test]
fn a_batch_declares_no_more_than_its_columns_hold() {
    let columns = join([vec![3], vec![0], vec![0], vec![7], Vec::new()]);
    let two = Declared { count: 2, ..ONE };
    assert_eq!(events::decode(&columns, two), Err(DecodeError::Column { column: "tags", index: 1 }));
    let many = Declared { count: MAX_BATCH + 1, ..ONE };
    let too_many = DecodeError::TooMany { count: MAX_BATCH + 1, limit: MAX_BATCH };
    assert_eq!(events::decode(&columns, many), Err(too_many.clone()));
    assert_eq!(exits::decode(&columns, many), Err(too_many));
    assert_eq!(events::decode(&columns[..columns.len() - 1], ONE), Err(DecodeError::Lengths));
    assert_eq!(events::decode(&[0xff; 50], ONE), Err(DecodeError::Lengths));
}
