//! Exits as columns.
//!
//! What an exit has besides values that change from one to the next (kind, port, size, MSR number, vector) is its
//! shape. A guest has few: each is listed once a batch, and an exit is the number of its shape. The values go to columns by
//! where they come from. A time stamp is predicted from the tick, so that only idle time leaves a trace.

use std::collections::HashMap;

use super::{Declared, DecodeError, PositionReader, PositionWriter, join, split};
use crate::format::varint::{self, Cursor};
use crate::{Exit, Position};

const PORT_READ: u8 = 0;
const PORT_WRITE: u8 = 1;
const MMIO_READ: u8 = 2;
const MMIO_WRITE: u8 = 3;
const MSR_READ: u8 = 4;
const MSR_WRITE: u8 = 5;
const CPUID: u8 = 6;
const TSC: u8 = 7;
const ENTROPY: u8 = 8;
const HALT: u8 = 9;
const INTERRUPT: u8 = 10;
const NMI: u8 = 11;
const EXCEPTION: u8 = 12;
const EXCEPTION_WITH_CODE: u8 = 13;
const SOFTWARE_INTERRUPT: u8 = 14;
const SHUTDOWN: u8 = 15;

/// The exit with its values set to 0.
const fn shape(exit: Exit) -> Exit {
    match exit {
        Exit::PortRead { port, size, .. } => Exit::PortRead { port, size, value: 0 },
        Exit::PortWrite { port, size, .. } => Exit::PortWrite { port, size, value: 0 },
        Exit::MmioRead { size, .. } => Exit::MmioRead { gpa: 0, size, value: 0 },
        Exit::MmioWrite { size, .. } => Exit::MmioWrite { gpa: 0, size, value: 0 },
        Exit::MsrRead { index, .. } => Exit::MsrRead { index, value: 0 },
        Exit::MsrWrite { index, .. } => Exit::MsrWrite { index, value: 0 },
        Exit::Tsc { .. } => Exit::Tsc { value: 0 },
        Exit::Entropy { .. } => Exit::Entropy { value: 0 },
        Exit::Exception { vector, error_code, .. } => Exit::Exception { vector, error_code, address: 0 },
        Exit::Cpuid { .. }
        | Exit::Halt
        | Exit::Interrupt { .. }
        | Exit::Nmi
        | Exit::SoftwareInterrupt { .. }
        | Exit::Shutdown => exit,
    }
}

fn put_shape(out: &mut Vec<u8>, shape: Exit) {
    match shape {
        Exit::PortRead { port, size, .. } => put_fields(out, PORT_READ, &[port.into(), size.into()]),
        Exit::PortWrite { port, size, .. } => put_fields(out, PORT_WRITE, &[port.into(), size.into()]),
        Exit::MmioRead { size, .. } => put_fields(out, MMIO_READ, &[size.into()]),
        Exit::MmioWrite { size, .. } => put_fields(out, MMIO_WRITE, &[size.into()]),
        Exit::MsrRead { index, .. } => put_fields(out, MSR_READ, &[index.into()]),
        Exit::MsrWrite { index, .. } => put_fields(out, MSR_WRITE, &[index.into()]),
        Exit::Cpuid { leaf, subleaf } => put_fields(out, CPUID, &[leaf.into(), subleaf.into()]),
        Exit::Tsc { .. } => put_fields(out, TSC, &[]),
        Exit::Entropy { .. } => put_fields(out, ENTROPY, &[]),
        Exit::Halt => put_fields(out, HALT, &[]),
        Exit::Interrupt { vector } => put_fields(out, INTERRUPT, &[vector.into()]),
        Exit::Nmi => put_fields(out, NMI, &[]),
        Exit::Exception { vector, error_code: None, .. } => put_fields(out, EXCEPTION, &[vector.into()]),
        Exit::Exception { vector, error_code: Some(code), .. } => {
            put_fields(out, EXCEPTION_WITH_CODE, &[vector.into(), code.into()]);
        }
        Exit::SoftwareInterrupt { vector } => put_fields(out, SOFTWARE_INTERRUPT, &[vector.into()]),
        Exit::Shutdown => put_fields(out, SHUTDOWN, &[]),
    }
}

fn put_fields(out: &mut Vec<u8>, tag: u8, fields: &[u64]) {
    out.push(tag);
    for field in fields {
        varint::put(out, *field);
    }
}

