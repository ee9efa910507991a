//! What instructions do, one family a file.
//!
//! A handler either completes or returns a [`Fault`] having changed nothing. The order inside each is therefore: read
//! operands, compute, write memory, then write registers and flags.

/// Addition, subtraction, logic and comparison.
mod alu;
/// Compare-and-exchange and exchange-and-add.
mod atomic;
/// Decimal adjustment.
mod bcd;
/// Single bits, and counting them.
mod bits;
/// Jumps, calls and returns within the code segment.
mod control;
/// Control and debug registers.
pub(crate) mod control_registers;
/// CRC32.
mod crc;
/// Data movement.
mod data;
/// Descriptors in memory: reading, checking, marking.
pub(crate) mod descriptor;
/// Jumps, calls and returns between code segments.
mod far;
/// Stacks other than by PUSH and POP.
pub(crate) mod frame;
/// Software interrupts and the return from all.
mod interrupt;
/// Port input and output.
mod io;
/// Loading data and stack segments.
mod load_segment;
/// MMX.
mod mmx;
/// Model-specific registers.
mod msr;
/// Multiplication and division.
mod multiply;
/// Operands: registers, memory, immediates.
pub(crate) mod operand;
/// Shifts and rotations.
mod shift;
/// SSE to SSE4.2.
mod sse;
/// The stack.
mod stack;
/// String instructions, alone and repeated.
mod string;
/// Fast system calls.
mod syscall;
/// Halting, counters, entropy, base registers.
mod system;
/// Descriptor tables, and questions about descriptors.
mod tables;
/// Task switches.
mod task;
/// The x87 FPU, FXSAVE and FXRSTOR.
mod x87;

use iced_x86::{Instruction, Mnemonic};

use crate::bus::{Bus, Moment};
use crate::fault::Fault;
use crate::flags::{Rflags, Width};
use crate::step::Cpu;

/// One instruction in execution.
pub(crate) struct Exec<'c, B> {
    pub(crate) cpu: &'c mut Cpu,
    pub(crate) bus: &'c mut B,
    pub(crate) insn: &'c Instruction,
    /// The moment of the boundary before this step.
    pub(crate) at: Moment,
}

/// Where control goes after an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// To the next instruction.
    Next,
    /// To a target within the code segment, already checked.
    Jump(u64),
    /// A conditional branch retired, taken to the target or not: a tick.
    Branch(Option<u64>),
    /// The handler has set CS and RIP.
    Transferred,
    /// To the same instruction again: a REP that has reached its limit of iterations.
    Again,
}

