//! Running one guest on every engine, and holding the runs against each other.

use recorder::{Digest, Position};
use replayvm::engine::{self, Breakpoints, Engine, EngineError, Stop};
use replayvm::machine::Machine;

/// Engines that the suite runs on; the first is the reference.
const ENGINES: &[&str] = &["plain", "soft", "step", "lockstep"];

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

/// The engine of that name for a machine.
pub fn engine(name: &str, machine: &Machine) -> Box<dyn Engine> {
    engine::by_name(name, machine).unwrap_or_else(|error| panic!("{error}"))
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

/// Runs to the end of the guest, stopping at every tick.
pub fn trace(name: &str, mut machine: Machine, most: usize) -> (Vec<Waypoint>, Stop, engine::Statistics) {
    let mut engine = engine(name, &machine);
    let mut waypoints = Vec::new();
    loop {
        let next = Position::new(machine.position().tick + 1, 0);
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
    let (expected, stop, _) = trace("plain", guest(), 5000);
    assert_eq!(stop, end, "{:x?}", expected.last());
    on_every_engine(|name| {
        let (got, stop, statistics) = trace(name, guest(), 5000);
        for (expected, got) in expected.iter().zip(&got) {
            assert_eq!(got, expected, "engine {name}");
        }
        assert_eq!((got.len(), stop), (expected.len(), end), "engine {name}");
        eprintln!("{name}: {} waypoints; {statistics}", got.len());
        if !["plain", "soft"].contains(&name) {
            assert!(statistics.by_kvm > 0);
        }
    });
}
