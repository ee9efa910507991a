//! The virtual CPU that runs user code natively, and the way back from it.
//!
//! Whatever user code does that it cannot do by itself raises an exception. How that comes back depends on KVM:
//! - On PVM (KVM without hardware virtualisation) the interrupt table is empty: the exception ends in `KVM_EXIT_SHUTDOWN` with the state
//!   before its delivery, its vector and error code among the events, and CR2.
//! - Elsewhere a shutdown resets the virtual CPU. There each vector has a gate to code at CPL 0 that is one `OUT` to the port of its
//!   number: one exit, with the state in the frame on its stack.

use std::sync::Arc;

use kvm_bindings::{
    KVM_CAP_SYNC_REGS, KVM_MAX_CPUID_ENTRIES, KVM_MEM_LOG_DIRTY_PAGES, kvm_dtable, kvm_regs, kvm_segment,
    kvm_sregs, kvm_userspace_memory_region, kvm_vcpu_events,
};
use kvm_ioctls::{Cap, Kvm, SyncReg, VcpuExit, VcpuFd, VmFd};
use replayvm_cpu::{CpuState, SegmentName, cr0, cr4, efer};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use super::pool::{Exhausted, PAGE, POOL, Pool};
use super::tables::{Rights, Tables};
use crate::engine::entry::{self, InternalError, Processor};
use crate::engine::hypervisor::{Features, features, refusal, registers};
use crate::machine::GuestRam;

/// Where the gates and what belongs to them are mapped, for the supervisor alone: in the upper half, where no user code is.
const GATES: u64 = 0xffff_ffff_ffc0_0000;
const DESCRIPTORS: u64 = GATES;
const TASK: u64 = GATES + PAGE;
const INTERRUPTS: u64 = GATES + 2 * PAGE;
const STUBS: u64 = GATES + 3 * PAGE;
const STACK: u64 = GATES + 4 * PAGE;
/// Vectors that have a gate: the exceptions.
const VECTORS: usize = 32;
/// Bytes from one stub to the next.
const STUB: u64 = 16;

const KERNEL_CODE: u16 = 0x08;
const USER_DATA: u16 = 0x23;
const USER_CODE: u16 = 0x2b;
const TASK_STATE: u16 = 0x30;

const RAM_SLOT: u32 = 0;
const POOL_SLOT: u32 = 1;

/// Flags that user code changes and reads: all else in RFLAGS is not its own.
pub(super) const FLAGS: u64 = 0x8d5 | 1 << 10;

/// What user code ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trap {
    pub(super) vector: u8,
    pub(super) error_code: u32,
    /// Of a page fault.
    pub(super) address: u64,
    pub(super) rip: u64,
    pub(super) rflags: u64,
    pub(super) gpr: [u64; 16],
}

/// The virtual machine: KVM's view of memory. Shared with whoever asks which pages have been written.
#[derive(Debug)]
pub(super) struct Vm {
    fd: VmFd,
    pvm: bool,
}

impl Vm {
    /// KVM forgets what it remembers of guest RAM being writable, so that dirty bits that are clear get set again.
    pub(super) fn write_protect(&self, ram_bytes: u64) -> Result<(), String> {
        if !self.pvm {
            return Ok(());
        }
        let log = self.fd.get_dirty_log(RAM_SLOT, ram_bytes as usize);
        log.map(drop).map_err(|error| format!("KVM_GET_DIRTY_LOG failed: {error}"))
    }

    fn slot(&self, slot: u32, gpa: u64, host: (u64, u64), on: bool) -> Result<(), String> {
        let region = kvm_userspace_memory_region {
            slot,
            flags: if slot == RAM_SLOT && self.pvm { KVM_MEM_LOG_DIRTY_PAGES } else { 0 },
            guest_phys_addr: gpa,
            memory_size: if on { host.1 } else { 0 },
            userspace_addr: host.0,
        };
        // SAFETY: the range is the whole of one mapping, which `Vcpu::memory` or the pool beside it keeps alive for as long as the slot
        // exists, and KVM writes to it only inside `KVM_RUN`, called by the thread that holds both mutably.
        unsafe { self.fd.set_user_memory_region(region) }
            .map_err(|error| refusal("take memory", error).to_string())
    }
}

/// The virtual CPU.
pub(super) struct Vcpu {
    fd: VcpuFd,
    pub(super) vm: Arc<Vm>,
    /// Keeps the mapping of guest RAM alive.
    memory: GuestMemoryMmap,
    sregs: kvm_sregs,
    quiet: kvm_vcpu_events,
    /// What the registers of SSE were last known to be.
    sse: Option<([u128; 16], u32)>,
    /// The pages behind [`GATES`], where traps come by gates.
    gates: Option<[u64; 5]>,
    sync: bool,
}

