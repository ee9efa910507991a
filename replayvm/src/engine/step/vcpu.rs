//! One KVM virtual CPU that executes one instruction at a time over a machine's RAM.
//!
//! Nothing of the guest outlives a step in here but what is cheap to leave in place: system registers and XMM are pushed when
//! they differ from what KVM last had. The interrupt table that KVM sees is empty, always: a fault that was not foreseen ends in
//! a triple fault with guest memory untouched, and no handler ever runs unseen.

use kvm_bindings::{
    KVM_GUESTDBG_BLOCKIRQ, KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_SINGLESTEP, KVM_MAX_CPUID_ENTRIES,
    kvm_guest_debug, kvm_regs, kvm_segment, kvm_sregs, kvm_userspace_memory_region, kvm_vcpu_events,
};
use kvm_ioctls::{Cap, SyncReg, VcpuExit, VcpuFd, VmFd};
use replayvm_cpu::{CpuState, Mode, Rflags, Segment};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use super::plain::Plain;
use crate::engine::entry::{self, InternalError, Processor};
use crate::engine::hypervisor::{Features, Unusable, features, open, refusal, registers};
use crate::machine::GuestRam;

/// Exits that one repeated instruction may take.
const MAX_EXITS: u32 = 4096;
/// Flags that KVM's word is taken for; no instruction that it is given changes another.
const FLAGS: u64 = Rflags::ARITHMETIC.bits() | Rflags::DF.bits();
const INVALID_OPCODE: u8 = 6;
const DEBUG: u8 = 1;

/// How a step went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The instruction retired; what it left.
    Retired(Box<Retired>),
    /// KVM does not have the instruction. Nothing has changed but for iterations of a repeated one.
    Unknown,
    /// KVM does not take these system registers.
    RefusedState,
    /// The instruction raised this exception (255 where KVM does not say which).
    Faulted(u8),
    /// Anything else, in words.
    Strange(String),
}

/// What an instruction left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Retired {
    /// Outside 64-bit mode only the lower halves mean something.
    pub(crate) gpr: [u64; 16],
    pub(crate) rip: u64,
    pub(crate) rflags: u64,
    /// XMM registers and MXCSR, if the instruction uses them.
    pub(crate) xmm: Option<([u128; 16], u32)>,
}

/// The system registers that matter to plain instructions.
#[derive(Debug, Clone, PartialEq, Eq)]
struct System {
    segments: [Segment; 6],
    cr0: u64,
    cr3: u64,
    cr4: u64,
    efer: u64,
}

impl System {
    fn of(state: &CpuState) -> Self {
        let CpuState { segments, cr0, cr3, cr4, efer, .. } = state;
        Self { segments: *segments, cr0: *cr0, cr3: *cr3, cr4: *cr4, efer: *efer }
    }
}

/// The virtual CPU, its VM, and what KVM was last told.
#[derive(Debug)]
pub(crate) struct Vcpu {
    fd: VcpuFd,
    vm: VmFd,
    /// Keeps the mapping alive that KVM writes to.
    memory: GuestMemoryMmap,
    features: Features,
    template: kvm_sregs,
    quiet: kvm_vcpu_events,
    system: Option<System>,
    refused: Option<System>,
    fpu: Option<([u128; 16], u32)>,
    debug: u32,
    /// Events have to be cleared before the next run.
    event_left: bool,
    translations: Option<u64>,
}

impl Vcpu {
    /// A virtual CPU over this RAM.
    pub(crate) fn new(ram: &GuestRam) -> Result<Self, Unusable> {
        let kvm = open()?;
        let features = features(&kvm)?;
        let refused = |what: &'static str| move |error| refusal(what, error);
        let vm = kvm.create_vm().map_err(refused("create a virtual machine"))?;
        // Three pages that Intel processors without unrestricted guests want; above all guest RAM.
        if kvm.check_extension(Cap::SetTssAddr) {
            vm.set_tss_address(0xfffb_d000).map_err(refused("place the task state"))?;
        }
        let memory = ram.memory().clone();
        add_slot(&vm, &memory).map_err(refused("take guest memory"))?;
        let mut fd = vm.create_vcpu(0).map_err(refused("create a virtual CPU"))?;
        let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(refused("tell its CPUID"))?;
        fd.set_cpuid2(&cpuid).map_err(refused("take a CPUID"))?;
        let mut template = fd.get_sregs().map_err(refused("show the system registers"))?;
        // No fault finds a handler.
        template.idt = kvm_bindings::kvm_dtable::default();
        template.gdt = kvm_bindings::kvm_dtable::default();
        template.ldt = kvm_segment { unusable: 1, ..kvm_segment::default() };
        template.tr = kvm_segment { limit: 0xffff, type_: 11, present: 1, ..kvm_segment::default() };
        template.interrupt_bitmap = [0; 4];
        let mut quiet = fd.get_vcpu_events().map_err(refused("show pending events"))?;
        quiet.exception = Default::default();
        quiet.interrupt = Default::default();
        quiet.nmi = Default::default();
        quiet.flags = 0;
        if features.sync {
            fd.set_sync_valid_reg(SyncReg::Register);
            fd.set_sync_valid_reg(SyncReg::VcpuEvents);
        }
        Ok(Self {
            fd,
            vm,
            memory,
            features,
            template,
            quiet,
            system: None,
            refused: None,
            fpu: None,
            debug: 0,
            event_left: true,
            translations: None,
        })
    }

