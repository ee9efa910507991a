//! Who wrote to these bytes: `last-write` and `writes`.
//!
//! A write is a store of the guest's program or of the delivery of an interrupt or exception. What devices store (a disk's
//! request) and the accessed and dirty bits of page tables are none, as for watchpoints. A step that stores more than once (the
//! frame of an interrupt) is one write, shown with the first of its stores to the bytes.

use std::fmt::Write;

use recorder::{Exit, ExitKind, Position};
use replayvm::machine::{ExitFilter, Watch, WatchHit, WatchKind};
use replayvm::timeline::{Extent, Progress, Reason, Stops};

use super::failed;
use super::look::INTERRUPTED;
use super::parse::Place;
use crate::points::physical_ranges;
use crate::target::ReplayTarget;

/// Writes that one command lists.
pub(super) const WRITES_MAX: usize = 100;
/// As many bytes are shown as one value; of longer ranges what the access has written is.
const VALUE_BYTES: u64 = 8;
/// Bytes of an access that are shown.
const SHOWN_BYTES: u64 = 16;

/// Exits of steps that deliver something, and store what an instruction does not.
const DELIVERIES: ExitFilter = ExitFilter::NONE
    .with(ExitKind::Interrupt)
    .with(ExitKind::Nmi)
    .with(ExitKind::Exception)
    .with(ExitKind::SoftwareInterrupt);

/// The bytes that are looked at.
struct Bytes {
    /// As gdb names them.
    address: u64,
    len: u64,
    /// Where they are in physical memory: address and bytes.
    ranges: Vec<(u64, u64)>,
}

impl Bytes {
    fn stops(&self) -> Stops {
        let watch = |(gpa, len): &(u64, u64)| Watch { gpa: *gpa, len: *len, kind: WatchKind::Write };
        Stops { watches: self.ranges.iter().map(watch).collect(), ..Stops::default() }
    }

    /// What to show of an access: the offset from the first byte, the physical address, and how many bytes.
    fn shown(&self, hit: &WatchHit) -> (u64, u64, u64) {
        let before: u64 = self.ranges.iter().take(hit.index).map(|(_, len)| len).sum();
        let (start, len) = self.ranges.get(hit.index).copied().unwrap_or_default();
        if self.len <= VALUE_BYTES && len == self.len {
            return (0, start, len);
        }
        let first = hit.gpa.max(start);
        let end = hit.gpa.saturating_add(hit.len).min(start.saturating_add(len));
        (before + (first - start), first, end.saturating_sub(first).min(SHOWN_BYTES))
    }
}