impl Vcpu {
    pub(super) fn new(kvm: &Kvm, ram: &GuestRam, pool: &mut Pool) -> Result<Self, String> {
        let Features { pvm, .. } = features(kvm).map_err(|error| error.to_string())?;
        let refused = |what: &'static str| move |error| refusal(what, error).to_string();
        let fd = kvm.create_vm().map_err(refused("create a virtual machine"))?;
        if kvm.check_extension(Cap::SetTssAddr) {
            fd.set_tss_address(0xfffb_d000).map_err(refused("place the task state"))?;
        }
        let vm = Arc::new(Vm { fd, pvm });
        let memory = ram.memory().clone();
        vm.slot(RAM_SLOT, 0, host_range(&memory), true)?;
        vm.slot(POOL_SLOT, POOL, pool.host_range(), true)?;
        let mut fd = vm.fd.create_vcpu(0).map_err(refused("create a virtual CPU"))?;
        let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(refused("tell its CPUID"))?;
        fd.set_cpuid2(&cpuid).map_err(refused("take a CPUID"))?;
        let template = fd.get_sregs().map_err(refused("show the system registers"))?;
        let mut quiet = fd.get_vcpu_events().map_err(refused("show pending events"))?;
        quiet.exception = Default::default();
        quiet.interrupt = Default::default();
        quiet.nmi = Default::default();
        quiet.flags = 0;
        let wanted = kvm_bindings::KVM_SYNC_X86_REGS
            | kvm_bindings::KVM_SYNC_X86_SREGS
            | kvm_bindings::KVM_SYNC_X86_EVENTS;
        let sync = kvm.check_extension_raw(u64::from(KVM_CAP_SYNC_REGS)) & wanted as i32 == wanted as i32;
        if sync {
            fd.set_sync_valid_reg(SyncReg::Register);
            fd.set_sync_valid_reg(SyncReg::SystemRegister);
            fd.set_sync_valid_reg(SyncReg::VcpuEvents);
        }
        let gates = if pvm { None } else { Some(make_gates(pool)?) };
        Ok(Self {
            fd,
            vm,
            memory,
            sregs: user_sregs(template, gates.is_some()),
            quiet,
            sse: None,
            gates,
            sync,
        })
    }

    /// Takes this RAM instead, if it is another.
    pub(super) fn attach(&mut self, ram: &GuestRam) -> Result<(), String> {
        let (old, new) = (host_range(&self.memory), host_range(ram.memory()));
        if old == new {
            return Ok(());
        }
        self.vm.slot(RAM_SLOT, 0, old, false)?;
        self.memory = ram.memory().clone();
        self.vm.slot(RAM_SLOT, 0, new, true)
    }

    /// KVM forgets all it remembers of the pool's page tables. They can be used for something else then; the gates' own are made anew.
    pub(super) fn forget_tables(&mut self, pool: &mut Pool) -> Result<(), String> {
        self.vm.slot(POOL_SLOT, POOL, pool.host_range(), false)?;
        self.vm.slot(POOL_SLOT, POOL, pool.host_range(), true)?;
        pool.reset();
        if self.gates.is_some() {
            self.gates = Some(make_gates(pool)?);
        }
        Ok(())
    }

    /// Maps the gates into an address space.
    pub(super) fn map_gates(&self, pool: &mut Pool, tables: &mut Tables) -> Result<(), Exhausted> {
        for (i, page) in self.gates.iter().flatten().enumerate() {
            let rights = if i == 3 { Rights::Supervisor } else { Rights::SupervisorWrite };
            tables.map(pool, GATES + i as u64 * PAGE, *page, rights)?;
        }
        Ok(())
    }

    /// What is in the registers before user code runs at `rip`, by the tables at `root`.
    pub(super) fn load(&mut self, state: &CpuState, rip: u64, root: u64) -> Result<(), String> {
        let (fs, gs) = (state.segment(SegmentName::Fs).base, state.segment(SegmentName::Gs).base);
        let changed = self.sregs.cr3 != root || self.sregs.fs.base != fs || self.sregs.gs.base != gs;
        self.sregs.cr3 = root;
        self.sregs.fs.base = fs;
        self.sregs.gs.base = gs;
        if self.sse != Some((state.xmm, state.mxcsr)) {
            let xsave = registers::xsave_of(&state.xmm, state.mxcsr);
            // SAFETY: no feature is switched on that makes the area longer than the 4096 bytes of the structure.
            unsafe { self.fd.set_xsave(&xsave) }.map_err(|error| format!("KVM_SET_XSAVE failed: {error}"))?;
            self.sse = Some((state.xmm, state.mxcsr));
        }
        let system = changed || self.gates.is_some();
        self.push(&regs_of(&state.gpr, rip, state.rflags), system)
    }

