//! What is done on a timeline: jobs, one after the other.

use std::collections::BTreeMap;

use replayvm::machine::{Watch, WatchKind};
use replayvm::timeline::{Landing, Progress, Reason, Stops, Timeline, TimelineError, unsupervised};

use super::{Bytes, Job, Order, Outcome, Points, Results};
use crate::machine::{Snapshot, TaskReader, Window, remember};

/// Bytes of pages that the timeline keeps in memory.
const CACHE_BYTES: usize = 128 << 20;
/// Pages whose translation is remembered.
const MAX_KNOWN: usize = 4096;
/// Checkpoints whose time is read.
const CLOCK_POINTS: usize = 256;

/// Looks on while something takes long; `false` stops it.
pub type GoOn<'g> = &'g mut dyn FnMut(Progress) -> bool;

/// A timeline, and what is remembered of what was seen on it.
#[derive(Debug)]
pub struct Desk {
    pub(super) timeline: Timeline,
    before: Option<Window>,
    tasks: TaskReader,
    /// Physical pages of linear ones that were watched.
    known: BTreeMap<u64, u64>,
}

/// What a job has come to.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) told: Option<String>,
    pub(super) results: Option<Results>,
    pub(super) clock: Option<Vec<(u64, u64)>>,
}

impl Done {
    pub(super) fn told(text: impl Into<String>) -> Self {
        Self { told: Some(text.into()), ..Self::default() }
    }
}

impl Desk {
    /// Over a timeline.
    #[must_use]
    pub fn new(mut timeline: Timeline) -> Self {
        timeline.cache_bytes(CACHE_BYTES);
        Self { timeline, before: None, tasks: TaskReader::default(), known: BTreeMap::new() }
    }

    /// The timeline.
    #[must_use]
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Does what is asked for.
    pub fn perform(&mut self, order: &Order, go_on: GoOn<'_>) -> Outcome {
        let before = remember(&self.timeline, &order.look.memory);
        let start = self.timeline.position();
        let (done, error) = match self.job(order, go_on) {
            Ok(done) => (done, None),
            Err(error) => (Done::default(), Some(error)),
        };
        // After an error a restore is due, or nothing can be seen.
        let mut sound = true;
        if error.is_some() {
            let back = self.timeline.position().min(self.timeline.end());
            sound = self.timeline.seek(back, &mut unsupervised()).is_ok()
                || self.timeline.seek(start, &mut unsupervised()).is_ok();
        }
        if self.timeline.position() != start {
            self.before = Some(before);
        }
        let Self { timeline, before, tasks, .. } = self;
        let snapshot = if sound {
            Snapshot::take(timeline, &order.look, order.names.as_ref(), before.as_ref(), tasks, go_on).ok()
        } else {
            None
        };
        let Done { told, results, clock } = done;
        Outcome { snapshot: snapshot.map(Box::new), told, results, clock, error }
    }

    fn job(&mut self, order: &Order, go_on: GoOn<'_>) -> Result<Done, TimelineError> {
        let Order { points, names, .. } = order;
        let names = names.as_ref();
        match &order.job {
            Job::Look => Ok(Done::default()),
            Job::Seek(to) => {
                let landing = self.timeline.seek(*to, &mut supervise(go_on))?;
                Ok(self.told(landing))
            }
            Job::Time(ns) => {
                let landing = self.timeline.seek_time(*ns, &mut supervise(go_on))?;
                Ok(self.told(landing))
            }
            Job::Step { back: false } => {
                let landing = self.timeline.step_forward()?;
                Ok(self.told(landing))
            }
            Job::Step { back: true } => {
                let landing = self.timeline.step_backward_supervised(&mut supervise(go_on))?;
                Ok(self.told(landing))
            }
            Job::Over { back: false } => self.over(go_on),
            Job::Over { back: true } => self.over_back(go_on),
            Job::Out { back: false } => self.out(go_on),
            Job::Out { back: true } => self.out_back(go_on),
            Job::Run { back } => self.run(points, *back, go_on),
            Job::To { address, back } => {
                let stops = Stops { addresses: vec![*address], ..Stops::default() };
                let landing = self.run_to_stop(&stops, *back, go_on)?;
                Ok(match landing.reason {
                    Reason::End | Reason::Begin => {
                        Done::told(format!("{address:#x} is not executed {}", until(*back)))
                    }
                    _ => self.told(landing),
                })
            }
            Job::LastWrite(bytes) => self.last_write(*bytes, go_on),
            Job::Writes(bytes) => self.writes(*bytes, names, go_on),
            Job::Calls(address) => self.calls(*address, names, go_on),
            Job::FindBytes { wanted, physical, from } => Ok(self.find_bytes(wanted, *physical, *from, go_on)),
            Job::FindCode { wanted, from } => Ok(self.find_code(wanted, *from, names, go_on)),
            Job::Clock => Ok(Done { clock: Some(self.clock()), ..Done::default() }),
        }
    }

