//! Giving KVM a machine as it is, to hear what it says. Tests hold the rules against real processors by it.

use std::fmt;

use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, KVM_VCPUEVENT_VALID_SHADOW, kvm_userspace_memory_region};
use kvm_ioctls::{Cap, VcpuExit};
use recorder::Position;
use replayvm_cpu::Shadow;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::decode::{InternalError, exit, failed_entry, refused_registers, shutdown};
use super::processor::Processor;
use crate::engine::EngineError;
use crate::engine::hypervisor::{features, open, refusal, registers};
use crate::machine::Machine;

/// What KVM made of a state, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// `KVM_SET_SREGS`, or another request that gives it the state, refuses it.
    Refused(String),
    /// The processor did not enter the guest.
    FailedEntry(String),
    /// KVM gave up.
    InternalError(String),
    /// The guest was entered and came to a triple fault.
    Shutdown(String),
    /// The guest was entered and came out again by this.
    Exited(String),
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Refused(words)
        | Self::FailedEntry(words)
        | Self::InternalError(words)
        | Self::Shutdown(words)
        | Self::Exited(words)) = self;
        f.write_str(words)
    }
}

/// Gives KVM the machine's registers and memory and lets it run to the first exit. The guest must come to one by itself, a HLT
/// for example. The machine's registers stay as they are; its memory is the guest's to write.
///
/// # Errors
/// KVM cannot be used here.
pub fn attempt(machine: &mut Machine) -> Result<Attempt, EngineError> {
    let unavailable =
        |why: crate::engine::hypervisor::Unusable| EngineError::Unavailable { engine: "kvm", why: why.0 };
    let refused = |what: &'static str| move |error| unavailable(refusal(what, error));
    let at: Position = machine.position();
    let failed = |what: &str, error: kvm_ioctls::Error| EngineError::Hypervisor {
        at,
        what: format!("{what} failed: {error}"),
    };
    let kvm = open().map_err(unavailable)?;
    let features = features(&kvm).map_err(unavailable)?;
    let processor = Processor::of_this_host();
    let state = &machine.cpu.state;

    let vm = kvm.create_vm().map_err(refused("create a virtual machine"))?;
    if kvm.check_extension(Cap::SetTssAddr) {
        vm.set_tss_address(0xfffb_d000).map_err(refused("place the task state"))?;
    }
    // A copy of the handle keeps the mapping alive for as long as the virtual machine, which is dropped first.
    let memory = machine.platform.ram.memory().clone();
    let Some(region) = memory.find_region(GuestAddress(0)) else {
        return Err(EngineError::Hypervisor { at, what: "the guest has no memory".to_owned() });
    };
    let slot = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: region.len(),
        userspace_addr: region.as_ptr() as u64,
    };
    // SAFETY: the range is the whole of one mapping that outlives the virtual machine, and KVM writes to it only inside
    // `KVM_RUN`, below, while this function holds the machine mutably.
    unsafe { vm.set_user_memory_region(slot) }.map_err(refused("take guest memory"))?;
    let mut fd = vm.create_vcpu(0).map_err(refused("create a virtual CPU"))?;
    let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(refused("tell its CPUID"))?;
    fd.set_cpuid2(&cpuid).map_err(refused("take a CPUID"))?;

    let mut sregs = fd.get_sregs().map_err(refused("show the system registers"))?;
    registers::give_system(&mut sregs, state);
    (sregs.ldt, sregs.tr) = (registers::segment_of(&state.ldtr), registers::segment_of(&state.tr));
    (sregs.gdt, sregs.idt) = (registers::table_of(&state.gdtr), registers::table_of(&state.idtr));
    if let Err(error) = fd.set_sregs(&sregs) {
        return Ok(Attempt::Refused(refused_registers(error, state, &processor)));
    }
    if let Err(error) = fd.set_regs(&registers::regs_of(state)) {
        return Ok(Attempt::Refused(format!("KVM_SET_REGS refuses the registers ({error})")));
    }
    let mut events = fd.get_vcpu_events().map_err(|error| failed("KVM_GET_VCPU_EVENTS", error))?;
    events.flags = KVM_VCPUEVENT_VALID_SHADOW;
    events.interrupt.shadow = match state.shadow {
        Shadow::None => 0,
        Shadow::MovSs => 1,
        Shadow::Sti => 2,
    };
    if let Err(error) = fd.set_vcpu_events(&events) {
        return Ok(Attempt::Refused(format!("KVM_SET_VCPU_EVENTS refuses the interrupt shadow ({error})")));
    }
    let held = registers::held_by(&fd).map_err(|error| failed("asking KVM for its state", error))?;

    loop {
        return Ok(match fd.run() {
            Ok(VcpuExit::FailEntry(reason, cpu)) => {
                Attempt::FailedEntry(failed_entry(reason, cpu, &held, &processor))
            }
            Ok(VcpuExit::InternalError) => {
                Attempt::InternalError(InternalError::of(&mut fd).words(&held, &processor))
            }
            Ok(VcpuExit::Shutdown) => {
                // Others than PVM may have reset the virtual CPU.
                let after = registers::held_by(&fd).unwrap_or(held);
                let events = fd.get_vcpu_events().ok().filter(|_| features.pvm);
                Attempt::Shutdown(shutdown(&after, events.as_ref()))
            }
            Ok(other) => Attempt::Exited(exit(&other)),
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => continue,
            Err(error) => return Err(failed("KVM_RUN", error)),
        });
    }
}
