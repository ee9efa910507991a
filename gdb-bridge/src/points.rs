//! Breakpoints and watchpoints. They are kept here and given to the timeline with each run; guest memory never holds them.
//!
//! gdb names watched memory by linear address, the timeline by physical: the translation is made when gdb sets the
//! watchpoint. gdb takes all its points back at each stop and sets them again before the next run, so that a watchpoint
//! follows the address space in which the machine stands. Where the address is not mapped then (another process, before
//! paging), the last known translation serves.

use std::collections::BTreeMap;

use gdbstub::target::ext::breakpoints::{
    Breakpoints, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps, SwBreakpoint, SwBreakpointOps,
    WatchKind,
};
use gdbstub::target::{TargetError, TargetResult};
use replayvm::machine::{self, Watch};
use replayvm::timeline::{AddressSpace, Stops, Timeline};

use crate::refusal;
use crate::spaces::Spaces;
use crate::target::ReplayTarget;

/// Bytes that one watchpoint may cover.
const WATCH_BYTES_MAX: u64 = 16 << 20;
/// Watchpoints whose translation is remembered.
const KNOWN_MAX: usize = 1024;
const PAGE_BYTES: u64 = machine::PAGE_BYTES as u64;

/// A watchpoint as gdb has set it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watchpoint {
    /// First byte, linear.
    pub linear: u64,
    /// Bytes.
    pub len: u64,
    /// Which accesses.
    pub kind: WatchKind,
    /// Where that is in physical memory: address and bytes.
    ranges: Vec<(u64, u64)>,
}

impl Watchpoint {
    /// Whether this linear address is watched.
    #[must_use]
    pub fn covers(&self, linear: u64) -> bool {
        linear.wrapping_sub(self.linear) < self.len
    }

    /// Whether it is the same to gdb, wherever in physical memory it has come to lie.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        (self.linear, self.len, self.kind) == (other.linear, other.len, other.kind)
    }
}

/// What a run stops on.
#[derive(Debug, Default)]
pub struct Points {
    software: Vec<u64>,
    hardware: Vec<u64>,
    watchpoints: Vec<Watchpoint>,
    known: BTreeMap<(u64, u64), Vec<(u64, u64)>>,
    /// Which breakpoints hold in one address space only.
    pub(crate) spaces: Spaces,
}

impl Points {
    /// The stops for the timeline, and for each of its watches the watchpoint that it is a part of.
    #[must_use]
    pub fn stops(&self) -> (Stops, Vec<usize>) {
        let mut stops = Stops::default();
        for linear in self.software.iter().chain(&self.hardware) {
            match self.spaces.of(*linear) {
                Some(space) => stops.bound.push((*linear, space)),
                None => stops.addresses.push(*linear),
            }
        }
        let mut owners = Vec::new();
        for (owner, watchpoint) in self.watchpoints.iter().enumerate() {
            let kind = match watchpoint.kind {
                WatchKind::Write => machine::WatchKind::Write,
                WatchKind::Read => machine::WatchKind::Read,
                WatchKind::ReadWrite => machine::WatchKind::Access,
            };
            for (gpa, len) in &watchpoint.ranges {
                stops.watches.push(Watch { gpa: *gpa, len: *len, kind });
                owners.push(owner);
            }
        }
        (stops, owners)
    }

    /// Whether the next instruction is at a breakpoint that holds in its address space. Where an interrupt comes before it, the
    /// breakpoint is met when that has returned.
    #[must_use]
    pub fn breaks_here(&self, timeline: &Timeline) -> bool {
        let linear = timeline.cpu().linear_rip();
        let is_one = self.software.contains(&linear) || self.hardware.contains(&linear);
        let holds = |space| AddressSpace::of(timeline.cpu()) == Some(space);
        is_one && self.spaces.of(linear).is_none_or(holds) && timeline.breaks_at(linear)
    }

    /// Whether the breakpoint there is a software one in gdb's eyes.
    #[must_use]
    pub fn is_software(&self, linear: u64) -> bool {
        self.software.contains(&linear)
    }

    /// Whether a watchpoint is still set.
    #[must_use]
    pub fn watches(&self, watchpoint: &Watchpoint) -> bool {
        self.watchpoints.iter().any(|known| known.is(watchpoint))
    }