    /// Goes on after a trap with nothing changed but the tables.
    pub(super) fn load_again(&mut self, trap: &Trap, root: u64) -> Result<(), String> {
        let system = self.sregs.cr3 != root || self.gates.is_some();
        self.sregs.cr3 = root;
        self.push(&regs_of(&trap.gpr, trap.rip, trap.rflags), system)
    }

    fn push(&mut self, regs: &kvm_regs, system: bool) -> Result<(), String> {
        if self.sync {
            let (sregs, quiet) = (self.sregs, self.quiet);
            let shared = self.fd.sync_regs_mut();
            shared.regs = *regs;
            shared.events = quiet;
            self.fd.set_sync_dirty_reg(SyncReg::Register);
            self.fd.set_sync_dirty_reg(SyncReg::VcpuEvents);
            if system {
                self.fd.sync_regs_mut().sregs = sregs;
                self.fd.set_sync_dirty_reg(SyncReg::SystemRegister);
            }
            return Ok(());
        }
        let refused = |what| move |error: kvm_ioctls::Error| format!("{what} failed: {error}");
        if system {
            self.fd.set_sregs(&self.sregs).map_err(refused("KVM_SET_SREGS"))?;
        }
        self.fd.set_vcpu_events(&self.quiet).map_err(refused("KVM_SET_VCPU_EVENTS"))?;
        self.fd.set_regs(regs).map_err(refused("KVM_SET_REGS"))
    }

    /// Runs user code until it traps.
    pub(super) fn run(&mut self, pool: &Pool) -> Result<Trap, String> {
        let port = loop {
            match self.fd.run() {
                Ok(VcpuExit::Shutdown) if self.gates.is_none() => break None,
                Ok(VcpuExit::IoOut(port, _)) if self.gates.is_some() && usize::from(port) < VECTORS => {
                    break Some(port as u8);
                }
                Ok(VcpuExit::InternalError) => {
                    let held = registers::held_by(&self.fd).unwrap_or_else(|_| CpuState::power_on());
                    return Err(InternalError::of(&mut self.fd).words(&held, &Processor::of_this_host()));
                }
                Ok(VcpuExit::FailEntry(reason, cpu)) => {
                    let held = registers::held_by(&self.fd).unwrap_or_else(|_| CpuState::power_on());
                    return Err(entry::failed_entry(reason, cpu, &held, &Processor::of_this_host()));
                }
                Ok(other) => return Err(entry::exit(&other)),
                // A signal came; user code goes on where it was.
                Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {}
                Err(error) => return Err(format!("KVM_RUN failed: {error}")),
            }
        };
        let (regs, sregs, events) = self.look()?;
        let mut gpr = registers::gpr_of(&regs);
        let Some(vector) = port else {
            // An exception that INT3 or the like raises leaves RIP behind it; translated code has none.
            let exception = events.exception;
            return Ok(Trap {
                vector: exception.nr,
                error_code: exception.error_code,
                address: sregs.cr2,
                rip: regs.rip,
                rflags: regs.rflags,
                gpr,
            });
        };
        // The frame (SDM vol. 3, 6.14.2) at the top of the stack.
        let stack = self.gates.map(|gates| gates[4]).ok_or("no gates")?;
        let frame = pool.entries(stack);
        let [rip, _cs, rflags, rsp, _ss] = [507, 508, 509, 510, 511].map(|i| frame[i]);
        gpr[4] = rsp;
        let error_code = if has_error_code(vector) { frame[506] as u32 } else { 0 };
        Ok(Trap { vector, error_code, address: sregs.cr2, rip, rflags, gpr })
    }

    fn look(&mut self) -> Result<(kvm_regs, kvm_sregs, kvm_vcpu_events), String> {
        if self.sync {
            let shared = self.fd.sync_regs_mut();
            return Ok((shared.regs, shared.sregs, shared.events));
        }
        let failed = |error: kvm_ioctls::Error| format!("KVM does not show its registers: {error}");
        Ok((
            self.fd.get_regs().map_err(failed)?,
            self.fd.get_sregs().map_err(failed)?,
            self.fd.get_vcpu_events().map_err(failed)?,
        ))
    }

