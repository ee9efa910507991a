//! Giving KVM a machine as it is, to hear what it says. Tests hold the rules against real processors by it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, KVM_VCPUEVENT_VALID_SHADOW, kvm_userspace_memory_region};
use kvm_ioctls::{Cap, VcpuExit};
use replayvm_cpu::CpuState;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

use super::decode::{InternalError, exit, failed_entry, refused_registers, shutdown};
use super::processor::Processor;
use crate::engine::EngineError;
use crate::engine::hypervisor::{Unusable, features, open, refusal, registers};
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
    /// Neither guest nor KVM has come to an end in time.
    Endless,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(words)
            | Self::FailedEntry(words)
            | Self::InternalError(words)
            | Self::Shutdown(words)
            | Self::Exited(words) => f.write_str(words),
            Self::Endless => f.write_str("neither the guest nor KVM has come to an end in time"),
        }
    }
}

/// Gives KVM the machine's registers and memory and lets it run to the first exit, so long at most. The machine's registers
/// stay as they are; its memory is the guest's to write.
///
/// # Errors
/// KVM cannot be used here.
pub fn attempt(machine: &mut Machine, patience: Duration) -> Result<Attempt, EngineError> {
    let at = machine.position();
    let failed = |what: String| EngineError::Hypervisor { at, what };
    // A signal that does nothing interrupts `KVM_RUN`.
    let signal = SIGRTMIN() + 5;
    register_signal_handler(signal, ignore).map_err(|error| failed(format!("no signal handler: {error}")))?;
    let (state, memory) = (machine.cpu.state.clone(), machine.platform.ram.memory().clone());
    let stop = Arc::new(AtomicBool::new(false));
    let (ended, end) = channel();
    let thread = thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let result = run(&state, &memory, &stop);
            // Nobody listens when it has taken too long.
            let _ = ended.send(());
            result
        }
    });
    while end.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
        stop.store(true, Ordering::Relaxed);
        // A thread that has just ended has been heard, or will be in the next round.
        let _ = thread.kill(signal);
    }
    match thread.join() {
        Ok(Ok(attempt)) => Ok(attempt),
        Ok(Err(Unusable(why))) => Err(EngineError::Unavailable { engine: "kvm", why }),
        Err(_) => Err(failed("the thread that tried it has panicked".to_owned())),
    }
}

extern "C" fn ignore(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

fn run(state: &CpuState, memory: &GuestMemoryMmap, stop: &AtomicBool) -> Result<Attempt, Unusable> {
    let refused = |what: &'static str| move |error| refusal(what, error);
    let kvm = open()?;
    let features = features(&kvm)?;
    let processor = Processor::of_this_host();

    let vm = kvm.create_vm().map_err(refused("create a virtual machine"))?;
    if kvm.check_extension(Cap::SetTssAddr) {
        vm.set_tss_address(0xfffb_d000).map_err(refused("place the task state"))?;
    }
    let (userspace_addr, memory_size) =
        memory.find_region(GuestAddress(0)).map_or((0, 0), |region| (region.as_ptr() as u64, region.len()));
    let slot =
        kvm_userspace_memory_region { slot: 0, flags: 0, guest_phys_addr: 0, memory_size, userspace_addr };
    // SAFETY: the range is the whole of one mapping that the caller keeps beyond the end of the virtual machine, and KVM writes
    // to it only inside `KVM_RUN`, below, while `attempt` holds the machine mutably.
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
    let mut events = fd.get_vcpu_events().map_err(refused("show pending events"))?;
    events.flags = KVM_VCPUEVENT_VALID_SHADOW;
    events.interrupt.shadow = registers::shadow_of(state.shadow);
    if let Err(error) = fd.set_vcpu_events(&events) {
        return Ok(Attempt::Refused(format!("KVM_SET_VCPU_EVENTS refuses the interrupt shadow ({error})")));
    }
    let held = registers::held_by(&fd).map_err(refused("show its state"))?;

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
                let after = registers::held_by(&fd).ok().zip(fd.get_vcpu_events().ok());
                let left = after.as_ref().filter(|_| features.pvm).map(|(state, events)| (state, events));
                Attempt::Shutdown(shutdown(left))
            }
            Ok(other) => Attempt::Exited(exit(&other)),
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {
                if stop.load(Ordering::Relaxed) {
                    return Ok(Attempt::Endless);
                }
                continue;
            }
            Err(error) => Attempt::Refused(format!("KVM_RUN failed ({error})")),
        });
    }
}