/// `Ok(None)` where a field is missing or out of range, `Err` with a tag that is unknown.
fn take_shape(tag: u8, from: &mut Cursor<'_>) -> Result<Option<Exit>, u8> {
    let fields = |from: &mut Cursor<'_>| {
        Some(match tag {
            PORT_READ => Exit::PortRead { port: from.varint()?, size: from.varint()?, value: 0 },
            PORT_WRITE => Exit::PortWrite { port: from.varint()?, size: from.varint()?, value: 0 },
            MMIO_READ => Exit::MmioRead { gpa: 0, size: from.varint()?, value: 0 },
            MMIO_WRITE => Exit::MmioWrite { gpa: 0, size: from.varint()?, value: 0 },
            MSR_READ => Exit::MsrRead { index: from.varint()?, value: 0 },
            MSR_WRITE => Exit::MsrWrite { index: from.varint()?, value: 0 },
            CPUID => Exit::Cpuid { leaf: from.varint()?, subleaf: from.varint()? },
            TSC => Exit::Tsc { value: 0 },
            ENTROPY => Exit::Entropy { value: 0 },
            HALT => Exit::Halt,
            INTERRUPT => Exit::Interrupt { vector: from.varint()? },
            NMI => Exit::Nmi,
            EXCEPTION => Exit::Exception { vector: from.varint()?, error_code: None, address: 0 },
            EXCEPTION_WITH_CODE => {
                Exit::Exception { vector: from.varint()?, error_code: Some(from.varint()?), address: 0 }
            }
            SOFTWARE_INTERRUPT => Exit::SoftwareInterrupt { vector: from.varint()? },
            _ => Exit::Shutdown,
        })
    };
    if tag > SHUTDOWN { Err(tag) } else { Ok(fields(from)) }
}

/// What both directions remember from one exit to the next.
#[derive(Default)]
struct History {
    gpa: u64,
    address: u64,
    tsc: u64,
    tsc_tick: u64,
}

impl History {
    /// The time stamp that a read at `tick` gives if the CPU was never idle since the last: the TSC counts nanoseconds of
    /// virtual time and its own reads.
    const fn expected_tsc(&self, tick: u64, ns_per_tick: u64) -> u64 {
        let ticks = tick.wrapping_sub(self.tsc_tick);
        self.tsc.wrapping_add(ticks.wrapping_mul(ns_per_tick)).wrapping_add(1)
    }
}

/// Encodes exits in order of position. `ns_per_tick` only makes time stamps smaller.
pub(crate) fn encode(exits: &[(Position, Exit)], ns_per_tick: u32) -> Vec<u8> {
    let ns_per_tick = u64::from(ns_per_tick);
    let mut positions = PositionWriter::new(exits.first().map_or(Position::START, |first| first.0));
    let mut numbers: HashMap<Exit, u64> = HashMap::new();
    let mut history = History::default();
    let (mut shapes, mut ids, mut reads, mut writes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut gpas, mut addresses, mut stamps, mut random) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    varint::put(&mut shapes, ns_per_tick);
    for (position, exit) in exits {
        positions.put(*position);
        let shape = shape(*exit);
        let next = numbers.len() as u64;
        let number = *numbers.entry(shape).or_insert_with(|| {
            put_shape(&mut shapes, shape);
            next
        });
        varint::put(&mut ids, number);
        match *exit {
            Exit::PortRead { value, .. } => varint::put(&mut reads, value.into()),
            Exit::PortWrite { value, .. } => varint::put(&mut writes, value.into()),
            Exit::MmioRead { gpa, value, .. } => {
                varint::put_difference(&mut gpas, history.gpa, gpa);
                history.gpa = gpa;
                varint::put(&mut reads, value);
            }
            Exit::MmioWrite { gpa, value, .. } => {
                varint::put_difference(&mut gpas, history.gpa, gpa);
                history.gpa = gpa;
                varint::put(&mut writes, value);
            }
            Exit::MsrRead { value, .. } => varint::put(&mut reads, value),
            Exit::MsrWrite { value, .. } => varint::put(&mut writes, value),
            Exit::Tsc { value } => {
                let expected = history.expected_tsc(position.tick, ns_per_tick);
                varint::put_difference(&mut stamps, expected, value);
                (history.tsc, history.tsc_tick) = (value, position.tick);
            }
            Exit::Entropy { value } => random.extend_from_slice(&value.to_le_bytes()),
            Exit::Exception { address, .. } => {
                varint::put_difference(&mut addresses, history.address, address);
                history.address = address;
            }
            Exit::Cpuid { .. }
            | Exit::Halt
            | Exit::Interrupt { .. }
            | Exit::Nmi
            | Exit::SoftwareInterrupt { .. }
            | Exit::Shutdown => {}
        }
    }
    join([shapes, ids, positions.ticks, positions.offsets, reads, writes, gpas, addresses, stamps, random])
}