    /// Says where the cursor came to rest, if that is not where it was sent.
    pub(super) fn told(&self, landing: Landing) -> Done {
        match landing.reason {
            Reason::Begin => Done::told("the begin of the recording"),
            Reason::End => Done::told("the end of the recording"),
            Reason::Interrupted => Done::told(format!("stopped at {}", landing.position)),
            Reason::Breakpoint(address) => Done::told(format!("breakpoint at {address:#x}")),
            Reason::Watch(hit) => {
                let what = if hit.write { "written" } else { "read" };
                Done::told(format!("{what}: {} bytes at physical {:#x}", hit.len, hit.gpa))
            }
            Reason::Reached | Reason::Exit(..) => Done::default(),
        }
    }

    pub(super) fn run_to_stop(
        &mut self,
        stops: &Stops,
        back: bool,
        go_on: GoOn<'_>,
    ) -> Result<Landing, TimelineError> {
        if back {
            self.timeline.run_backward(stops, &mut supervise(go_on))
        } else {
            self.timeline.run_forward(stops, &mut supervise(go_on))
        }
    }

    fn run(&mut self, points: &Points, back: bool, go_on: GoOn<'_>) -> Result<Done, TimelineError> {
        if points.breakpoints.is_empty() && points.watches.is_empty() {
            return Ok(Done::told("there is no breakpoint and nothing is watched: b, w"));
        }
        let mut stops = Stops { addresses: points.breakpoints.clone(), ..Stops::default() };
        for bytes in &points.watches {
            match self.watches(*bytes) {
                Some(watches) => stops.watches.extend(watches),
                None => return Ok(Done::told(format!("{:#x} is not mapped here", bytes.address))),
            }
        }
        let mut landing = self.run_to_stop(&stops, back, go_on)?;
        if let (Reason::Watch(hit), false) = (landing.reason, back) {
            // A run rests after the store; it is shown as it is when one comes from behind, before it.
            self.timeline.seek(hit.at, &mut unsupervised())?;
            landing.position = hit.at;
        }
        Ok(self.told(landing))
    }

    /// Watches for stores to these bytes, by the page tables under the cursor or as they were known before.
    pub(super) fn watches(&mut self, bytes: Bytes) -> Option<Vec<Watch>> {
        let watch = |gpa, len| Watch { gpa, len, kind: WatchKind::Write };
        if bytes.physical {
            return Some(vec![watch(bytes.address, bytes.len)]);
        }
        let mut watches = Vec::new();
        let mut done = 0;
        while done < bytes.len {
            let linear = bytes.address.checked_add(done)?;
            let in_page = 0x1000 - (linear & 0xfff);
            let page = linear & !0xfff;
            let gpa = match self.timeline.translate(page) {
                Some(gpa) => {
                    if self.known.len() < MAX_KNOWN {
                        self.known.insert(page, gpa);
                    }
                    gpa
                }
                None => *self.known.get(&page)?,
            };
            let len = in_page.min(bytes.len - done);
            watches.push(watch(gpa | linear & 0xfff, len));
            done += len;
        }
        Some(watches)
    }

    /// Ticks with their virtual time, at some of the checkpoints and at the end.
    fn clock(&self) -> Vec<(u64, u64)> {
        let opened = self.timeline.opened();
        let every = opened.checkpoints().div_ceil(CLOCK_POINTS).max(1);
        let last = opened.checkpoints().saturating_sub(1);
        let chosen = (0..last).step_by(every).chain([last]);
        let points = chosen.filter_map(|index| {
            let tick = opened.checkpoint_position(index).tick;
            let sections = opened.recording().checkpoint(index).ok()?.sections;
            Some((tick, self.timeline.machine().ns_of_saved(&sections, tick).ok()?))
        });
        points.collect()
    }
}

/// Up to where a search goes.
pub(super) const fn until(back: bool) -> &'static str {
    if back { "back to the begin" } else { "up to the end" }
}

/// A supervisor that asks whoever looks on.
pub(super) fn supervise(go_on: GoOn<'_>) -> impl FnMut(Progress) -> bool + '_ {
    move |progress| go_on(progress)
}
