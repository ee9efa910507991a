//! Native execution in this process, from a place in the code area to the first trap.

use std::arch::global_asm;
use std::ptr::{addr_of, addr_of_mut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use replayvm::engine::kvm::translate::{Area, Layout, Slots, TABLE_BYTES};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};

use crate::machine::{ARENA, CODE, CODE_LEN, CONSTANT, DATA, GS_BASE, HEAP, HEAP_LEN, STACK, USER_LEN};
use crate::place::{FAR, LAYOUT};

/// All registers that an instruction can see. The layout is known to the trampoline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Registers {
    /// An FXSAVE image.
    pub fx: [u8; 512],
    /// In encoding order.
    pub gpr: [u64; 16],
    pub rflags: u64,
    pub rip: u64,
    host_rsp: u64,
}

impl Registers {
    pub const fn new() -> Self {
        let mut fx = [0; 512];
        fx[0] = 0x7f;
        fx[1] = 3;
        Self { fx, gpr: [0; 16], rflags: 0x202, rip: 0, host_rsp: 0 }
    }

    pub fn xmm(&self, index: usize) -> u128 {
        let at = 160 + 16 * index;
        u128::from_le_bytes(self.fx[at..at + 16].try_into().unwrap())
    }

    pub fn set_xmm(&mut self, index: usize, value: u128) {
        let at = 160 + 16 * index;
        self.fx[at..at + 16].copy_from_slice(&value.to_le_bytes());
    }

    pub fn mxcsr(&self) -> u32 {
        u32::from_le_bytes(self.fx[24..28].try_into().unwrap())
    }

    pub fn set_mxcsr(&mut self, value: u32) {
        self.fx[24..28].copy_from_slice(&value.to_le_bytes());
    }
}

/// What ended the native run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trap {
    pub vector: u8,
    pub error_code: u32,
    pub cr2: u64,
}

unsafe extern "C" {
    fn replayvm_translate_enter(registers: *mut Registers);
    fn replayvm_translate_recover();
}

global_asm!(
    ".pushsection .data",
    "replayvm_translate_target: .quad 0",
    "replayvm_translate_mxcsr: .long 0x1f80",
    ".popsection",
    ".globl replayvm_translate_enter",
    "replayvm_translate_enter:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [rdi + 656], rsp",
    "mov rax, [rdi + 648]",
    "mov [rip + replayvm_translate_target], rax",
    "fxrstor64 [rdi]",
    "push qword ptr [rdi + 640]",
    "popfq",
    "mov rax, [rdi + 512]",
    "mov rcx, [rdi + 520]",
    "mov rdx, [rdi + 528]",
    "mov rbx, [rdi + 536]",
    "mov rsp, [rdi + 544]",
    "mov rbp, [rdi + 552]",
    "mov rsi, [rdi + 560]",
    "mov r8, [rdi + 576]",
    "mov r9, [rdi + 584]",
    "mov r10, [rdi + 592]",
    "mov r11, [rdi + 600]",
    "mov r12, [rdi + 608]",
    "mov r13, [rdi + 616]",
    "mov r14, [rdi + 624]",
    "mov r15, [rdi + 632]",
    "mov rdi, [rdi + 568]",
    "jmp qword ptr [rip + replayvm_translate_target]",
    ".globl replayvm_translate_recover",
    "replayvm_translate_recover:",
    "cld",
    "fninit",
    "ldmxcsr [rip + replayvm_translate_mxcsr]",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
);

/// Whether the signals are ours.
static RUNNING: AtomicBool = AtomicBool::new(false);
static mut REGISTERS: Registers = Registers::new();
static mut TRAP: Trap = Trap { vector: 0, error_code: 0, cr2: 0 };

/// `gregs` indices of the general registers in encoding order.
const GREGS: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

