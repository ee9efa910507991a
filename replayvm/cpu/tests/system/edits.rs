//! The CPU changed from outside, as a debugger does.

use replayvm_cpu::{CpuState, Shadow, cr0, cr4, efer};

use crate::machine::*;

fn edited(machine: Machine, edit: impl FnOnce(&mut CpuState)) -> Result<CpuState, &'static str> {
    machine.cpu.state.edited(edit)
}

#[test]
fn bits_that_cannot_be_written_keep_what_they_hold() {
    let new = edited(Machine::long(), |state| {
        state.rflags = !(1 << 17);
        state.cr0 &= !cr0::ET;
        state.fcw = 0xffff;
        state.fsw = 0x8080;
    })
    .unwrap();
    assert_eq!(new.rflags, 0x3d_7fd7);
    assert_eq!((new.cr0 & cr0::ET, new.fcw, new.fsw), (cr0::ET, 0x1f7f, 0));
    // An exception flag that the control word does not mask is a pending exception.
    let new = edited(Machine::long(), |state| (state.fcw, state.fsw) = (0x37e, 1)).unwrap();
    assert_eq!(new.fsw, 0x8081);
}

#[test]
fn a_cpu_that_is_sent_elsewhere_has_left_its_halt_and_its_boundary() {
    let halted = || {
        Machine::long().set(|state| {
            state.halted = true;
            state.shadow = Shadow::Sti;
            state.pending_debug = 1 << 14;
        })
    };
    let new = edited(halted(), |state| state.rip += 1).unwrap();
    assert_eq!((new.halted, new.shadow, new.pending_debug), (false, Shadow::None, 0));
    let new = edited(halted(), |state| state.gpr[0] += 1).unwrap();
    assert_eq!((new.halted, new.shadow, new.pending_debug), (true, Shadow::Sti, 1 << 14));
}

#[test]
fn what_only_the_guest_can_do_is_refused_in_words() {
    type Edit = fn(&mut CpuState);
    let refused: [(Edit, &str); 8] = [
        (|state| state.now.tick += 1, "by running it"),
        (|state| state.segments[1].selector = 0, "descriptor"),
        (|state| state.segments[3].base = 0x1000, "descriptor"),
        (|state| state.efer &= !(efer::LME | efer::LMA), "long mode"),
        (|state| state.efer &= !efer::LME, "EFER.LME"),
        (|state| state.cr4 &= !cr4::PAE, "name no mode"),
        (|state| state.rip = 1 << 60, "RIP"),
        (|state| state.mxcsr = 1 << 16, "bits"),
    ];
    for (edit, words) in refused {
        let error = edited(Machine::long(), edit).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    let error = edited(Machine::protected(), |state| state.segments[4].base = 1 << 40).unwrap_err();
    assert!(error.contains("32 bits"), "{error}");
    edited(Machine::long(), |state| state.segments[4].base = 1 << 40).unwrap();
    edited(Machine::protected(), |state| state.efer |= efer::SCE).unwrap();
}
