//! Ordinary instructions: their outcome depends on registers and memory alone, and every processor executes them alike, but for
//! what the manuals leave undefined.

use iced_x86::{CpuidFeature, Instruction, Mnemonic, OpKind};
use replayvm_cpu::Mode;

/// Bytes of RCX, RSI and RDI that a string instruction uses.
pub(super) fn address_size(insn: &Instruction) -> usize {
    let kinds = (0..insn.op_count()).map(|i| insn.op_kind(i));
    kinds
        .filter_map(|kind| match kind {
            OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI => Some(2),
            OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => Some(4),
            OpKind::MemorySegRSI | OpKind::MemorySegRDI | OpKind::MemoryESRDI => Some(8),
            _ => None,
        })
        .next()
        .unwrap_or(8)
}

/// SSE to SSE4.2 on XMM registers (and CRC32), but for what is computed by approximation, what loads or stores MXCSR, and
/// what also touches the x87 registers. A host that does not have the instruction says #UD, and the software CPU goes on.
pub(super) fn vector(insn: &Instruction) -> bool {
    use CpuidFeature as F;
    use Mnemonic as M;
    let known = |f: &F| matches!(f, F::SSE | F::SSE2 | F::SSE3 | F::SSSE3 | F::SSE4_1 | F::SSE4_2);
    let known = insn.cpuid_features().iter().all(known);
    let odd = matches!(
        insn.mnemonic(),
        M::Rcpps
            | M::Rcpss
            | M::Rsqrtps
            | M::Rsqrtss
            | M::Ldmxcsr
            | M::Stmxcsr
            | M::Maskmovdqu
            | M::Cvtpi2ps
            | M::Cvtpi2pd
            | M::Sfence
            | M::Lfence
            | M::Mfence
            | M::Pause
            | M::Clflush
            | M::Prefetchnta
            | M::Prefetcht0
            | M::Prefetcht1
            | M::Prefetcht2
            | M::Movnti
            // x87, though it came with SSE3.
            | M::Fisttp
    );
    let touches_mmx =
        (0..insn.op_count()).any(|i| insn.op_kind(i) == OpKind::Register && insn.op_register(i).is_mm());
    known && !odd && !touches_mmx
}

pub(super) fn integer(insn: &Instruction, code: &[u8], mode: Mode) -> bool {
    use Mnemonic as M;
    let special = (0..insn.op_count()).any(|i| {
        insn.op_kind(i) == OpKind::Register && {
            let register = insn.op_register(i);
            register.is_segment_register() || register.is_cr() || register.is_dr() || register.is_tr()
        }
    });
    if special {
        return false;
    }
    match insn.mnemonic() {
        // `0f 1f` and `90`; the hints among the reserved NOPs are stepped over by some emulators.
        M::Nop => true,
        M::Mov | M::Movzx | M::Movsx | M::Movsxd | M::Movnti | M::Xchg | M::Lea => true,
        // An emulator that may not have it raises #UD, for which real mode needs no table: a handler would run unseen.
        M::Movbe => mode != Mode::Real,
        // With 16 bits the result is undefined.
        M::Bswap => insn.op0_register().size() != 2,
        M::Cbw | M::Cwde | M::Cdqe | M::Cwd | M::Cdq | M::Cqo | M::Xlatb => true,
        M::Lahf | M::Sahf | M::Clc | M::Stc | M::Cmc | M::Cld | M::Std => true,
        M::Add | M::Adc | M::Sub | M::Sbb | M::And | M::Or | M::Xor | M::Cmp | M::Test => true,
        M::Inc | M::Dec | M::Neg | M::Not => true,
        M::Rol | M::Ror | M::Rcl | M::Rcr | M::Shl | M::Sal | M::Shr | M::Sar | M::Shld | M::Shrd => true,
        M::Mul | M::Imul | M::Div | M::Idiv => true,
        M::Bt | M::Bts | M::Btr | M::Btc | M::Bsf | M::Bsr | M::Tzcnt | M::Lzcnt | M::Popcnt => true,
        M::Movsb | M::Movsw | M::Movsd | M::Movsq => true,
        M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq => true,
        M::Stosb | M::Stosw | M::Stosd | M::Stosq => true,
        M::Lodsb | M::Lodsw | M::Lodsd | M::Lodsq => true,
        M::Scasb | M::Scasw | M::Scasd | M::Scasq => true,
        M::Push | M::Pop | M::Pusha | M::Pushad | M::Popa | M::Popad | M::Leave => true,
        M::Enter => insn.immediate8_2nd() == 0,
        M::Cmpxchg | M::Cmpxchg8b | M::Xadd => true,
        M::Aaa | M::Aas | M::Daa | M::Das | M::Aam | M::Aad => true,
        M::Call | M::Jmp | M::Ret => near(insn, code, mode),
        _ if insn.is_jcc_short_or_near() || insn.is_loop() || insn.is_loopcc() || insn.is_jcx_short() => {
            near(insn, code, mode)
        }
        mnemonic => cmov_or_set(mnemonic),
    }
}

fn cmov_or_set(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Cmova
            | M::Cmovae
            | M::Cmovb
            | M::Cmovbe
            | M::Cmove
            | M::Cmovg
            | M::Cmovge
            | M::Cmovl
            | M::Cmovle
            | M::Cmovne
            | M::Cmovno
            | M::Cmovnp
            | M::Cmovns
            | M::Cmovo
            | M::Cmovp
            | M::Cmovs
            | M::Seta
            | M::Setae
            | M::Setb
            | M::Setbe
            | M::Sete
            | M::Setg
            | M::Setge
            | M::Setl
            | M::Setle
            | M::Setne
            | M::Setno
            | M::Setnp
            | M::Setns
            | M::Seto
            | M::Setp
            | M::Sets
    )
}

/// A near branch that means the same to every processor: with an operand-size prefix in 64-bit mode it does not, nor (LOOPE)
/// with a repeat prefix.
fn near(insn: &Instruction, code: &[u8], mode: Mode) -> bool {
    let far =
        insn.is_jmp_far() || insn.is_call_far() || insn.is_jmp_far_indirect() || insn.is_call_far_indirect();
    let odd = |b: &u8| matches!(b, 0xf2 | 0xf3) || (*b == 0x66 && mode == Mode::Long64);
    !far && !prefixes(code, mode).any(odd)
}

/// The legacy prefixes; REX prefixes may lie between them.
pub(super) fn prefixes(code: &[u8], mode: Mode) -> impl Iterator<Item = &u8> {
    let rex = move |b: &u8| mode == Mode::Long64 && matches!(b, 0x40..=0x4f);
    let legacy = |b: &u8| matches!(b, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
    code.iter().take_while(move |b| legacy(b) || rex(b)).filter(move |b| legacy(b))
}

/// Whether an instruction has a segment prefix that 64-bit mode ignores; processors differ in whether a non-canonical address is
/// #GP or #SS then.
pub(super) fn has_ignored_segment(code: &[u8]) -> bool {
    prefixes(code, Mode::Long64).any(|b| matches!(b, 0x26 | 0x2e | 0x36 | 0x3e))
}
