//! Direct execution, tried: it counts as there when a loop in user mode has come to the state that the software CPU comes to, most of it
//! natively.

use std::sync::OnceLock;
use std::time::Instant;

use recorder::Position;
use replayvm_cpu::cr4;

use super::stepping::{CODE, ScratchMode, scratch};
use crate::engine::hypervisor::Unusable;
use crate::engine::kvm::KvmEngine;
use crate::engine::{Breakpoints, Engine, SoftEngine, Statistics, Stop};
use crate::machine::Machine;

/// Direct execution, tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectFacts {
    /// Native instructions a second, in a loop that stores, branches, and rotates.
    pub instructions_per_second: u64,
    /// Nanoseconds for a way into user code and back.
    pub ns_per_stretch: u64,
}

/// Ticks of the loop that are compared, and of the one that is timed.
const COMPARED_TICKS: u64 = 1_000;
const TIMED_TICKS: u64 = 2_000_000;
/// Stretches that are timed.
const STRETCHES: u64 = 100;

/// Whether user code runs natively on this host, and right: tried until it has once worked.
pub(in crate::engine) fn check_direct() -> Result<(), Unusable> {
    static WORKS: OnceLock<()> = OnceLock::new();
    if WORKS.get().is_none() {
        compare()?;
        WORKS.get_or_init(|| ());
    }
    Ok(())
}

/// Tries and times it.
pub(super) fn direct_facts() -> Result<DirectFacts, Unusable> {
    let (mut machine, mut engine) = compare()?;
    let mut timed = |ticks: u64| {
        #[allow(clippy::disallowed_methods, reason = "how fast this host is, for a person to read")]
        let began = Instant::now();
        let instructions = machine.instructions();
        run(&mut engine, &mut machine, ticks)?;
        #[allow(clippy::disallowed_methods, reason = "how fast this host is, for a person to read")]
        Ok((machine.instructions() - instructions, began.elapsed().as_nanos().max(1) as u64))
    };
    let (instructions, ns) = timed(TIMED_TICKS)?;
    let mut stretches = 0;
    for _ in 0..STRETCHES {
        stretches += timed(4)?.1;
    }
    Ok(DirectFacts {
        instructions_per_second: (u128::from(instructions) * 1_000_000_000 / u128::from(ns)) as u64,
        ns_per_stretch: stretches / STRETCHES,
    })
}

fn failed(what: impl std::fmt::Display) -> Unusable {
    Unusable(format!("direct execution does not work on this host: {what}"))
}

/// Runs the loop on both, stopping in between. The machine and its engine, if they agree.
fn compare() -> Result<(Machine, KvmEngine), Unusable> {
    let mut expected = looping()?;
    let mut machine = looping()?;
    let mut engine = KvmEngine::unchecked(&machine).map_err(failed)?;
    let mut soft = SoftEngine::new();
    for ticks in [COMPARED_TICKS / 3, COMPARED_TICKS] {
        run(&mut engine, &mut machine, ticks)?;
        run(&mut soft, &mut expected, ticks)?;
        let (got, expected) = (&machine.cpu.state, &expected.cpu.state);
        if got != expected {
            return Err(failed(format!(
                "RIP {:#x}, registers {:x?}, flags {:#x} where the software CPU has RIP {:#x}, registers {:x?}, flags {:#x}",
                got.rip, got.gpr, got.rflags, expected.rip, expected.gpr, expected.rflags
            )));
        }
    }
    let digest = |machine: &Machine| machine.platform.ram.digest_from_scratch();
    if digest(&machine) != digest(&expected) {
        return Err(failed("memory is another than the software CPU's"));
    }
    match engine.statistics() {
        Statistics::Native(statistics) if statistics.native > statistics.soft => Ok((machine, engine)),
        statistics => Err(failed(format!("too little runs natively: {statistics}"))),
    }
}

fn run(engine: &mut dyn Engine, machine: &mut Machine, ticks: u64) -> Result<(), Unusable> {
    let until = Position::new(machine.position().tick + ticks, 0);
    match engine.run(machine, until, &Breakpoints::default()) {
        Ok(Stop::Reached) => Ok(()),
        Ok(stop) => Err(failed(format!("it stopped with {stop:?}"))),
        Err(error) => Err(failed(error)),
    }
}

/// A machine in a loop of user mode: MOV [RDI], RAX; ROR RAX, 7; ADD RAX, RCX; DEC RCX; JNZ back; JMP back.
fn looping() -> Result<Machine, Unusable> {
    let code = [
        0x48, 0x89, 0x07, 0x48, 0xc1, 0xc8, 0x07, 0x48, 0x01, 0xc8, 0x48, 0xff, 0xc9, 0x75, 0xf1, 0xeb, 0xef,
    ];
    let mut machine = scratch(ScratchMode::User64).map_err(failed)?;
    machine.platform.ram.write_slice(CODE, &code).map_err(failed)?;
    let state = &mut machine.cpu.state;
    state.gpr[1] = u64::MAX;
    state.cr4 |= cr4::OSFXSR | cr4::OSXMMEXCPT;
    machine.cpu.state_changed();
    Ok(machine)
}
