//! The single steps beside the cursor, which nobody knows without walking them.

use std::collections::VecDeque;

use recorder::{ExitKind, Position};
use replayvm::timeline::{Progress, Reason, Timeline, TimelineError, unsupervised};

/// Ticks before the cursor from which on steps are walked, again and again doubled until there are enough.
const FIRST_TICKS: u64 = 8;
/// Steps that are walked at the most.
const MAX_STEPS: usize = 1 << 15;

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepColumn {
    /// Where it begins.
    pub at: Position,
    /// The exit that it makes; the first one, if there are several.
    pub exit: Option<ExitKind>,
}

/// The steps beside the cursor: `count` before it and as many from there on; none if `go_on` says no. The cursor comes back.
pub(super) fn around(
    timeline: &mut Timeline,
    count: u16,
    go_on: &mut dyn FnMut(Progress) -> bool,
) -> Result<Vec<StepColumn>, TimelineError> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let count = usize::from(count);
    let here = timeline.keep_here()?;
    let mut ticks = FIRST_TICKS;
    let mut places = VecDeque::new();
    loop {
        let start = Position::new(here.tick.saturating_sub(ticks), 0).max(timeline.begin());
        places.clear();
        if timeline.seek(start, &mut |progress| go_on(progress))?.reason == Reason::Interrupted {
            break;
        }
        let mut before = 0;
        let mut walked = 0;
        loop {
            let at = timeline.position();
            places.push_back(at);
            if at < here {
                before += 1;
                if before > count {
                    places.pop_front();
                    before -= 1;
                }
            } else if places.len() - before > count {
                break;
            }
            walked += 1;
            if walked > MAX_STEPS || timeline.step_forward()?.reason == Reason::End {
                break;
            }
        }
        if before >= count || start <= timeline.begin() || walked > MAX_STEPS {
            break;
        }
        ticks *= 4;
    }
    timeline.seek(here, &mut unsupervised())?;
    let first = places.front().copied().unwrap_or(here);
    let last = places.back().copied().unwrap_or(here);
    let recording = timeline.opened().recording();
    let mut exits =
        recording.exits_from(first).map_while(Result::ok).take_while(|(at, _)| *at <= last).peekable();
    let steps = places.into_iter().map(|at| {
        let mut exit = None;
        while let Some((_, found)) = exits.next_if(|(place, _)| *place <= at) {
            exit = exit.or(Some(found.kind()));
        }
        StepColumn { at, exit }
    });
    Ok(steps.collect())
}