    /// Takes this RAM instead, if it is another.
    pub(crate) fn attach(&mut self, ram: &GuestRam) -> Result<(), Unusable> {
        if host_address(ram.memory()) == host_address(&self.memory) && ram.bytes() == bytes(&self.memory) {
            return Ok(());
        }
        let refused = |error| refusal("take guest memory", error);
        remove_slot(&self.vm, &self.memory).map_err(refused)?;
        self.memory = ram.memory().clone();
        add_slot(&self.vm, &self.memory).map_err(refused)
    }

    /// Whether the next instruction would run natively under PVM.
    pub(crate) fn native(&self, state: &CpuState) -> bool {
        self.features.pvm && state.mode() == Mode::Long64 && state.cpl() == 3
    }

    /// Whether the next instruction would be executed by KVM's instruction emulator.
    pub(crate) fn emulated(&self, state: &CpuState) -> bool {
        self.features.pvm && !self.native(state)
    }

    /// Executes the one instruction at CS:RIP. `translations` is the CPU's number of the valid translations.
    pub(crate) fn step(&mut self, state: &CpuState, plain: Plain, translations: u64) -> Outcome {
        match self.try_step(state, plain, translations) {
            Ok(outcome) => outcome,
            Err(what) => Outcome::Strange(what),
        }
    }

    fn try_step(&mut self, state: &CpuState, plain: Plain, translations: u64) -> Result<Outcome, String> {
        let native = self.native(state);
        if !self.push(state, plain, native, translations)? {
            return Ok(Outcome::RefusedState);
        }
        let mut exits = 0;
        loop {
            exits += 1;
            if exits > MAX_EXITS {
                return Err("the instruction does not come to an end".to_owned());
            }
            let fault = match self.fd.run() {
                Ok(VcpuExit::Debug(_)) => None,
                Ok(VcpuExit::Shutdown) => Some(self.shut_down()?),
                Ok(VcpuExit::InternalError) => {
                    let error = InternalError::of(&mut self.fd);
                    self.lost();
                    if error.is_emulation() {
                        return Ok(Outcome::Unknown);
                    }
                    return Err(error.words(state, &Processor::of_this_host()));
                }
                Ok(VcpuExit::FailEntry(reason, cpu)) => {
                    self.lost();
                    let held = registers::held_by(&self.fd);
                    let held = held.as_ref().unwrap_or(state);
                    return Err(entry::failed_entry(reason, cpu, held, &Processor::of_this_host()));
                }
                Ok(other) => {
                    let words = entry::exit(&other);
                    self.lost();
                    return Err(words);
                }
                // A signal: nothing has been executed, or the step has been and its exit follows.
                Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => continue,
                Err(error) => {
                    self.lost();
                    return Err(format!("KVM_RUN failed: {error}"));
                }
            };
            match fault {
                None | Some(DEBUG) if native == fault.is_some() => {}
                Some(INVALID_OPCODE) => return Ok(Outcome::Unknown),
                Some(vector) => return Ok(Outcome::Faulted(vector)),
                None => return Err("a debug exit where a shutdown was to be expected".to_owned()),
            }
            let regs = self.regs()?;
            if plain.repeats && regs.rip == state.rip {
                // Between two iterations: RF may be set, and TF has to be again.
                let rflags = (regs.rflags & !Rflags::RF.bits()) | Rflags::TF.bits();
                self.push_regs(&kvm_regs { rflags, ..regs })?;
                continue;
            }
            let xmm = if plain.xmm { Some(self.pull_xmm()?) } else { None };
            return Ok(Outcome::Retired(Box::new(Retired {
                gpr: registers::gpr_of(&regs),
                rip: regs.rip,
                rflags: (state.rflags & !FLAGS) | (regs.rflags & FLAGS),
                xmm,
            })));
        }
    }

