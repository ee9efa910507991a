//! Running one guest on every engine, and holding the runs against each other.

use recorder::{Digest, Position};
use replayvm::engine::{
    self, Breakpoints, Engine, EngineError, KvmEngine, NativeStatistics, Statistics, SteppingStatistics, Stop,
};
use replayvm::machine::Machine;

/// Engines that the suite runs on; the first is the reference.
const ENGINES: &[&str] = &["plain", "soft", "kvm", "step", "lockstep"];

/// Engines, separated by blanks, that this host must have: without one of them a test fails.
const REQUIRED: &str = "REPLAYVM_REQUIRED_ENGINES";

/// The engine of that name for a machine, or `None` after saying that it is skipped and why.
pub fn if_available(name: &str, machine: &Machine) -> Option<Box<dyn Engine>> {
    match engine::by_name(name, machine) {
        Ok(engine) => Some(engine),
        Err(EngineError::Unavailable { engine, why }) => {
            let required = std::env::var(REQUIRED).unwrap_or_default();
            assert!(!required.split_whitespace().any(|required| required == name), "no engine {name}: {why}");
            eprintln!("SKIPPED on engine `{engine}`: {why}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Runs a body on every engine that this host has.
pub fn on_every_engine(mut body: impl FnMut(&str)) {
    let machine = super::guest::real(|_| {});
    for &name in ENGINES {
        if if_available(name, &machine).is_some() {
            body(name);
        }
    }
}

/// The engine of that name for a machine. `kvm` runs natively whatever it can, whether that pays or not.
pub fn engine(name: &str, machine: &Machine) -> Box<dyn Engine> {
    let engine = match name {
        "kvm" => KvmEngine::eager(machine).map(|engine| Box::new(engine) as Box<dyn Engine>),
        _ => engine::by_name(name, machine),
    };
    engine.unwrap_or_else(|error| panic!("{error}"))
}

/// Who has executed what on an engine that steps.
pub fn stepping(engine: &dyn Engine) -> SteppingStatistics {
    match engine.statistics() {
        Statistics::Stepping(statistics) => statistics,
        other => panic!("{} does not step: {other}", engine.name()),
    }
}

/// Who has executed what on engine `kvm`.
pub fn native(statistics: &Statistics) -> NativeStatistics {
    match statistics {
        Statistics::Native(statistics) => *statistics,
        other => panic!("that is not engine `kvm`: {other}"),
    }
}

/// Gives the machine what is due at its tick, as a session without inputs does. `false` if nothing will ever wake it.
pub fn arrive(machine: &mut Machine, idle: bool) -> bool {
    let tick = machine.position().tick;
    let platform = &mut machine.platform;
    if idle && !platform.devices.interrupt_pending() {
        let now = platform.clock.ns_at(tick);
        match platform.devices.next_deadline() {
            Some((_, ns)) => platform.clock.skip(ns.saturating_sub(now)),
            None if machine.cpu.state.halted => return false,
            None => {}
        }
    }
    let platform = &mut machine.platform;
    let now = platform.clock.ns_at(tick);
    for source in platform.devices.timers_due_undecided(now).collect::<Vec<_>>() {
        platform.devices.delay_timer(source, 0);
    }
    platform.devices.advance(now);
    platform.devices_changed(tick);
    true
}

/// Runs to the next stop that is not the session's business.
pub fn run(
    engine: &mut dyn Engine,
    machine: &mut Machine,
    until: Position,
    breakpoints: &[u64],
) -> Result<Stop, EngineError> {
    let breakpoints = Breakpoints::new(breakpoints.to_vec());
    loop {
        let stop = engine.run(machine, until, &breakpoints)?;
        if !matches!(stop, Stop::Due | Stop::Idle) {
            return Ok(stop);
        }
        if !arrive(machine, stop == Stop::Idle) {
            return Ok(Stop::Idle);
        }
        if machine.position() >= until {
            return Ok(Stop::Reached);
        }
    }
}

/// The digest of every component.
pub fn digests(machine: &Machine) -> Vec<(String, Digest)> {
    Machine::digests(&machine.save(), machine.platform.ram.digest_from_scratch())
}

/// A state on the way.
#[derive(Debug, PartialEq)]
pub struct Waypoint {
    pub position: Position,
    pub instructions: u64,
    pub gpr: [u64; 16],
    pub rip: u64,
    pub rflags: u64,
    pub digests: Vec<(String, Digest)>,
}

/// Runs to the end of the guest, stopping at every so many ticks.
pub fn trace(name: &str, mut machine: Machine, every: u64, most: usize) -> (Vec<Waypoint>, Stop, Statistics) {
    let mut engine = engine(name, &machine);
    let mut waypoints = Vec::new();
    loop {
        let next = Position::new(machine.position().tick + every, 0);
        let stop = run(&mut *engine, &mut machine, next, &[])
            .unwrap_or_else(|error| panic!("engine {name}: {error}"));
        let state = &machine.cpu.state;
        waypoints.push(Waypoint {
            position: machine.position(),
            instructions: machine.instructions(),
            gpr: state.gpr,
            rip: state.rip,
            rflags: state.rflags,
            digests: digests(&machine),
        });
        if stop != Stop::Reached || waypoints.len() >= most {
            return (waypoints, stop, engine.statistics());
        }
    }
}

/// Every engine comes through the same states as the reference, tick by tick, and to the same end.
pub fn same_everywhere(guest: impl Fn() -> Machine, end: Stop) {
    let (expected, stop, _) = trace("plain", guest(), 1, 5000);
    assert_eq!(stop, end, "{:x?}", expected.last());
    on_every_engine(|name| {
        if name == "kvm" {
            return same_natively(&guest, &expected, end);
        }
        let (got, stop, statistics) = trace(name, guest(), 1, 5000);
        for (expected, got) in expected.iter().zip(&got) {
            assert_eq!(got, expected, "engine {name}");
        }
        assert_eq!((got.len(), stop), (expected.len(), end), "engine {name}");
        eprintln!("{name}: {} waypoints; {statistics}", got.len());
        if let Statistics::Stepping(statistics) = statistics {
            assert!(statistics.by_kvm > 0);
        }
    });
}

/// Native execution stops in between at the ticks that it is told to, and goes through no state that the reference does not know.
fn same_natively(guest: &impl Fn() -> Machine, expected: &[Waypoint], end: Stop) {
    for every in [2, 3, 7, 50, 1_000_000] {
        let (got, stop, statistics) = trace("kvm", guest(), every, 5000);
        for got in &got {
            let there = expected.iter().find(|expected| expected.position == got.position);
            assert_eq!(Some(got), there, "engine kvm, every {every} ticks");
        }
        assert_eq!(stop, end);
        assert_eq!(got.last(), expected.last());
        eprintln!("kvm, every {every} ticks: {} waypoints; {statistics}", got.len());
    }
}