extern "C" fn on_signal(signal: libc::c_int, _info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    if !RUNNING.swap(false, Ordering::Relaxed) {
        // SAFETY: restoring the default action is async-signal-safe; on return the fault repeats and ends the process.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    // SAFETY: the kernel passes a valid ucontext to an SA_SIGINFO handler; `fpregs` points to an FXSAVE image on x86-64.
    // The statics are not borrowed elsewhere while RUNNING is set, and one thread at a time runs native code.
    unsafe {
        let mcontext = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext;
        let gregs = &mut mcontext.gregs;
        let out = addr_of_mut!(REGISTERS);
        for (register, index) in (*out).gpr.iter_mut().zip(GREGS) {
            *register = gregs[index as usize] as u64;
        }
        (*out).rip = gregs[libc::REG_RIP as usize] as u64;
        (*out).rflags = gregs[libc::REG_EFL as usize] as u64;
        std::ptr::copy_nonoverlapping(mcontext.fpregs.cast::<u8>(), addr_of_mut!((*out).fx).cast(), 512);
        TRAP = Trap {
            vector: gregs[libc::REG_TRAPNO as usize] as u8,
            error_code: gregs[libc::REG_ERR as usize] as u32,
            cr2: gregs[libc::REG_CR2 as usize] as u64,
        };
        gregs[libc::REG_RIP as usize] = replayvm_translate_recover as *const () as i64;
        gregs[libc::REG_RSP as usize] = (*out).host_rsp as i64;
        gregs[libc::REG_EFL as usize] = 0x202;
    }
}

/// Memory, mapped once for all tests.
static MAPPED: OnceLock<Result<(), String>> = OnceLock::new();
/// Who runs native code.
static TURN: Mutex<()> = Mutex::new(());

fn map(at: u64, len: usize, protection: ProtFlags) -> Result<(), String> {
    let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
    // SAFETY: NOREPLACE maps where nothing is mapped yet.
    let place = unsafe { mmap_anonymous(at as *mut _, len, protection, flags) }
        .map_err(|e| format!("cannot map {at:#x}: {e}"))?;
    if place as u64 == at { Ok(()) } else { Err(format!("mapped {place:p} instead of {at:#x}")) }
}

fn map_all() -> Result<(), String> {
    map(ARENA, USER_LEN, ProtFlags::empty())?;
    for layout in [LAYOUT, FAR] {
        let all = ProtFlags::READ | ProtFlags::WRITE | ProtFlags::EXEC;
        map(layout.code, layout.code_bytes, all)?;
        map(layout.slots, 4096, ProtFlags::READ | ProtFlags::WRITE)?;
        map(layout.table, TABLE_BYTES, ProtFlags::READ | ProtFlags::WRITE)?;
    }
    Ok(())
}

/// Memory of the guest at its own addresses, and the signal handlers. One at a time.
pub struct Native {
    layout: Layout,
    _alternate_stack: Vec<u8>,
    _turn: MutexGuard<'static, ()>,
}

impl Native {
    /// Maps and installs. An error says why native execution is impossible here.
    pub fn new(layout: Layout) -> Result<Self, String> {
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        MAPPED.get_or_init(map_all).clone()?;
        let mut alternate_stack = vec![0u8; 1 << 17];
        let stack = libc::stack_t {
            ss_sp: alternate_stack.as_mut_ptr().cast(),
            ss_flags: 0,
            ss_size: alternate_stack.len(),
        };
        // SAFETY: the alternate stack lives as long as this value, which does not leave its thread; the handler has the
        // SA_SIGINFO signature. GS is unused by 64-bit Linux processes.
        unsafe {
            if libc::sigaltstack(&stack, std::ptr::null_mut()) != 0 {
                return Err("sigaltstack failed".into());
            }
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            for signal in [libc::SIGFPE, libc::SIGSEGV, libc::SIGILL, libc::SIGBUS, libc::SIGTRAP] {
                if libc::sigaction(signal, &action, std::ptr::null_mut()) != 0 {
                    return Err("sigaction failed".into());
                }
            }
            const ARCH_SET_GS: libc::c_int = 0x1001;
            if libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, GS_BASE) != 0 {
                return Err("arch_prctl failed".into());
            }
        }
        let mut native = Self { layout, _alternate_stack: alternate_stack, _turn: turn };
        native.protect(CODE, CODE_LEN, true, false);
        for page in [DATA, DATA + 0x1000, CONSTANT, STACK] {
            native.protect(page, 0x1000, true, page != CONSTANT);
        }
        native.protect(HEAP, HEAP_LEN, true, true);
        Ok(native)
    }

    /// The base of FS: the thread's local storage.
    pub fn fs_base(&self) -> u64 {
        const ARCH_GET_FS: libc::c_int = 0x1003;
        let mut base = 0u64;
        // SAFETY: writes one u64 to a valid place.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_GET_FS, &raw mut base) };
        base
    }

    /// Makes pages of guest memory accessible, or not.
    pub fn protect(&mut self, at: u64, len: usize, read: bool, write: bool) {
        assert!(at >= ARENA && at + len as u64 <= ARENA + USER_LEN as u64);
        let mut flags = MprotectFlags::empty();
        flags.set(MprotectFlags::READ, read);
        flags.set(MprotectFlags::WRITE, write);
        // SAFETY: within the arena, of which no reference is held.
        unsafe { mprotect(at as *mut _, len, flags) }.unwrap();
    }

    /// Makes pages of guest memory executable, for code that is not translated.
    pub fn execute(&mut self, at: u64, len: usize) {
        assert!(at >= ARENA && at + len as u64 <= ARENA + USER_LEN as u64);
        // SAFETY: within the arena, of which no reference is held.
        unsafe { mprotect(at as *mut _, len, MprotectFlags::READ | MprotectFlags::EXEC) }.unwrap();
    }

    /// Copies to guest memory that can be written.
    pub fn copy(&mut self, at: u64, bytes: &[u8]) {
        assert!(at >= ARENA && at + bytes.len() as u64 <= ARENA + USER_LEN as u64);
        // SAFETY: mapped, and writable, as the caller has it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()) };
    }

    /// Copies to guest memory; the pages are left with these protections.
    pub fn write(&mut self, at: u64, bytes: &[u8], writable: bool) {
        self.protect(at, bytes.len(), true, true);
        // SAFETY: mapped and writable.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()) };
        self.protect(at, bytes.len(), true, writable);
    }

    /// Readable guest memory.
    pub fn read(&self, at: u64, len: usize) -> &[u8] {
        assert!(at >= ARENA && at + len as u64 <= ARENA + USER_LEN as u64);
        // SAFETY: mapped; the caller has not protected it.
        unsafe { std::slice::from_raw_parts(at as *const u8, len) }
    }

    /// Whether there is memory at an address that is this process's own.
    pub fn is_ours(&self, address: u64) -> bool {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let outside = !(ARENA..ARENA + USER_LEN as u64).contains(&address);
        outside
            && maps.lines().filter_map(|line| line.split_once(' ')?.0.split_once('-')).any(|(from, to)| {
                let number = |text| u64::from_str_radix(text, 16).unwrap();
                (number(from)..number(to)).contains(&address)
            })
    }

    /// The memory of the translator.
    pub fn area(&mut self) -> Area<'_> {
        // SAFETY: mapped for good, and this value is the only way to it.
        unsafe {
            Area {
                code: std::slice::from_raw_parts_mut(self.layout.code as *mut u8, self.layout.code_bytes),
                slots: &mut *(self.layout.slots as *mut Slots),
                table: std::slice::from_raw_parts_mut(self.layout.table as *mut u8, TABLE_BYTES),
            }
        }
    }

    /// Runs from `input.rip` to the first trap.
    pub fn run(&mut self, input: &Registers) -> (Registers, Trap) {
        // SAFETY: what is run is a translation, or code of the test, every way out of which ends in a trap. The trampoline
        // saves and restores what the ABI wants preserved; the statics are used by one thread at a time (`TURN`).
        unsafe {
            REGISTERS = *input;
            RUNNING.store(true, Ordering::Relaxed);
            replayvm_translate_enter(addr_of_mut!(REGISTERS));
            (*addr_of!(REGISTERS), *addr_of!(TRAP))
        }
    }
}
