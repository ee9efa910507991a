//! The x87 where the host cannot be asked: control registers that forbid it, exceptions on their way to delivery, images
//! whose pointers are ours, and functions that are approximations.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "../common/mod.rs"]
mod common;

/// When instructions may run, and when #MF comes.
mod exceptions;
/// What FSTENV and FSAVE write.
mod images;
/// Transcendental functions against high precision.
mod reference;

use replayvm_cpu::{Cpu, CpuState, Observation};

use common::{CODE, FlatBus, user_state};

/// The x87 and memory after some instructions.
struct After {
    state: CpuState,
    bus: FlatBus,
    /// The vector of the exception that stopped it.
    vector: Option<u8>,
}

/// Runs instructions, given as bytes, until the first exception.
fn run(instructions: &[&[u8]], prepare: impl FnOnce(&mut CpuState, &mut FlatBus)) -> After {
    let mut bus = FlatBus::new();
    let mut at = FlatBus::index(CODE);
    for bytes in instructions {
        bus.memory[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    }
    let mut state = user_state();
    prepare(&mut state, &mut bus);
    let mut cpu = Cpu::new(state);
    for _ in instructions {
        cpu.step(&mut bus);
        if let Some(Observation::Exception { vector, .. }) = bus.exception {
            return After { state: cpu.state, bus, vector: Some(vector) };
        }
    }
    After { state: cpu.state, bus, vector: None }
}

/// Fills the stack from ST(0) on.
fn load(state: &mut CpuState, images: &[u128]) {
    state.fsw = 0;
    state.ftw = 0;
    for (i, &image) in images.iter().enumerate() {
        state.st[i] = image;
        state.ftw |= 1 << i;
    }
}