    /// The registers of SSE as user code has left them.
    pub(super) fn sse(&mut self) -> Result<([u128; 16], u32), String> {
        let xsave = self.fd.get_xsave().map_err(|error| format!("KVM_GET_XSAVE failed: {error}"))?;
        let value = registers::xmm_of(&xsave);
        self.sse = Some(value);
        Ok(value)
    }
}

fn regs_of(gpr: &[u64; 16], rip: u64, rflags: u64) -> kvm_regs {
    let [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15] = *gpr;
    let rflags = rflags & FLAGS | 2;
    kvm_regs { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags }
}

const fn has_error_code(vector: u8) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30)
}

fn host_range(memory: &GuestMemoryMmap) -> (u64, u64) {
    memory.find_region(GuestAddress(0)).map_or((0, 0), |region| (region.as_ptr() as u64, region.len()))
}

/// System registers of 64-bit user code with SSE.
fn user_sregs(template: kvm_sregs, gates: bool) -> kvm_sregs {
    let code = kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector: USER_CODE,
        type_: 11,
        present: 1,
        dpl: 3,
        db: 0,
        s: 1,
        l: 1,
        g: 1,
        ..kvm_segment::default()
    };
    let data = kvm_segment { selector: USER_DATA, type_: 3, db: 1, l: 0, ..code };
    let table = |base, limit| kvm_dtable { base, limit, ..kvm_dtable::default() };
    kvm_sregs {
        cs: code,
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        gdt: if gates { table(DESCRIPTORS, 0x3f) } else { table(0, 0) },
        idt: if gates { table(INTERRUPTS, (VECTORS * 16 - 1) as u16) } else { table(0, 0) },
        ldt: kvm_segment { unusable: 1, ..kvm_segment::default() },
        tr: kvm_segment {
            base: if gates { TASK } else { 0 },
            selector: if gates { TASK_STATE } else { 0 },
            limit: if gates { 0x67 } else { 0xffff },
            type_: 11,
            present: 1,
            ..kvm_segment::default()
        },
        cr0: cr0::PE | cr0::MP | cr0::ET | cr0::NE | cr0::WP | cr0::PG,
        cr4: cr4::PAE | cr4::OSFXSR | cr4::OSXMMEXCPT,
        // No SYSCALL: translated code has none.
        efer: efer::LME | efer::LMA | efer::NXE,
        interrupt_bitmap: [0; 4],
        ..template
    }
}

/// Descriptors, task state, interrupt table, stubs and stack, each a page of the pool.
fn make_gates(pool: &mut Pool) -> Result<[u64; 5], String> {
    let mut pages = [0; 5];
    for page in &mut pages {
        *page = pool.page().map_err(|Exhausted| "no room for the interrupt table".to_owned())?;
    }
    let [descriptors, task, interrupts, stubs, _] = pages;
    let gdt = pool.entries_mut(descriptors);
    gdt[1] = 0x00af_9b00_0000_ffff;
    gdt[2] = 0x00cf_9300_0000_ffff;
    gdt[4] = 0x00cf_f300_0000_ffff;
    gdt[5] = 0x00af_fb00_0000_ffff;
    gdt[6] = 0x67 | (TASK & 0xff_ffff) << 16 | 0x8b << 40 | (TASK >> 24 & 0xff) << 56;
    gdt[7] = TASK >> 32;
    // RSP0 (SDM vol. 3, 7.7) at byte 4.
    let top = STACK + PAGE;
    let state = pool.entries_mut(task);
    state[0] = top << 32;
    state[1] = top >> 32;
    let idt = pool.entries_mut(interrupts);
    for (vector, gate) in idt.as_chunks_mut::<2>().0.iter_mut().take(VECTORS).enumerate() {
        let stub = STUBS + vector as u64 * STUB;
        gate[0] = stub & 0xffff | u64::from(KERNEL_CODE) << 16 | 0x8e << 40 | (stub >> 16 & 0xffff) << 48;
        gate[1] = stub >> 32;
    }
    let code = pool.entries_mut(stubs);
    for (vector, stub) in code.as_chunks_mut::<2>().0.iter_mut().take(VECTORS).enumerate() {
        // OUT vector, AL; HLT.
        stub[0] = 0xe6 | (vector as u64) << 8 | 0xf4 << 16;
    }
    Ok(pages)
}
