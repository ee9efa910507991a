//! `replayvm run`: a snapshot goes on live.

use replayvm::session::{Perturbation, RecordSession, Settings};
use replayvm::snapshot::OpenSnapshot;

use crate::args::Run;
use crate::failure::Failure;
use crate::guest;
use crate::live::{self, Seat};

/// `replayvm run`
pub fn run(arguments: &Run) -> Result<u8, Failure> {
    let mut snapshot = OpenSnapshot::open(&arguments.file)?;
    snapshot.look_for_disks_in(&arguments.disks.paths());
    let description = snapshot.description();
    let (guest, boot) = (description.guest_name.clone(), description.boot);
    let seed = arguments.seed.unwrap_or(description.seed);
    let mut seat = Seat::new(&arguments.live, Some(boot))?;
    let most = match arguments.limit {
        Some(ticks) => ticks,
        // A person ends it.
        None if seat.is_interactive() || guest::is_system(boot) => u64::MAX,
        None => guest::LIMIT,
    };
    let settings = Settings {
        seed,
        perturbation: Perturbation {
            timer_delay_ns: arguments.timer_delay,
            hold_ticks: arguments.interrupt_hold,
        },
        checkpoint_ticks: arguments.checkpoint_every,
        limit_ticks: snapshot.snapshot().manifest().position.tick.saturating_add(most),
        engine: arguments.engine.clone(),
        realtime: arguments.live.realtime,
        ..Settings::default()
    };
    let (recording, host, stop) = (arguments.record.as_deref(), seat.host.take(), seat.stop.clone());
    let session = RecordSession::resume(&snapshot, recording, &settings, host, stop)?;
    let what = match recording {
        Some(path) => format!("{guest} into {}", path.display()),
        None => guest.clone(),
    };
    let outcome = seat.run(session, &what)?;
    live::report((&guest, seed), &outcome, recording, arguments.live.json)
}