    /// Tells KVM what it does not know yet; whether it takes it.
    fn push(
        &mut self,
        state: &CpuState,
        plain: Plain,
        native: bool,
        translations: u64,
    ) -> Result<bool, String> {
        // What KVM emulates it translates by the page tables as they are; what runs on the processor goes through shadow
        // page tables or a TLB that stores by the software CPU do not reach.
        if (native || !self.features.pvm) && self.translations != Some(translations) {
            remove_slot(&self.vm, &self.memory)
                .and_then(|()| add_slot(&self.vm, &self.memory))
                .map_err(|error| format!("cannot renew the memory slot: {error}"))?;
            self.translations = Some(translations);
        }
        let debug = if native { 0 } else { self.step_flags() };
        if self.debug != debug {
            // Before the registers: switching guest debugging off clears TF.
            self.fd
                .set_guest_debug(&kvm_guest_debug { control: debug, ..kvm_guest_debug::default() })
                .map_err(|error| format!("KVM_SET_GUEST_DEBUG failed: {error}"))?;
            self.debug = debug;
        }
        let system = System::of(state);
        if self.system.as_ref() != Some(&system) {
            if self.refused.as_ref() == Some(&system) {
                return Ok(false);
            }
            if self.fd.set_sregs(&self.sregs(state)).is_err() {
                self.system = None;
                self.refused = Some(system);
                return Ok(false);
            }
            self.system = Some(system);
        }
        if plain.xmm && self.fpu != Some((state.xmm, state.mxcsr)) {
            let xsave = registers::xsave_of(&state.xmm, state.mxcsr);
            // SAFETY: no feature is switched on that makes the area longer than the 4096 bytes of the structure.
            unsafe { self.fd.set_xsave(&xsave) }.map_err(|error| format!("KVM_SET_XSAVE failed: {error}"))?;
            self.fpu = Some((state.xmm, state.mxcsr));
        }
        self.push_regs(&regs_of(state))?;
        Ok(true)
    }

    fn step_flags(&self) -> u32 {
        let block = KVM_GUESTDBG_BLOCKIRQ & self.features.debug_flags;
        KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | block
    }

    fn push_regs(&mut self, regs: &kvm_regs) -> Result<(), String> {
        if self.features.sync {
            let quiet = self.quiet;
            let shared = self.fd.sync_regs_mut();
            shared.regs = *regs;
            if self.event_left {
                shared.events = quiet;
                self.fd.set_sync_dirty_reg(SyncReg::VcpuEvents);
            }
            self.fd.set_sync_dirty_reg(SyncReg::Register);
        } else {
            if self.event_left {
                self.fd
                    .set_vcpu_events(&self.quiet)
                    .map_err(|error| format!("KVM_SET_VCPU_EVENTS failed: {error}"))?;
            }
            self.fd.set_regs(regs).map_err(|error| format!("KVM_SET_REGS failed: {error}"))?;
        }
        self.event_left = false;
        Ok(())
    }

    fn regs(&mut self) -> Result<kvm_regs, String> {
        if self.features.sync {
            Ok(self.fd.sync_regs_mut().regs)
        } else {
            self.fd.get_regs().map_err(|error| format!("KVM_GET_REGS failed: {error}"))
        }
    }

    /// The exception that led to the shutdown.
    fn shut_down(&mut self) -> Result<u8, String> {
        let events = if self.features.sync {
            self.fd.sync_regs_mut().events
        } else {
            self.fd.get_vcpu_events().map_err(|error| format!("KVM_GET_VCPU_EVENTS failed: {error}"))?
        };
        self.event_left = true;
        if !self.features.pvm {
            // Others reset the virtual CPU, and do not say what came first.
            self.lost();
            return Ok(u8::MAX);
        }
        Ok(events.exception.nr)
    }

    /// What KVM has is not known any more.
    pub(crate) fn lost(&mut self) {
        self.system = None;
        self.fpu = None;
        self.event_left = true;
    }

    fn pull_xmm(&mut self) -> Result<([u128; 16], u32), String> {
        let xsave = self.fd.get_xsave().map_err(|error| format!("KVM_GET_XSAVE failed: {error}"))?;
        let value = registers::xmm_of(&xsave);
        self.fpu = Some(value);
        Ok(value)
    }

    fn sregs(&self, state: &CpuState) -> kvm_sregs {
        let mut sregs = self.template;
        registers::give_system(&mut sregs, state);
        sregs
    }
}

fn host_address(memory: &GuestMemoryMmap) -> u64 {
    memory.find_region(GuestAddress(0)).map_or(0, |region| region.as_ptr() as u64)
}

fn bytes(memory: &GuestMemoryMmap) -> u64 {
    memory.find_region(GuestAddress(0)).map_or(0, |region| region.len())
}

fn set_slot(vm: &VmFd, memory: &GuestMemoryMmap, size: u64) -> Result<(), kvm_ioctls::Error> {
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: size,
        userspace_addr: host_address(memory),
    };
    // SAFETY: the range is the whole of one mapping, which `Vcpu::memory` keeps alive for as long as the slot exists, and KVM
    // writes to it only inside `KVM_RUN`, called by the thread that holds the machine mutably.
    unsafe { vm.set_user_memory_region(region) }
}

fn add_slot(vm: &VmFd, memory: &GuestMemoryMmap) -> Result<(), kvm_ioctls::Error> {
    set_slot(vm, memory, bytes(memory))
}

fn remove_slot(vm: &VmFd, memory: &GuestMemoryMmap) -> Result<(), kvm_ioctls::Error> {
    set_slot(vm, memory, 0)
}

fn regs_of(state: &CpuState) -> kvm_regs {
    // The flag is set here and not left to KVM, which sets it only where RIP is as at the last KVM_SET_GUEST_DEBUG.
    kvm_regs { rflags: state.rflags | Rflags::TF.bits(), ..registers::regs_of(state) }
}
