//! What a plain forward walk sees of a recording, step by step: the truth that a client is told, or is not.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use recorder::{Exit, Position};
use replayvm::machine::{ExitFilter, Watch, WatchKind};
use replayvm::timeline::{Reason, Stops, Timeline, unsupervised};

use crate::fingerprint;

/// Watched places that the walk looks at. Each may be two ranges, and is two watches: for stores and for loads.
const PLACES: usize = 14;
const LENGTHS: [u64; 9] = [1, 2, 4, 8, 8, 3, 7, 24, 100];

/// The machine before a step, and what the step does.
#[derive(Debug)]
pub struct Step {
    pub position: Position,
    /// Linear.
    pub rip: u64,
    /// [`fingerprint::of`] all that `g` says.
    pub registers: u64,
    rsp: u64,
    cr3: u64,
    /// A breakpoint here stops: the instruction is about to be executed.
    breaks: bool,
    /// An interrupt is taken.
    interrupt: bool,
    /// One bit for each place, that is stored to, and that is read.
    stored: u64,
    loaded: u64,
}

/// Which accesses are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Write,
    Read,
    Access,
}

/// Some bytes that the guest accesses now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    index: usize,
    linear: u64,
    len: u64,
}

/// A place that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watched {
    place: usize,
    pub linear: u64,
    pub len: u64,
    pub kind: Kind,
}

impl Place {
    pub fn watched(self, kind: Kind) -> Watched {
        Watched { place: self.index, linear: self.linear, len: self.len, kind }
    }
}

impl Watched {
    /// Whether this address is watched.
    pub fn covers(self, linear: u64) -> bool {
        linear.wrapping_sub(self.linear) < self.len
    }

    fn is_hit(self, step: &Step) -> bool {
        let seen = match self.kind {
            Kind::Write => step.stored,
            Kind::Read => step.loaded,
            Kind::Access => step.stored | step.loaded,
        };
        seen >> self.place & 1 != 0
    }
}

/// Where a run must rest, and why. Neither a breakpoint nor a watchpoint: it is an end.
#[derive(Debug)]
pub struct Expected {
    pub at: usize,
    pub breaks: bool,
    pub watched: Vec<Watched>,
}

/// A walk through the last ticks of a recording.
#[derive(Debug)]
pub struct Truth {
    pub steps: Vec<Step>,
    pub places: Vec<Place>,
    /// The walk begins where the recording does.
    pub begins_at_begin: bool,
    indices: HashMap<u64, usize>,
}

