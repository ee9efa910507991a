//! Nothing that a guest or a restored state holds makes the CPU panic.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use replayvm_cpu::{CpuState, SegmentName};

use crate::machine::*;

#[test]
fn random_bytes_in_random_states_never_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for round in 0..3000_u32 {
        let mut machine = match round % 4 {
            0 => Machine::long(),
            1 => Machine::protected(),
            2 => Machine::real(),
            _ => Machine::long().user(),
        };
        let mut noise = [0; 0x400];
        rng.fill_bytes(&mut noise);
        machine.bus.put(machine.cpu.state.rip, &noise);
        rng.fill_bytes(&mut noise);
        machine.bus.put(GDT + 0x50, &noise[..0x80]);
        for value in &mut machine.cpu.state.gpr {
            let shift = rng.next_u32() % 64;
            *value = rng.next_u64() >> shift;
        }
        if round % 3 == 0 {
            let state: &mut CpuState = &mut machine.cpu.state;
            state.rflags = rng.next_u64() & 0x3f_7fd5 | 2;
            state.cr4 = rng.next_u64() & 0xffff_ffff;
            state.dr7 = rng.next_u64();
            let name = [SegmentName::Ss, SegmentName::Ds, SegmentName::Fs][round as usize % 3];
            state.segment_mut(name).base = rng.next_u64();
            state.segment_mut(name).attributes.0 = rng.next_u32() as u16;
            state.tr.base = rng.next_u64();
            state.gdtr.base = rng.next_u64() >> (rng.next_u32() % 64);
        }
        if round % 7 == 0 {
            machine.cpu.state.rip = rng.next_u64();
            machine.cpu.state.cr3 = rng.next_u64();
            machine.cpu.state.efer = rng.next_u64() & 0xd01;
            machine.cpu.state.cr0 = rng.next_u64();
        }
        machine.steps(200);
    }
}

#[test]
fn states_that_a_cpu_can_be_in_are_valid_and_others_are_named() {
    assert_eq!(CpuState::power_on().validate(), Ok(()));
    for machine in [Machine::long(), Machine::protected(), Machine::real(), Machine::long().user()] {
        assert_eq!(machine.cpu.state.validate(), Ok(()));
    }
    let broken: [fn(&mut CpuState); 6] = [
        |state| state.rflags = 0,
        |state| state.cr0 &= !1,
        |state| state.cr4 |= 1 << 12,
        |state| state.lstar = 1 << 47,
        |state| state.rip = 1 << 63,
        |state| state.segment_mut(SegmentName::Cs).attributes.0 |= 0x100,
    ];
    for change in broken {
        let machine = Machine::long().set(change);
        assert!(machine.cpu.state.validate().is_err());
    }
}
