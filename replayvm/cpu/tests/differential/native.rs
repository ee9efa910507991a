//! The host processor as an oracle: runs one instruction natively, with every register given, and says what came out.
//!
//! The arena of `common` is mapped at its own address. A trampoline loads all registers and jumps to the instruction;
//! whatever it does ends in a signal (INT3 behind it and at every branch target, or its own fault), whose handler
//! copies the registers out of the signal frame and returns to the trampoline's end.

use std::arch::global_asm;
use std::ptr::{addr_of, addr_of_mut};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};

use crate::common::{ARENA, CODE, CODE_LEN, USER_LEN, WINDOW, WINDOW_LEN};

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
        Self { fx: [0; 512], gpr: [0; 16], rflags: 0x202, rip: 0, host_rsp: 0 }
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

    /// x87 control word, status word and abridged tag word.
    pub fn x87(&self) -> [u16; 3] {
        [0, 2, 4].map(|at| u16::from_le_bytes([self.fx[at], self.fx[at + 1]]))
    }

    pub fn set_st(&mut self, index: usize, value: u128) {
        let at = 32 + 16 * index;
        self.fx[at..at + 10].copy_from_slice(&value.to_le_bytes()[..10]);
    }

    /// ST(`index`) as an 80-bit image.
    pub fn st(&self, index: usize) -> u128 {
        let at = 32 + 16 * index;
        u128::from_le_bytes(self.fx[at..at + 16].try_into().unwrap()) & ((1 << 80) - 1)
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
    fn replayvm_diff_enter(registers: *mut Registers);
    fn replayvm_diff_recover();
}

global_asm!(
    ".pushsection .data",
    "replayvm_diff_target: .quad 0",
    "replayvm_diff_mxcsr: .long 0x1f80",
    ".popsection",
    ".globl replayvm_diff_enter",
    "replayvm_diff_enter:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [rdi + 656], rsp",
    "mov rax, [rdi + 648]",
    "mov [rip + replayvm_diff_target], rax",
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
    "jmp qword ptr [rip + replayvm_diff_target]",
    ".globl replayvm_diff_recover",
    "replayvm_diff_recover:",
    "cld",
    "fninit",
    "ldmxcsr [rip + replayvm_diff_mxcsr]",
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
    // The statics are not borrowed elsewhere while RUNNING is set, and there is one thread that runs native code.
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
        gregs[libc::REG_RIP as usize] = replayvm_diff_recover as *const () as i64;
        gregs[libc::REG_RSP as usize] = (*out).host_rsp as i64;
        gregs[libc::REG_EFL as usize] = 0x202;
    }
}

/// The arena, mapped at its own address, and the signal handlers. One at a time, on one thread.
pub struct Native {
    _alternate_stack: Vec<u8>,
}

impl Native {
    /// Maps and installs. An error says why native execution is impossible here.
    pub fn new(gs_base: u64) -> Result<Self, String> {
        // SAFETY: NOREPLACE maps where nothing is mapped yet; the protections set are within that mapping.
        unsafe {
            let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
            let arena = mmap_anonymous(ARENA as *mut _, USER_LEN, ProtFlags::empty(), flags)
                .map_err(|e| format!("cannot map {ARENA:#x}: {e}"))?;
            if arena as u64 != ARENA {
                return Err(format!("mapped {arena:p} instead of {ARENA:#x}"));
            }
            let data = MprotectFlags::READ | MprotectFlags::WRITE;
            mprotect(WINDOW as *mut _, WINDOW_LEN, data)
                .and_then(|()| mprotect(CODE as *mut _, CODE_LEN, data | MprotectFlags::EXEC))
                .map_err(|e| format!("cannot make memory executable: {e}"))?;
        }
        let mut alternate_stack = vec![0u8; 1 << 17];
        let stack = libc::stack_t {
            ss_sp: alternate_stack.as_mut_ptr().cast(),
            ss_flags: 0,
            ss_size: alternate_stack.len(),
        };
        // SAFETY: the alternate stack lives as long as this value; the handler has the SA_SIGINFO signature. GS is unused
        // by 64-bit Linux processes.
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
            if libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, gs_base) != 0 {
                return Err("arch_prctl failed".into());
            }
        }
        Ok(Self { _alternate_stack: alternate_stack })
    }

    /// The base of FS: the thread's local storage.
    pub fn fs_base(&self) -> u64 {
        const ARCH_GET_FS: libc::c_int = 0x1003;
        let mut base = 0u64;
        // SAFETY: writes one u64 to a valid place.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_GET_FS, &raw mut base) };
        base
    }

    /// The data window.
    pub fn window(&mut self) -> &mut [u8] {
        // SAFETY: mapped readable and writable by `new`, and this value is the only way to it.
        unsafe { std::slice::from_raw_parts_mut(WINDOW as *mut u8, WINDOW_LEN) }
    }

    /// The code page.
    pub fn code(&mut self) -> &mut [u8] {
        // SAFETY: as for `window`.
        unsafe { std::slice::from_raw_parts_mut(CODE as *mut u8, CODE_LEN) }
    }

    /// Runs from `input.rip` to the first trap.
    pub fn run(&mut self, input: &Registers) -> (Registers, Trap) {
        // SAFETY: the caller has made sure that the instruction touches nothing outside the arena (`generate`) and every
        // way out of it ends in a trap. The trampoline saves and restores what the ABI wants preserved; the statics are
        // used by this thread alone.
        unsafe {
            REGISTERS = *input;
            RUNNING.store(true, Ordering::Relaxed);
            replayvm_diff_enter(addr_of_mut!(REGISTERS));
            (*addr_of!(REGISTERS), *addr_of!(TRAP))
        }
    }
}