impl Truth {
    /// Walks the last so many ticks.
    pub fn walk(recording: &Path, ticks: u64, random: &mut ChaCha8Rng) -> Self {
        let mut timeline = Timeline::open(recording).unwrap();
        let from = Position::new(timeline.end().tick.saturating_sub(ticks), 0).max(timeline.begin());
        let found = places(&mut timeline, from.tick, random);
        let mut watches = Vec::new();
        let mut owners = Vec::new();
        for (place, ranges) in &found {
            for (gpa, len) in ranges {
                for kind in [WatchKind::Write, WatchKind::Read] {
                    watches.push(Watch { gpa: *gpa, len: *len, kind });
                    owners.push((place.index, kind));
                }
            }
        }
        assert!(watches.len() <= 64, "a hit tells of 64 watches");
        let stops = Stops { watches, exits: ExitFilter::NONE, ..Stops::default() };
        let interrupts: Vec<Position> = timeline
            .opened()
            .recording()
            .exits()
            .map(Result::unwrap)
            .filter(|(at, exit)| *at >= from && matches!(exit, Exit::Interrupt { .. }))
            .map(|(at, _)| at)
            .collect();
        timeline.seek(from, &mut unsupervised()).unwrap();
        let mut truth = Self {
            steps: Vec::new(),
            places: found.iter().map(|(place, _)| *place).collect(),
            begins_at_begin: timeline.position() == timeline.begin(),
            indices: HashMap::new(),
        };
        let mut before = contents(&timeline, &stops.watches);
        loop {
            let rip = timeline.cpu().linear_rip();
            let mut step = Step {
                position: timeline.position(),
                rip,
                registers: fingerprint::of(&timeline),
                rsp: timeline.cpu().gpr[4],
                cr3: timeline.cpu().cr3,
                breaks: timeline.breaks_at(rip),
                interrupt: interrupts.binary_search(&timeline.position()).is_ok(),
                stored: 0,
                loaded: 0,
            };
            truth.indices.insert(step.registers, truth.steps.len());
            let reason = timeline.step_forward_watching(&stops).unwrap().reason;
            if let Reason::Watch(hit) = reason {
                for (place, kind) in hit.indices().map(|index| owners[index]) {
                    match kind {
                        WatchKind::Write => step.stored |= 1 << place,
                        _ => step.loaded |= 1 << place,
                    }
                }
            }
            // What nobody has told of has not changed.
            let after = contents(&timeline, &stops.watches);
            for (index, (old, new)) in before.iter().zip(&after).enumerate() {
                let told = step.stored >> owners[index].0 & 1 != 0;
                let gpas = stops.watches[index].gpa..;
                let unseen = gpas.zip(old.iter().zip(new)).find(|(gpa, (old, new))| {
                    // Accessed and dirty bits of page tables are the processor's own: no data breakpoint sees them.
                    let marks = if gpa.is_multiple_of(8) { 0x60 } else { 0 };
                    (*old ^ *new) & !marks != 0
                });
                assert!(told || unseen.is_none(), "{}: an unseen store {unseen:x?}", step.position);
            }
            before = after;
            truth.steps.push(step);
            if reason == Reason::End {
                assert!(truth.steps.len() > 10_000, "a walk of some length");
                return truth;
            }
        }
    }

    /// The place in the walk where the registers are these.
    pub fn index_of(&self, registers: &[u8]) -> Option<usize> {
        self.indices.get(&fingerprint::of_bytes(registers)).copied()
    }

    /// Whether the recording goes no further on this way.
    pub fn is_end(&self, at: usize, forward: bool) -> bool {
        if forward { at + 1 == self.steps.len() } else { at == 0 && self.begins_at_begin }
    }

    /// Where a run must come to rest; `None` if that is before the walk.
    pub fn run(&self, at: usize, forward: bool, addresses: &[u64], watched: &[Watched]) -> Option<Expected> {
        let breaks = |index: usize| self.steps[index].breaks && addresses.contains(&self.steps[index].rip);
        let hit = |index: usize| -> Vec<Watched> {
            watched.iter().copied().filter(|watched| watched.is_hit(&self.steps[index])).collect()
        };
        let last = self.steps.len() - 1;
        if forward {
            for step in at..last {
                let (watched, next) = (hit(step), step + 1);
                if !watched.is_empty() || (next < last && breaks(next)) {
                    return Some(Expected { at: next, breaks: watched.is_empty(), watched });
                }
            }
            return Some(Expected { at: last, breaks: false, watched: Vec::new() });
        }
        for step in (0..at).rev() {
            let watched = hit(step);
            if !watched.is_empty() || breaks(step) {
                return Some(Expected { at: step, breaks: breaks(step), watched });
            }
        }
        self.begins_at_begin.then(|| Expected { at: 0, breaks: false, watched: Vec::new() })
    }

    /// Where steps end that go on while the instruction pointer is in a range, over interrupts, to a breakpoint at the farthest.
    pub fn after_range(&self, mut at: usize, range: Range<u64>, addresses: &[u64]) -> usize {
        let last = self.steps.len() - 1;
        let breaks = |index: usize| self.steps[index].breaks && addresses.contains(&self.steps[index].rip);
        while at < last {
            let program = &self.steps[at];
            at += 1;
            if program.interrupt && at < last {
                let is_back = |index: usize| {
                    let step = &self.steps[index];
                    step.breaks && (step.rip, step.rsp, step.cr3) == (program.rip, program.rsp, program.cr3)
                };
                if breaks(at) && self.steps[at].rip != program.rip {
                    return at;
                }
                at = (at + 1..last).find(|index| is_back(*index) || breaks(*index)).unwrap_or(last);
                if at < last && !is_back(at) {
                    return at;
                }
            }
            if at == last || breaks(at) || !range.contains(&self.steps[at].rip) {
                break;
            }
        }
        at
    }
}

