//! Single-stepping, tried in each mode of the CPU: it counts as there when three instructions have been stepped in a scratch
//! machine and left what they should.

use std::sync::OnceLock;
use std::time::Instant;

use recorder::Position;
use replayvm_cpu::{Attributes, Cpu, CpuState, Segment, SegmentName, cr0, cr4, efer};

use crate::engine::hypervisor::{Features, Unusable};
use crate::engine::step::{Stepper, Word};
use crate::engine::{Breakpoints, Stop};
use crate::machine::{GuestRam, Machine, Platform, RamError};

/// Single-stepping in one mode of the CPU, tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SteppingFacts {
    /// The mode, in words.
    pub mode: &'static str,
    /// Who executes there: the processor, or KVM's instruction emulator.
    pub by: &'static str,
    /// Nanoseconds a step, or what went wrong.
    pub ns_per_step: Result<u64, String>,
}

/// Tries and times every mode.
pub(super) fn stepping_facts(features: Features) -> Vec<SteppingFacts> {
    SCRATCH_MODES
        .iter()
        .map(|&mode| SteppingFacts {
            mode: mode.words(),
            by: match (features.pvm, mode) {
                (false, _) | (true, ScratchMode::User64) => "the processor",
                (true, _) => "KVM's emulator",
            },
            ns_per_step: try_stepping(mode, TIMED_STEPS).map_err(|Unusable(why)| why),
        })
        .collect()
}

/// Whether this host steps: every mode is tried, until it has once worked in all.
pub(in crate::engine) fn check_stepping() -> Result<(), Unusable> {
    static WORKS: OnceLock<()> = OnceLock::new();
    if WORKS.get().is_none() {
        for mode in SCRATCH_MODES {
            try_stepping(mode, 1)?;
        }
        WORKS.get_or_init(|| ());
    }
    Ok(())
}

/// Modes that are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScratchMode {
    Kernel64,
    User64,
    Kernel32,
    Real,
}

const SCRATCH_MODES: [ScratchMode; 4] =
    [ScratchMode::Kernel64, ScratchMode::User64, ScratchMode::Kernel32, ScratchMode::Real];

impl ScratchMode {
    fn words(self) -> &'static str {
        match self {
            Self::Kernel64 => "64-bit kernel mode",
            Self::User64 => "64-bit user mode",
            Self::Kernel32 => "32-bit protected mode",
            Self::Real => "real mode",
        }
    }
}

/// Where a scratch machine's code is.
pub(super) const CODE: u64 = 0x1000;
const DATA: u64 = 0x4000;
const TABLES: u64 = 0x10000;

/// Steps that are timed.
const TIMED_STEPS: u32 = 300;

/// Steps three instructions in a scratch machine (a store, an addition, a jump back), looks at what they left, and times a
/// few more. Returns nanoseconds a step.
fn try_stepping(mode: ScratchMode, timed: u32) -> Result<u64, Unusable> {
    let failed = |what: String| {
        Unusable(format!("single-stepping {} does not work on this host: {what}", mode.words()))
    };
    let mut machine = scratch(mode).map_err(|error| failed(error.to_string()))?;
    let mut stepper = Stepper::unchecked(&machine, Word::Kvm)?;
    let mut run = |machine: &mut Machine, steps: u32| {
        let now = machine.position();
        let until = Position { offset: now.offset + steps, ..now };
        match stepper.run(machine, until, &Breakpoints::default()) {
            Ok(Stop::Reached) => Ok(stepper.statistics),
            Ok(stop) => Err(failed(format!("it stopped with {stop:?}"))),
            Err(error) => Err(failed(error.to_string())),
        }
    };
    let statistics = run(&mut machine, 3)?;
    if statistics.by_kvm != 3 {
        return Err(failed(format!("of 3 instructions KVM executed {} ({statistics})", statistics.by_kvm)));
    }
    let state = &machine.cpu.state;
    let stored = machine.platform.ram.load::<2>(DATA);
    if state.rip != CODE || state.gpr[0] & 0xffff != 0x2468 || stored != Some([0x34, 0x12]) {
        return Err(failed(format!(
            "RIP {:#x}, AX {:#x}, memory {stored:?} afterwards",
            state.rip, state.gpr[0]
        )));
    }
    #[allow(clippy::disallowed_methods, reason = "how fast this host is, for a person to read")]
    let began = Instant::now();
    run(&mut machine, timed)?;
    #[allow(clippy::disallowed_methods, reason = "how fast this host is, for a person to read")]
    Ok(began.elapsed().as_nanos() as u64 / u64::from(timed.max(1)))
}

/// A machine of one megabyte in the mode given.
pub(super) fn scratch(mode: ScratchMode) -> Result<Machine, RamError> {
    let mut ram = GuestRam::new(1 << 20)?;
    // MOV [RDI], AX (in real mode [BX]); ADD AX, AX; JMP back.
    let code: &[u8] = match mode {
        ScratchMode::Real => &[0x89, 0x07, 0x01, 0xc0, 0xeb, 0xfa],
        _ => &[0x66, 0x89, 0x07, 0x66, 0x01, 0xc0, 0xeb, 0xf8],
    };
    ram.write_slice(CODE, code)?;
    for (slot, entry) in [(0, TABLES + 0x1067), (0x1000, TABLES + 0x2067), (0x2000, 0xe7)] {
        ram.write_slice(TABLES + slot, &u64::to_le_bytes(entry))?;
    }
    let mut state = CpuState::power_on();
    state.rip = CODE;
    state.gpr[0] = 0x1234;
    state.gpr[3] = DATA;
    state.gpr[7] = DATA;
    state.gpr[4] = 0x8000;
    let ring = if mode == ScratchMode::User64 { 3 } else { 0 };
    let (code, data, limit) = match mode {
        ScratchMode::Real => (0x9b, 0x93, 0xffff),
        ScratchMode::Kernel32 => (0xc09b, 0xc093, u32::MAX),
        ScratchMode::Kernel64 | ScratchMode::User64 => (0xa09b | ring << 5, 0xc093 | ring << 5, u32::MAX),
    };
    for segment in &mut state.segments {
        *segment = Segment { selector: 0x10 | ring, base: 0, limit, attributes: Attributes(data) };
    }
    *state.segment_mut(SegmentName::Cs) =
        Segment { selector: 8 | ring, base: 0, limit, attributes: Attributes(code) };
    match mode {
        ScratchMode::Real => {}
        ScratchMode::Kernel32 => state.cr0 |= cr0::PE,
        ScratchMode::Kernel64 | ScratchMode::User64 => {
            state.cr0 = cr0::PE | cr0::PG | cr0::WP | cr0::ET | cr0::NE;
            state.cr3 = TABLES;
            state.cr4 = cr4::PAE;
            state.efer = efer::LME | efer::LMA;
        }
    }
    let mut platform = Platform::new(ram, 10);
    platform.due_tick = u64::MAX;
    Ok(Machine { cpu: Cpu::new(state), platform })
}
