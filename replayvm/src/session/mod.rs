//! Sessions: a machine, what executes it, and where its inputs come from.
//!
//! [`Inputs`](crate::session::Inputs) is the one seam between record and replay: live inputs become events, events become inputs. The machine and
//! its devices cannot tell the two apart.

/// Inputs of a machine that has left its recording.
mod branch;
/// The first step at which two engines differ.
mod diagnose;
/// Where a replayed run differs from its recording.
mod divergence;
/// Running a machine between ticks and giving it its inputs at them.
mod drive;
/// Many runs that begin with the same start.
mod fork;
/// The host's side of a recording: bytes, time, and somebody who wants to stop.
mod host;
/// Inputs from the host and from a seed.
mod live;
/// How far to run between two looks at whoever may want to stop.
mod pace;
/// Recording a run.
mod record;
/// Replaying a recording, forward only, checking everything.
mod replay;
/// Inputs from a recording.
mod replayed;
/// What a session is asked to do.
mod settings;

pub use branch::Branched;
pub use diagnose::Diagnosis;
pub use divergence::{Divergence, Expectation};
pub use drive::{Driver, Ended, Halt};
pub use fork::{Fork, ForkRunner, ForkedRun, Start};
pub use live::{ConsoleSink, Live, Perturbation};
pub(crate) use pace::Pace;
pub use record::{RecordError, RecordOutcome, RecordSession};
pub use replay::{ReplayError, ReplayReport, ReplaySession};
pub use replayed::{Replayed, ReplayedEntropy};
pub use settings::Settings;

use recorder::Position;

use crate::devices::TimerSource;
use crate::engine::EngineError;

/// Console output kept of a run, from its end.
const CONSOLE_BYTES: usize = 1 << 20;

/// Moves output to the end of what is kept.
fn keep_console(kept: &mut Vec<u8>, output: &mut Vec<u8>) {
    kept.append(output);
    let surplus = kept.len().saturating_sub(CONSOLE_BYTES);
    kept.drain(..surplus);
}

/// Where a machine's inputs come from. Asked only at ticks (offset 0), always in the same order.
pub trait Inputs: Send {
    /// How far virtual time jumps while the CPU is idle; `deadline_ns` is how far away the next device deadline is, if
    /// there is one, and `room` how many bytes the serial port takes now. `None`: nothing will ever wake this CPU.
    ///
    /// Without a deadline only input can: whoever then answers has bytes for [`Inputs::serial`] at the same position.
    fn idle(&mut self, at: Position, deadline_ns: Option<u64>, room: usize) -> Option<u64>;

    /// How much later than its deadline a timer fires, in nanoseconds.
    fn timer_delay(&mut self, at: Position, source: TimerSource) -> u64;

    /// For how many ticks the CPU takes no interrupt; asked when a timer has fired and an interrupt is pending.
    fn interrupt_hold(&mut self, at: Position) -> u32;

    /// Bytes that arrive at the serial port now, at most `room`.
    fn serial(&mut self, at: Position, room: usize) -> Vec<u8>;

    /// The next tick after this one at which the machine must come for its inputs, deadlines aside.
    fn next_tick(&mut self, after: u64) -> u64;

    /// What the guest has said and nobody has taken yet, before an idle CPU may wait for the host: a person must see the
    /// question before they answer. Called again with the same bytes and more until they are taken.
    fn said(&mut self, console: &[u8]);

    /// Whether the run must come to rest at this tick, because somebody wants to stop.
    fn wants_rest(&self) -> bool;

    /// All inputs of this tick have been asked for.
    ///
    /// # Errors
    /// The recording has an input here that nothing asked for, or has lacked one.
    fn settled(&mut self, at: Position) -> Result<(), Divergence>;

    /// Asked whenever the engine comes to rest.
    ///
    /// # Errors
    /// An instruction has asked for something that the recording does not have.
    fn check(&self) -> Result<(), Divergence>;
}

/// Inputs of a run over which somebody goes back and forth.
pub trait Rewindable: Inputs {
    /// The machine stands at `at`, its inputs there applied: the next input is a later one.
    fn stand_at(&mut self, at: Position);

    /// Whether the run comes to rest wherever the machine has been given its inputs: an idle CPU may have jumped ahead in
    /// virtual time there.
    fn rest_at_inputs(&mut self, rests: bool);
}

/// Why a session could not go on.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The run differs from its recording.
    #[error("{0}")]
    Diverged(#[from] Divergence),
}