    /// A watchpoint.
    #[must_use]
    pub fn watchpoint(&self, index: usize) -> Option<&Watchpoint> {
        self.watchpoints.get(index)
    }
}

/// The physical ranges of a linear range, page by page, neighbours joined. `None` if a page is not mapped.
pub(crate) fn physical_ranges(
    linear: u64,
    len: u64,
    translate: impl Fn(u64) -> Option<u64>,
) -> Option<Vec<(u64, u64)>> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    let mut done = 0;
    while done < len {
        let address = linear.wrapping_add(done);
        let count = (PAGE_BYTES - address % PAGE_BYTES).min(len - done);
        let gpa = translate(address)?;
        match ranges.last_mut() {
            Some((start, bytes)) if start.checked_add(*bytes) == Some(gpa) => *bytes += count,
            _ => ranges.push((gpa, count)),
        }
        done += count;
    }
    Some(ranges)
}

impl Breakpoints for ReplayTarget<'_> {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

/// gdb may set a point twice (it says so to be sure) and counts it once.
fn add(list: &mut Vec<u64>, address: u64) -> bool {
    if !list.contains(&address) {
        list.push(address);
    }
    true
}

fn remove(list: &mut Vec<u64>, address: u64) -> bool {
    let before = list.len();
    list.retain(|known| *known != address);
    list.len() < before
}

impl SwBreakpoint for ReplayTarget<'_> {
    fn add_sw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(add(&mut self.points.software, address))
    }

    fn remove_sw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(remove(&mut self.points.software, address))
    }
}

impl HwBreakpoint for ReplayTarget<'_> {
    fn add_hw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(add(&mut self.points.hardware, address))
    }

    fn remove_hw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(remove(&mut self.points.hardware, address))
    }
}

impl HwWatchpoint for ReplayTarget<'_> {
    fn add_hw_watchpoint(&mut self, linear: u64, len: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        if len == 0 || len > WATCH_BYTES_MAX {
            return Err(TargetError::Errno(refusal::TOO_LARGE));
        }
        let timeline = &*self.timeline;
        let key = (linear, len);
        let points = &mut self.points;
        let ranges = match physical_ranges(linear, len, |address| timeline.translate(address)) {
            Some(ranges) => {
                if points.known.len() >= KNOWN_MAX {
                    points.known.clear();
                }
                points.known.insert(key, ranges.clone());
                ranges
            }
            None => {
                let known = points.known.get(&key).cloned();
                known.ok_or(TargetError::Errno(refusal::UNMAPPED))?
            }
        };
        let same = |known: &&mut Watchpoint| (known.linear, known.len, known.kind) == (linear, len, kind);
        match points.watchpoints.iter_mut().find(same) {
            Some(known) => known.ranges = ranges,
            None => points.watchpoints.push(Watchpoint { linear, len, kind, ranges }),
        }
        Ok(true)
    }

    fn remove_hw_watchpoint(&mut self, linear: u64, len: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        let watchpoints = &mut self.points.watchpoints;
        let before = watchpoints.len();
        watchpoints.retain(|known| (known.linear, known.len, known.kind) != (linear, len, kind));
        Ok(watchpoints.len() < before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_within_a_page_is_one_physical_range() {
        assert_eq!(physical_ranges(0x1ffc, 4, |address| Some(address + 0x7000)), Some(vec![(0x8ffc, 4)]));
        assert_eq!(physical_ranges(0x1ffc, 0, |_| None), Some(vec![]));
    }

    #[test]
    fn a_range_over_pages_is_split_where_they_are_not_neighbours() {
        let scattered = |address: u64| Some(0x10_0000 - (address & !0xfff) * 2 + (address & 0xfff));
        assert_eq!(
            physical_ranges(0x1ffe, 0x1004, scattered),
            Some(vec![(0xf_eff8 + 6, 2), (0xf_c000, 0x1000), (0xf_a000, 2)])
        );
        assert_eq!(physical_ranges(0x1ffe, 0x1004, Some), Some(vec![(0x1ffe, 0x1004)]));
    }

    #[test]
    fn a_range_that_is_not_all_mapped_has_no_physical_ranges() {
        assert_eq!(physical_ranges(0x1ffe, 4, |address| (address < 0x2000).then_some(address)), None);
        assert_eq!(physical_ranges(u64::MAX - 1, 4, Some), Some(vec![(u64::MAX - 1, 2), (0, 2)]));
    }
}