/// A number where the guest could mean one, else the bytes in their order.
fn value(bytes: &[u8]) -> String {
    if matches!(bytes.len(), 1 | 2 | 4 | 8) {
        let number = bytes.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        return format!("{number:#x}");
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// A write, told.
struct Told {
    at: Position,
    rip: u64,
    what: String,
    address: u64,
    old: String,
    new: String,
}

impl ReplayTarget<'_> {
    fn bytes(&self, address: u64, len: u64) -> Result<Bytes, String> {
        let ranges = if self.physical {
            vec![(address, len)]
        } else {
            // The first page that is not mapped says why.
            physical_ranges(address, len, |linear| self.timeline.translate(linear)).ok_or_else(|| {
                let pages = 1..=((address & 0xfff) + (len - 1)) >> 12;
                let pages = pages.map(|page| (address & !0xfff).wrapping_add(page << 12));
                let mut wrong = std::iter::once(address).chain(pages).map(|linear| self.translate(linear));
                let found = wrong.find_map(Result::err);
                found.unwrap_or_else(|| format!("{len} bytes at {address:#x} are not all mapped"))
            })?
        };
        let ram = self.timeline.machine().platform.ram.bytes();
        let outside = ranges.iter().find(|(gpa, len)| gpa.checked_add(*len).is_none_or(|end| end > ram));
        if let Some((gpa, len)) = outside {
            return Err(format!("the {len} bytes at physical {gpa:#x} are not all RAM"));
        }
        Ok(Bytes { address, len, ranges })
    }

    pub(super) fn last_write(&mut self, address: u64, len: u64) -> Result<String, String> {
        let bytes = self.bytes(address, len)?;
        let stops = bytes.stops();
        let here = self.timeline.position();
        let told = self.looking(|target| {
            let link = target.link.clone();
            let mut supervisor = |_: Progress| !link.is_interrupted();
            let landing = target.timeline.run_backward(&stops, &mut supervisor);
            match landing.map_err(|error| failed(&error))?.reason {
                Reason::Watch(hit) => target.tell(&hit, &bytes).map(Some),
                Reason::Interrupted => Err(INTERRUPTED.to_owned()),
                _ => Ok(None),
            }
        })?;
        let Some(Told { at, rip, what, address: written, old, new }) = told else {
            let begin = match self.timeline.branch() {
                Some(branch) => format!("the begin of the branch at {}", branch.begin()),
                None => "the begin".to_owned(),
            };
            return Ok(format!("no write to {len} bytes at {address:#x} from {begin} to {here}\n"));
        };
        let mut text = format!("last write to {len} bytes at {address:#x} before {here}\n");
        let _ = writeln!(text, "position {at}\n{rip:#x}: {what}\nat {written:#x}: {old} -> {new}");
        if let Some(name) = self.name_of(rip) {
            let _ = writeln!(text, "in {name}");
        }
        Ok(text)
    }

    pub(super) fn writes(
        &mut self,
        address: u64,
        len: u64,
        from: Place,
        to: Place,
    ) -> Result<String, String> {
        let bytes = self.bytes(address, len)?;
        let (from, to) = (self.position_of(from), self.position_of(to));
        if from > to {
            return Err(format!("{from} is not before {to}"));
        }
        let (told, end) = self.looking(|target| {
            let mut hits = target.hits(&bytes.stops(), from, to)?;
            let end = hits.get(WRITES_MAX).map_or(Cut::Not, |next| Cut::Long(next.at));
            hits.truncate(WRITES_MAX);
            let mut told = Vec::new();
            if let Some(first) = hits.first() {
                target.visit(first.at)?;
            }
            for hit in hits {
                let link = target.link.clone();
                let mut supervisor = |_: Progress| !link.is_interrupted();
                let landing = target.timeline.run_to(hit.at, &mut supervisor);
                if landing.map_err(|error| failed(&error))?.reason == Reason::Interrupted {
                    return Ok((told, Cut::Interrupted(hit.at)));
                }
                told.push(target.tell(&hit, &bytes)?);
            }
            Ok((told, end))
        })?;
        let mut text = String::new();
        for Told { at, rip, what, address, old, new } in &told {
            let by = self.name_of(*rip).map_or_else(String::new, |name| format!(" in {name}"));
            let _ = writeln!(text, "{at:<16} {rip:#x}: {what:<36} {address:#x}: {old} -> {new}{by}");
        }
        match end {
            Cut::Not => {
                let _ = writeln!(text, "{} writes from {from} to {to}", told.len());
            }
            Cut::Long(next) => {
                let _ = writeln!(text, "the first {WRITES_MAX} writes; the next one is at {next}");
            }
            Cut::Interrupted(at) => {
                let _ = writeln!(text, "interrupted: writes from {from} to {at}");
            }
        }
        Ok(text)
    }

    /// The writes between two positions, one more than are listed.
    fn hits(&mut self, stops: &Stops, from: Position, to: Position) -> Result<Vec<WatchHit>, String> {
        let link = self.link.clone();
        let mut supervisor = |_: Progress| !link.is_interrupted();
        let collected = self.timeline.collect(stops, from, to, WRITES_MAX + 1, &mut supervisor);
        let collected = collected.map_err(|error| failed(&error))?;
        if let Extent::UpTo(at) = collected.extent {
            // Telling of them would be a second way as long as the first.
            let count = collected.hits.len();
            return Err(format!("{INTERRUPTED} at {at}: {count} writes from {from} until there"));
        }
        let watched = collected.hits.into_iter().filter_map(|hit| match hit.reason {
            Reason::Watch(hit) => Some(hit),
            _ => None,
        });
        Ok(watched.collect())
    }

    /// Tells of the write of the step before which the cursor stands; takes the step.
    fn tell(&mut self, hit: &WatchHit, bytes: &Bytes) -> Result<Told, String> {
        let (offset, gpa, len) = bytes.shown(hit);
        let rip = self.timeline.cpu().linear_rip();
        let instruction = self.timeline.machine().disassemble_next();
        let mut seen = vec![0; len as usize];
        self.timeline.read_physical(gpa, &mut seen);
        let old = value(&seen);
        let deliveries = Stops { exits: DELIVERIES, ..Stops::default() };
        let landing = self.timeline.step_forward_watching(&deliveries).map_err(|error| failed(&error))?;
        let what = match landing.reason {
            Reason::Exit(_, exit @ (Exit::Interrupt { .. } | Exit::Nmi)) => format!("delivery of {exit}"),
            Reason::Exit(_, exit) => format!("{instruction}, delivery of {exit}"),
            _ => instruction,
        };
        self.timeline.read_physical(gpa, &mut seen);
        Ok(Told {
            at: hit.at,
            rip,
            what,
            address: bytes.address.wrapping_add(offset),
            old,
            new: value(&seen),
        })
    }
}

/// Where a list of writes ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// Where it should.
    Not,
    /// There are more; the first of them is here.
    Long(Position),
    /// Somebody interrupted the search here.
    Interrupted(Position),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(index: usize, gpa: u64, len: u64) -> WatchHit {
        WatchHit { index, at: Position::START, write: true, gpa, len, all: 1 << index }
    }

    #[test]
    fn few_bytes_are_shown_whole_and_of_many_what_was_written() {
        let few = Bytes { address: 0x1000, len: 8, ranges: vec![(0x9000, 8)] };
        assert_eq!(few.shown(&hit(0, 0x9004, 1)), (0, 0x9000, 8));
        let many = Bytes { address: 0x1ff0, len: 0x20, ranges: vec![(0x9ff0, 0x10), (0x4000, 0x10)] };
        assert_eq!(many.shown(&hit(1, 0x4004, 4)), (0x14, 0x4004, 4));
        assert_eq!(many.shown(&hit(0, 0x9fe8, 0x10)), (0, 0x9ff0, 8));
        assert_eq!(many.shown(&hit(1, 0x3000, 0x2000)), (0x10, 0x4000, 0x10));
        let split = Bytes { address: 0x1ffe, len: 4, ranges: vec![(0x9ffe, 2), (0x4000, 2)] };
        assert_eq!(split.shown(&hit(1, 0x4000, 2)), (2, 0x4000, 2));
    }

    #[test]
    fn values_are_numbers_where_a_number_has_that_many_bytes() {
        assert_eq!(value(&[0x34, 0x12]), "0x1234");
        assert_eq!(value(&[1, 2, 3]), "01 02 03");
        assert_eq!(value(&[0xff; 8]), "0xffffffffffffffff");
    }
}