/// What is in watched memory.
fn contents(timeline: &Timeline, watches: &[Watch]) -> Vec<Vec<u8>> {
    let read = |watch: &Watch| {
        let mut bytes = vec![0; watch.len as usize];
        assert_eq!(timeline.read_physical(watch.gpa, &mut bytes), bytes.len());
        bytes
    };
    watches.iter().map(read).collect()
}

/// Where Linux has all physical memory, without KASLR.
const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;

/// Places that are accessed, and some on the stacks of the time, that lie at the same physical addresses all the time: each
/// with its ranges.
fn places(timeline: &mut Timeline, from: u64, random: &mut ChaCha8Rng) -> Vec<(Place, Vec<(u64, u64)>)> {
    let mut pick = |limit: u64| random.next_u64() % limit;
    let end = timeline.end().tick;
    let everything = vec![Watch { gpa: 0, len: u64::MAX, kind: WatchKind::Access }];
    let anything = Stops { watches: everything, ..Stops::default() };
    let mut candidates = Vec::new();
    for _ in 0..3 * PLACES {
        timeline.seek(Position::new(from + pick(end - from), 0), &mut unsupervised()).unwrap();
        let stack = timeline.cpu().gpr[4];
        let len = LENGTHS[pick(LENGTHS.len() as u64) as usize];
        let landing = timeline.run_forward(&anything, &mut unsupervised()).unwrap();
        if let Reason::Watch(hit) = landing.reason {
            let linear = [hit.gpa, hit.gpa.wrapping_add(DIRECT_MAP)];
            if let Some(linear) =
                linear.into_iter().find(|linear| timeline.translate(*linear) == Some(hit.gpa))
            {
                // Just that, a part with what is behind it, and something over the next page border.
                candidates.push((linear, hit.len));
                candidates.push((linear + hit.len - 1, len));
                candidates.push((linear, 0x1003 - linear % 0x1000));
            }
        }
        candidates.push((stack.wrapping_sub(40).wrapping_add(pick(80)), len));
    }
    let mut known = HashSet::new();
    candidates.retain(|candidate| known.insert(*candidate));
    let mut seen: Vec<Vec<Option<Vec<(u64, u64)>>>> = Vec::new();
    for _ in 0..8 {
        timeline.seek(Position::new(from + pick(end - from), 0), &mut unsupervised()).unwrap();
        seen.push(candidates.iter().map(|(linear, len)| ranges(timeline, *linear, *len)).collect());
    }
    let mut found = Vec::new();
    for (number, (linear, len)) in candidates.iter().enumerate() {
        let Some(ranges) = seen[0][number].clone() else { continue };
        // The first ones lie near each other, so that one step hits more than one of them; the others anywhere.
        if found.len() >= PLACES / 2 && number % 5 != 0 {
            continue;
        }
        let in_ram = ranges
            .iter()
            .all(|(gpa, len)| timeline.read_physical(*gpa, &mut vec![0; *len as usize]) == *len as usize);
        let stays = seen.iter().all(|seen| seen[number].as_ref() == Some(&ranges));
        if in_ram && stays && found.len() < PLACES {
            found.push((Place { index: found.len(), linear: *linear, len: *len }, ranges));
        }
    }
    assert!(found.len() > PLACES / 2, "{} places", found.len());
    found
}

/// Where linear memory is, page by page.
fn ranges(timeline: &Timeline, linear: u64, len: u64) -> Option<Vec<(u64, u64)>> {
    let border = (0x1000 - linear % 0x1000).min(len);
    let mut ranges = vec![(timeline.translate(linear)?, border)];
    if border < len {
        ranges.push((timeline.translate(linear.wrapping_add(border))?, len - border));
    }
    Some(ranges)
}
