//! `replayvm replay`: the run again, everything checked.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use replayvm::session::{Diagnosis, ReplayError, ReplaySession, SessionError};
use replayvm::symbols;
use serde::Serialize;

use crate::args::Replay;
use crate::failure::{FINE, Failure};
use crate::output::{self, grouped};

/// What a replay has shown, as JSON.
#[derive(Debug, Serialize)]
struct Report {
    engine: String,
    position: String,
    digest: String,
    components: Vec<(String, String)>,
    instructions: u64,
    reason: Option<String>,
    checkpoints_checked: u64,
    exits_checked: u64,
    recovered: Option<String>,
    rip: String,
    place: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    engine_stats: Option<output::EngineCounts>,
    console: String,
}

/// `replayvm replay`
pub fn run(arguments: &Replay, stop: &Arc<AtomicBool>) -> Result<u8, Failure> {
    let mut session =
        ReplaySession::open_finding(&arguments.file, &arguments.engine, &arguments.disks.paths())?;
    let recovered = session.opened().recording().recovery().map(ToString::to_string);
    if let Some(recovered) = &recovered {
        eprintln!("replayvm: {}: {recovered}", arguments.file.display());
    }
    let last = session.opened().last_position();
    let goal = arguments.to.unwrap_or(last);
    if goal > last {
        return Err(Failure::beyond(goal, last).hint("no --to, for all of it"));
    }
    let engine = session.engine_name();
    let bar = output::progress(goal.tick, "{bar:40} {percent}% of {len} ticks, {eta} left");
    let result = session.run(arguments.to, stop, |at| bar.set_position(at.tick));
    bar.finish_and_clear();
    let report = match result {
        Ok(report) => report,
        Err(error @ ReplayError::Session(SessionError::Diverged(_))) => {
            let failure = Failure::from(error);
            failure.print();
            println!("looking for the first step at which engine {engine} and the software CPU part ...");
            let until = session.position_after_divergence();
            match session.diagnose(until, stop)? {
                Diagnosis::Parts(difference) => println!("they part {difference}"),
                Diagnosis::Agree { from, to } => println!(
                    "they agree from {from} to {to}: the recording was made by a machine that behaves otherwise (another \
                     version of this command?), or the file is damaged"
                ),
            }
            return Ok(failure.status);
        }
        Err(error) => return Err(error.into()),
    };
    // To look for symbols takes a while: only for whoever asks, or stops somewhere to look around.
    let rip = session.machine().cpu.state.linear_rip();
    let place = if arguments.symbols.is_some() || arguments.to.is_some() {
        let symbols = symbols::of_machine(session.opened(), session.machine(), arguments.symbols.as_deref())?;
        symbols.and_then(|symbols| symbols.place(rip)).map(|place| place.to_string())
    } else {
        None
    };
    let counts = arguments.engine_stats.then(|| output::EngineCounts::new(engine, &session.statistics()));
    if arguments.json {
        output::json(&Report {
            engine: engine.to_owned(),
            position: report.position.to_string(),
            digest: report.digest.to_string(),
            components: report
                .components
                .iter()
                .map(|(name, digest)| (name.clone(), digest.to_string()))
                .collect(),
            instructions: report.instructions,
            reason: report.reason.as_ref().map(ToString::to_string),
            checkpoints_checked: report.checkpoints,
            exits_checked: report.exits,
            recovered,
            rip: format!("{rip:#x}"),
            place,
            engine_stats: counts,
            console: output::console(&report.console),
        })?;
        return Ok(FINE);
    }
    if arguments.console {
        print!("{}", output::console(&report.console));
    }
    println!(
        "replayed {} instructions on engine {engine}: {} exits and {} checkpoints as recorded",
        grouped(report.instructions),
        grouped(report.exits),
        grouped(report.checkpoints)
    );
    if let Some(reason) = &report.reason {
        println!("the run ended by itself: {reason}");
    }
    if let Some(place) = place {
        println!("at {rip:#x} {place}");
    }
    if let Some(counts) = counts {
        counts.print();
    }
    println!("end {} digest {}", report.position, report.digest);
    Ok(FINE)
}
