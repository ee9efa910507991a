//! Steps back that go over interrupts instead of into the ends of their handlers.
//!
//! gdb walks source lines back in single steps, and those have no range as forward ones have (`vCont;r`) by which
//! [`crate::resume`] would know that a line is meant and not an instruction. When such a step leads into a handler, gdb looks
//! for the call that led there. There is none, and it goes on to the begin of the recording. So gdb's commands say
//! beforehand what the steps that follow are for: see `commands.gdb`.

use recorder::ExitKind;
use replayvm::machine::ExitFilter;
use replayvm::timeline::{Landing, Progress, Reason, Stops, TimelineError};

use crate::resume::Place;
use crate::target::ReplayTarget;

/// All that an IRET returns from.
fn deliveries() -> ExitFilter {
    [ExitKind::Interrupt, ExitKind::Nmi, ExitKind::Exception, ExitKind::SoftwareInterrupt]
        .into_iter()
        .fold(ExitFilter::NONE, ExitFilter::with)
}

impl ReplayTarget<'_> {
    /// One step backward. Where it would undo the return from an interrupt, back to where the program was interrupted, unless
    /// a stop of gdb's comes first.
    pub(crate) fn step_back_over(&mut self, stops: &Stops) -> Result<Landing, TimelineError> {
        let link = self.link.clone();
        let mut supervisor = |_: Progress| !link.is_interrupted();
        let program = Place::of(self.timeline);
        let stepped = self.timeline.step_backward_watching(stops, &mut supervisor)?;
        if stepped.reason != Reason::Reached || !self.is_at_return() {
            return Ok(stepped);
        }
        let seen = Stops { exits: deliveries(), ..stops.clone() };
        loop {
            let landing = self.timeline.run_backward(&seen, &mut supervisor)?;
            match landing.reason {
                Reason::Exit(..) if program.follows(Place::of(self.timeline)) => {
                    return Ok(Landing { reason: Reason::Reached, ..landing });
                }
                Reason::Exit(..) => {}
                // Nothing was interrupted: the return leads to where nobody had come from, as into a new process.
                Reason::Begin => {
                    let landing = self.timeline.seek(stepped.position, &mut supervisor)?;
                    let reason = match landing.reason {
                        Reason::Interrupted => Reason::Interrupted,
                        _ => Reason::Reached,
                    };
                    return Ok(Landing { reason, ..landing });
                }
                _ => return Ok(landing),
            }
        }
    }

    /// The next instruction is one that ends a handler.
    fn is_at_return(&self) -> bool {
        self.timeline.machine().disassemble_next().starts_with("iret")
    }
}