impl<B: Bus> Exec<'_, B> {
    /// Executes the instruction.
    pub(crate) fn execute(&mut self) -> Result<Flow, Fault> {
        use Mnemonic as M;
        match self.insn.mnemonic() {
            // Integer: data movement, arithmetic, shifts, bits, strings, stack.
            M::Nop | M::Pause | M::Reservednop | M::Endbr32 | M::Endbr64 | M::Rdsspd | M::Rdsspq => {
                Ok(Flow::Next)
            }
            M::Prefetch
            | M::Prefetchw
            | M::Prefetchwt1
            | M::Prefetchnta
            | M::Prefetcht0
            | M::Prefetcht1
            | M::Prefetcht2 => Ok(Flow::Next),
            M::Mov if !self.insn.op0_register().is_segment_register() && !self.touches_control() => {
                self.mov()
            }
            M::Movzx => self.movzx(),
            M::Movsx | M::Movsxd => self.movsx(),
            M::Movbe => self.movbe(),
            M::Movnti => self.mov(),
            M::Xchg => self.xchg(),
            M::Lea => self.lea(),
            M::Cmovo
            | M::Cmovno
            | M::Cmovb
            | M::Cmovae
            | M::Cmove
            | M::Cmovne
            | M::Cmovbe
            | M::Cmova
            | M::Cmovs
            | M::Cmovns
            | M::Cmovp
            | M::Cmovnp
            | M::Cmovl
            | M::Cmovge
            | M::Cmovle
            | M::Cmovg => self.cmov(),
            M::Seto
            | M::Setno
            | M::Setb
            | M::Setae
            | M::Sete
            | M::Setne
            | M::Setbe
            | M::Seta
            | M::Sets
            | M::Setns
            | M::Setp
            | M::Setnp
            | M::Setl
            | M::Setge
            | M::Setle
            | M::Setg => self.set(),
            M::Bswap => self.bswap(),
            M::Cbw => self.widen(Width::Byte, Width::Word),
            M::Cwde => self.widen(Width::Word, Width::Dword),
            M::Cdqe => self.widen(Width::Dword, Width::Qword),
            M::Cwd => self.spread_sign(Width::Word),
            M::Cdq => self.spread_sign(Width::Dword),
            M::Cqo => self.spread_sign(Width::Qword),
            M::Xlatb => self.xlat(),
            M::Lahf => self.lahf(),
            M::Sahf => self.sahf(),
            M::Salc => self.salc(),
            M::Clc => self.flag(Rflags::CF, false),
            M::Stc => self.flag(Rflags::CF, true),
            M::Cmc => self.cmc(),
            M::Cld => self.flag(Rflags::DF, false),
            M::Std => self.flag(Rflags::DF, true),
            M::Bound => self.bound(),
            M::Add => self.add(),
            M::Adc => self.adc(),
            M::Sub => self.sub(),
            M::Sbb => self.sbb(),
            M::And => self.and(),
            M::Or => self.or(),
            M::Xor => self.xor(),
            M::Cmp => self.cmp(),
            M::Test => self.test(),
            M::Inc => self.inc(),
            M::Dec => self.dec(),
            M::Neg => self.neg(),
            M::Not => self.not(),
            M::Rol => self.rol(),
            M::Ror => self.ror(),
            M::Rcl => self.rcl(),
            M::Rcr => self.rcr(),
            M::Shl | M::Sal => self.shl(),
            M::Shr => self.shr(),
            M::Sar => self.sar(),
            M::Shld => self.shld(),
            M::Shrd => self.shrd(),
            M::Mul => self.mul(),
            M::Imul => self.imul(),
            M::Div => self.div(),
            M::Idiv => self.idiv(),
            M::Bt => self.bt(),
            M::Bts => self.bts(),
            M::Btr => self.btr(),
            M::Btc => self.btc(),
            M::Bsf => self.bsf(),
            M::Bsr => self.bsr(),
            M::Tzcnt => self.tzcnt(),
            M::Lzcnt => self.lzcnt(),
            M::Popcnt => self.popcnt(),
            M::Crc32 => self.crc32(),
            M::Movsb | M::Movsw | M::Movsq => self.movs(),
            M::Movsd if self.insn.is_string_instruction() => self.movs(),
            M::Cmpsb | M::Cmpsw | M::Cmpsq => self.cmps(),
            M::Cmpsd if self.insn.is_string_instruction() => self.cmps(),
            M::Stosb | M::Stosw | M::Stosd | M::Stosq => self.stos(),
            M::Lodsb | M::Lodsw | M::Lodsd | M::Lodsq => self.lods(),
            M::Scasb | M::Scasw | M::Scasd | M::Scasq => self.scas(),
            M::Insb | M::Insw | M::Insd => self.ins(),
            M::Outsb | M::Outsw | M::Outsd => self.outs(),
            M::Push => self.push_operand(),
            M::Pop if !self.insn.op0_register().is_segment_register() => self.pop_operand(),
            M::Pusha | M::Pushad => self.pusha(),
            M::Popa | M::Popad => self.popa(),
            M::Enter => self.enter(),
            M::Leave => self.leave(),
            M::Pushf | M::Pushfd | M::Pushfq => self.pushf(),
            M::Popf | M::Popfd | M::Popfq => self.popf(),
            M::Cmpxchg => self.cmpxchg(),
            M::Cmpxchg8b => self.cmpxchg8b(),
            M::Cmpxchg16b => self.cmpxchg16b(),
            M::Xadd => self.xadd(),
            M::Aaa => self.aaa(),
            M::Aas => self.aas(),
            M::Daa => self.daa(),
            M::Das => self.das(),
            M::Aam => self.aam(),
            M::Aad => self.aad(),

            // Control transfer within and between segments.
            M::Jo | M::Jno | M::Jb | M::Jae | M::Je | M::Jne | M::Jbe | M::Ja => self.jump_if(),
            M::Js | M::Jns | M::Jp | M::Jnp | M::Jl | M::Jge | M::Jle | M::Jg => self.jump_if(),
            M::Jmp => self.jump(),
            M::Call => self.call(),
            M::Ret => self.near_return(),
            M::Retf => self.far_return(),
            M::Loop | M::Loope | M::Loopne => self.loop_if(),
            M::Jcxz | M::Jecxz | M::Jrcxz => self.jump_if_zero(),

            M::Int | M::Int3 | M::Into | M::Int1 => self.software_interrupt(),
            M::Iret | M::Iretd | M::Iretq => self.iret(),
            M::Syscall => self.syscall(),
            M::Sysret | M::Sysretq => self.sysret(),
            M::Sysenter => self.sysenter(),
            M::Sysexit | M::Sysexitq => self.sysexit(),

            // System: control registers, tables, segments, MSRs, ports, interrupts.
            M::Mov if self.insn.op0_register().is_segment_register() => self.mov_to_segment(),
            M::Mov => self.mov_control(),
            M::Pop => self.pop_segment(),
            M::Lds | M::Les | M::Lss | M::Lfs | M::Lgs => self.load_far_pointer(),
            M::Lmsw => self.load_machine_status(),
            M::Smsw => self.store_machine_status(),
            M::Clts => self.clear_task_switched(),
            M::Lgdt | M::Lidt => self.load_table(),
            M::Sgdt | M::Sidt => self.store_table(),
            M::Lldt => self.load_local_table(),
            M::Ltr => self.load_task(),
            M::Sldt | M::Str => self.store_selector(),
            M::Lar | M::Lsl => self.describe(),
            M::Verr | M::Verw => self.verify(),
            M::Arpl => self.adjust_level(),
            M::Cli | M::Sti => self.interrupt_flag(),
            M::Clac | M::Stac => self.access_flag(),
            M::Hlt => self.halt(),
            M::Cpuid => self.cpuid(),
            M::Rdtsc | M::Rdtscp => self.read_time(),
            M::Rdpmc => self.read_counter(),
            M::Rdrand | M::Rdseed => self.entropy(),
            M::Wbinvd | M::Wbnoinvd | M::Invd | M::Invlpg => self.invalidate(),
            M::Clflush => self.flush_line(),
            M::Swapgs => self.swap_gs(),
            M::Rdfsbase | M::Rdgsbase | M::Wrfsbase | M::Wrgsbase => self.base_register(),
            M::Rdmsr => self.read_msr(),
            M::Wrmsr => self.write_msr(),
            M::In => self.input(),
            M::Out => self.output(),

            mnemonic => match x87::family(mnemonic) {
                Some(family) => self.x87(family),
                // SSE and MMX.
                None => self.sse(),
            },
        }
    }
}