/// Decodes what [`encode`] made.
pub(crate) fn decode(columns: &[u8], declared: Declared) -> Result<Vec<(Position, Exit)>, DecodeError> {
    declared.check_count()?;
    let count = declared.count;
    let [
        shapes,
        mut ids,
        ticks,
        offsets,
        mut reads,
        mut writes,
        mut gpas,
        mut addresses,
        mut stamps,
        mut random,
    ] = split(columns)?;
    let (ns_per_tick, shapes) = read_shapes(shapes, count)?;
    let mut positions = PositionReader { previous: declared.first, ticks, offsets };
    let mut history = History::default();
    let mut exits = Vec::with_capacity(count.min(ids.0.len()));
    for index in 0..count {
        let missing = |column| DecodeError::Column { column, index };
        let position = positions.take().ok_or(missing("positions"))?;
        let number: usize = ids.varint().ok_or(missing("shape numbers"))?;
        let mut exit = *shapes.get(number).ok_or(missing("shape numbers"))?;
        match &mut exit {
            Exit::PortRead { value, .. } => *value = reads.varint().ok_or(missing("values read"))?,
            Exit::PortWrite { value, .. } => *value = writes.varint().ok_or(missing("values written"))?,
            Exit::MmioRead { gpa, value, .. } => {
                *gpa = gpas.difference(history.gpa).ok_or(missing("physical addresses"))?;
                history.gpa = *gpa;
                *value = reads.varint().ok_or(missing("values read"))?;
            }
            Exit::MmioWrite { gpa, value, .. } => {
                *gpa = gpas.difference(history.gpa).ok_or(missing("physical addresses"))?;
                history.gpa = *gpa;
                *value = writes.varint().ok_or(missing("values written"))?;
            }
            Exit::MsrRead { value, .. } => *value = reads.varint().ok_or(missing("values read"))?,
            Exit::MsrWrite { value, .. } => *value = writes.varint().ok_or(missing("values written"))?,
            Exit::Tsc { value } => {
                let expected = history.expected_tsc(position.tick, ns_per_tick);
                *value = stamps.difference(expected).ok_or(missing("time stamps"))?;
                (history.tsc, history.tsc_tick) = (*value, position.tick);
            }
            Exit::Entropy { value } => *value = random.u64_le().ok_or(missing("entropy"))?,
            Exit::Exception { address, .. } => {
                *address = addresses.difference(history.address).ok_or(missing("fault addresses"))?;
                history.address = *address;
            }
            Exit::Cpuid { .. }
            | Exit::Halt
            | Exit::Interrupt { .. }
            | Exit::Nmi
            | Exit::SoftwareInterrupt { .. }
            | Exit::Shutdown => {}
        }
        exits.push((position, exit));
    }
    let rest = [ids, positions.ticks, positions.offsets, reads, writes, gpas, addresses, stamps, random];
    if !rest.iter().all(Cursor::is_empty) {
        return Err(DecodeError::LeftOver { count });
    }
    declared.check_span(exits.first().map(|e| e.0), exits.last().map(|e| e.0))?;
    Ok(exits)
}

/// The nanoseconds per tick that time stamps were predicted with, and the shapes.
fn read_shapes(mut from: Cursor<'_>, limit: usize) -> Result<(u64, Vec<Exit>), DecodeError> {
    let missing = |index| DecodeError::Column { column: "shapes", index };
    let ns_per_tick = from.varint().ok_or(missing(0))?;
    let mut shapes = Vec::new();
    while let Some(tag) = from.byte() {
        let index = shapes.len();
        if index >= limit {
            return Err(DecodeError::LeftOver { count: limit });
        }
        let shape = take_shape(tag, &mut from).map_err(|tag| DecodeError::UnknownExit { tag, index })?;
        shapes.push(shape.ok_or(missing(index))?);
    }
    Ok((ns_per_tick, shapes))
}
