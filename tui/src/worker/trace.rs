//! Who wrote these bytes, and when a function was called.

use std::sync::Arc;

use recorder::Position;
use replayvm::symbols::Symbols;
use replayvm::timeline::{Collected, Extent, Hit, Reason, Stops, TimelineError, unsupervised};

use super::desk::{Desk, Done, GoOn, supervise};
use super::{Bytes, Found, Of, Results};

/// Hits of one search.
const MAX_HITS: usize = 2000;
/// Bytes of which the value is shown.
const SHOWN: u64 = 8;

impl Desk {
    /// Backward to the last write to these bytes.
    pub(super) fn last_write(&mut self, bytes: Bytes, go_on: GoOn<'_>) -> Result<Done, TimelineError> {
        let Some(watches) = self.watches(bytes) else {
            return Ok(Done::told(format!("{:#x} is not mapped here", bytes.address)));
        };
        let stops = Stops { watches, ..Stops::default() };
        let landing = self.run_to_stop(&stops, true, go_on)?;
        Ok(match landing.reason {
            Reason::Watch(_) => {
                Done::told(format!("the last write to {:#x} before is made by this step", bytes.address))
            }
            Reason::Begin => Done::told(format!("nobody has written {:#x} before", bytes.address)),
            _ => self.told(landing),
        })
    }

    /// All writes to these bytes.
    pub(super) fn writes(
        &mut self,
        bytes: Bytes,
        names: Option<&Arc<Symbols>>,
        go_on: GoOn<'_>,
    ) -> Result<Done, TimelineError> {
        let Some(watches) = self.watches(bytes) else {
            return Ok(Done::told(format!("{:#x} is not mapped here", bytes.address)));
        };
        let stops = Stops { watches, ..Stops::default() };
        let title = format!("writes to {} bytes at {:#x}", bytes.len, bytes.address);
        self.trace(title, &stops, go_on, |desk, reason| {
            let shown = match reason {
                Reason::Watch(hit) => (hit.gpa, hit.len.min(SHOWN)),
                _ => (0, 0),
            };
            let rip = desk.timeline.cpu().linear_rip();
            let instruction = desk.timeline.machine().disassemble_next();
            let old = desk.value(shown);
            desk.timeline.step_forward()?;
            let new = desk.value(shown);
            let same = if old == new { " unchanged" } else { "" };
            Ok(format!("{old} -> {new}{same}  {}  {instruction}", named(names, rip)))
        })
    }

    /// All calls of the function at this address: arrivals at its first instruction.
    pub(super) fn calls(
        &mut self,
        address: u64,
        names: Option<&Arc<Symbols>>,
        go_on: GoOn<'_>,
    ) -> Result<Done, TimelineError> {
        let stops = Stops { addresses: vec![address], ..Stops::default() };
        let title = format!("calls of {}", named(names, address));
        self.trace(title, &stops, go_on, |desk, _| {
            let cpu = desk.timeline.cpu();
            let size = (cpu.mode().bitness() / 8) as usize;
            let mut word = [0; 8];
            let there = word.get_mut(..size).map(|word| desk.timeline.read_linear(cpu.linear_rsp(), word));
            let caller = match there {
                Some(there) if there == size => named(names, u64::from_le_bytes(word)),
                _ => "?".to_owned(),
            };
            let [_, _, rdx, _, _, _, rsi, rdi, ..] = cpu.gpr;
            Ok(format!("from {caller}  rdi={rdi:#x} rsi={rsi:#x} rdx={rdx:#x}"))
        })
    }

    fn value(&self, (gpa, len): (u64, u64)) -> String {
        let mut word = [0; 8];
        let there = word.get_mut(..len as usize).map(|word| self.timeline.read_physical(gpa, word));
        match there {
            Some(there) if there as u64 == len => format!("{:#x}", u64::from_le_bytes(word)),
            _ => "?".to_owned(),
        }
    }

    /// Every hit of the whole recording, told by who stands there. The cursor comes back.
    fn trace(
        &mut self,
        title: String,
        stops: &Stops,
        go_on: GoOn<'_>,
        mut tell: impl FnMut(&mut Self, Reason) -> Result<String, TimelineError>,
    ) -> Result<Done, TimelineError> {
        let here = self.timeline.keep_here()?;
        // A step that begins at the end is none.
        let collected = self.timeline.collect(
            stops,
            self.timeline.begin(),
            Position::MAX,
            MAX_HITS,
            &mut supervise(go_on),
        );
        let Collected { hits, extent } = collected?;
        let mut results = Results { title, list: Vec::new(), of: Of::Moments, more: None };
        results.more = match extent {
            Extent::Whole => None,
            Extent::Full => Some(format!("the first {MAX_HITS}")),
            Extent::UpTo(at) => Some(format!("stopped: up to {at}")),
        };
        for Hit { position, reason } in hits {
            let at = match reason {
                Reason::Watch(hit) => hit.at,
                _ => position,
            };
            let landing = if self.timeline.position() <= at && !results.list.is_empty() {
                self.timeline.run_to(at, &mut supervise(go_on))?
            } else {
                self.timeline.seek(at, &mut supervise(go_on))?
            };
            if landing.reason == Reason::Interrupted {
                results.more = Some(format!("stopped: up to {at}"));
                break;
            }
            let text = tell(self, reason)?;
            results.list.push(Found { at: Some(at), address: None, text });
        }
        self.timeline.seek(here, &mut unsupervised())?;
        Ok(Done { results: Some(results), ..Done::default() })
    }
}

/// An address with its name.
fn named(names: Option<&Arc<Symbols>>, address: u64) -> String {
    match names.and_then(|names| names.place(address)) {
        Some(place) => format!("{}+{:#x}", place.name, place.offset),
        None => format!("{address:#x}"),
    }
}
