//! Which instructions the software CPU claims, and which of those the host can be asked about.

use iced_x86::{Code, CpuidFeature as F, EncodingKind, Mnemonic as M, OpCodeOperandKind as K, Register};

/// CPUID features whose instructions the software CPU executes.
const CLAIMED: [F; 33] = [
    F::INTEL8086,
    F::INTEL186,
    F::INTEL286,
    F::INTEL386,
    F::INTEL486,
    F::X64,
    F::CMOV,
    F::CMPXCHG16B,
    F::CPUID,
    F::CX8,
    F::CLFSH,
    F::FPU,
    F::FPU287,
    F::FPU387,
    F::FXSR,
    F::LZCNT,
    F::MOVBE,
    F::MMX,
    F::MSR,
    F::MULTIBYTENOP,
    F::PAUSE,
    F::POPCNT,
    F::PREFETCHW,
    F::SSE,
    F::SSE2,
    F::SSE3,
    F::SSSE3,
    F::SSE4_1,
    F::SSE4_2,
    F::TSC,
    F::SYSCALL,
    F::SEP,
    F::RDTSCP,
];

/// The x87 instructions that compute nothing.
const X87: [M; 8] = [M::Fninit, M::Fnclex, M::Fldcw, M::Fnstcw, M::Fnstsw, M::Wait, M::Emms, M::Nop];

/// The vector extensions after SSE2.
const VECTORS: [(F, &str); 4] =
    [(F::SSE3, "sse3"), (F::SSSE3, "ssse3"), (F::SSE4_1, "sse4.1"), (F::SSE4_2, "sse4.2")];

/// A group for the coverage table.
pub fn family(code: Code) -> &'static str {
    let features = code.cpuid_features();
    let info = code.op_code();
    if info.is_privileged() || info.may_require_cpl0() || info.is_input_output() {
        "privileged (#GP)"
    } else if uses_mmx(code) {
        "mmx"
    } else if code.mnemonic() == M::Fisttp {
        "x87"
    } else if let Some((_, name)) = VECTORS.iter().find(|(feature, _)| features.contains(feature)) {
        name
    } else if features.contains(&F::SSE) {
        "sse"
    } else if features.contains(&F::SSE2) {
        "sse2"
    } else if features.iter().any(|f| matches!(f, F::FPU | F::FPU287 | F::FPU387 | F::FXSR)) {
        if X87.contains(&code.mnemonic()) || features.contains(&F::FXSR) { "x87 control" } else { "x87" }
    } else if info.op_kinds().iter().any(|k| matches!(k, K::seg_rSI | K::es_rDI)) {
        "string"
    } else if matches!(
        code.flow_control(),
        iced_x86::FlowControl::ConditionalBranch
            | iced_x86::FlowControl::UnconditionalBranch
            | iced_x86::FlowControl::IndirectBranch
            | iced_x86::FlowControl::Call
            | iced_x86::FlowControl::IndirectCall
            | iced_x86::FlowControl::Return
    ) {
        "branch"
    } else if info.is_stack_instruction() {
        "stack"
    } else if writes_flags(code) {
        "integer, flags"
    } else {
        "integer, moves"
    }
}

/// Whether prefixes may be put before a code as chance has it: those of the two-byte and three-byte opcode maps whose
/// meaning hangs on them.
pub fn takes_stray_prefixes(code: Code) -> bool {
    use iced_x86::OpCodeTableKind as T;
    let map = matches!(code.op_code().table(), T::T0F | T::T0F38 | T::T0F3A);
    map && !matches!(family(code), "privileged (#GP)" | "branch" | "stack" | "x87" | "x87 control")
}

/// Whether the x87's state is part of what a code sees or changes: x87, MMX, and what saves them.
pub fn uses_fpu(code: Code) -> bool {
    let features = code.cpuid_features();
    uses_mmx(code)
        || features.iter().any(|f| matches!(f, F::FPU | F::FPU287 | F::FPU387 | F::FXSR))
        || matches!(code.mnemonic(), M::Fisttp)
}

/// Whether a code names an MMX register, or leaves MMX mode.
pub fn uses_mmx(code: Code) -> bool {
    let mmx = |kind: &K| matches!(kind, K::mm_reg | K::mm_rm | K::mm_or_mem);
    code.mnemonic() == M::Emms || code.op_code().op_kinds().iter().any(mmx)
}

fn writes_flags(code: Code) -> bool {
    let mut instruction = iced_x86::Instruction::default();
    instruction.set_code(code);
    instruction.rflags_modified() != 0
}

/// Every code that the software CPU claims to execute in 64-bit mode.
pub fn supported() -> Vec<Code> {
    Code::values().filter(|&code| is_supported(code)).collect()
}

/// Whether the software CPU claims a code.
pub fn is_supported(code: Code) -> bool {
    let info = code.op_code();
    if !info.is_instruction() || !info.mode64() || info.encoding() != EncodingKind::Legacy || info.fwait() {
        return false;
    }
    // Near branches with an operand-size prefix: the decoder is told to do as Intel does, which is to ignore it.
    if !info.intel_decoder64() || info.decoder_option() != 0 || info.is_reserved_nop() {
        return false;
    }
    if info.op_kinds().iter().any(|k| matches!(k, K::bnd_reg | K::bnd_or_mem_mpx | K::tr_reg)) {
        return false;
    }
    if matches!(code.mnemonic(), M::Endbr64 | M::Endbr32 | M::Tzcnt | M::Fisttp)
        || X87.contains(&code.mnemonic())
    {
        return true;
    }
    if matches!(code.mnemonic(), M::Loadall | M::Getsec | M::Umov) {
        return false;
    }
    code.cpuid_features().iter().all(|f| CLAIMED.contains(f))
}

/// Why the host cannot be asked about a code that is supported.
pub fn not_testable(code: Code) -> Option<&'static str> {
    let info = code.op_code();
    let there = match code.mnemonic() {
        M::Lzcnt => is_x86_feature_detected!("lzcnt"),
        M::Movbe => is_x86_feature_detected!("movbe"),
        M::Popcnt => is_x86_feature_detected!("popcnt"),
        _ if code.cpuid_features().contains(&F::SSE3) => is_x86_feature_detected!("sse3"),
        _ if code.cpuid_features().contains(&F::SSSE3) => is_x86_feature_detected!("ssse3"),
        _ if code.cpuid_features().contains(&F::SSE4_1) => is_x86_feature_detected!("sse4.1"),
        _ if code.cpuid_features().contains(&F::SSE4_2) => is_x86_feature_detected!("sse4.2"),
        M::Tzcnt => is_x86_feature_detected!("bmi1"),
        _ => true,
    };
    if !there {
        return Some("the host does not have it");
    }
    match code.mnemonic() {
        M::Cpuid | M::Rdtsc | M::Rdtscp => return Some("its result is the machine's own"),
        M::Syscall | M::Sysenter => return Some("enters the host's kernel"),
        M::Int | M::Int1 | M::Int3 => return Some("the host's kernel takes the interrupt"),
        M::Iret | M::Iretd | M::Iretq | M::Retf | M::Lss | M::Lfs | M::Lgs => {
            return Some("loads segment registers that the host process needs");
        }
        M::Call | M::Jmp if code.is_call_far_indirect() || code.is_jmp_far_indirect() => {
            return Some("loads segment registers that the host process needs");
        }
        M::Lar | M::Lsl | M::Verr | M::Verw => return Some("depends on the host's descriptor tables"),
        M::Sgdt | M::Sidt | M::Sldt | M::Str | M::Smsw => {
            return Some("the host may forbid or emulate it (UMIP)");
        }
        M::Rcpps | M::Rcpss | M::Rsqrtps | M::Rsqrtss => return Some("a fixed table of our own"),
        M::Swapgs | M::Sysret | M::Sysretq | M::Sysexit | M::Sysexitq | M::Rsm => {
            return Some("vendors differ in how it fails outside the kernel");
        }
        M::Mov if info.op0_kind() == K::seg_reg => {
            return Some("loads segment registers that the host process needs");
        }
        M::Pop if matches!(info.op0_kind(), K::fs | K::gs) => {
            return Some("loads segment registers that the host process needs");
        }
        _ => {}
    }
    if !info.amd_decoder64() {
        return Some("vendors decode it differently");
    }
    if matches!(code, Code::Popw_FS | Code::Popw_GS | Code::Popq_FS | Code::Popq_GS) {
        return Some("loads segment registers that the host process needs");
    }
    None
}

/// Whether a code's result is an approximation of each processor's own, close to the true one.
pub fn is_approximate(code: Code) -> bool {
    matches!(
        code.mnemonic(),
        M::F2xm1 | M::Fyl2x | M::Fyl2xp1 | M::Fptan | M::Fpatan | M::Fsin | M::Fcos | M::Fsincos
    )
}

/// A register of the class that an operand kind names, by number (0 to 15).
pub fn register(kind: K, number: u32, legacy_byte: bool) -> Option<Register> {
    let base = match kind {
        K::r8_reg | K::r8_opcode | K::r8_or_mem => {
            return Some(match (number, legacy_byte) {
                (4..8, true) => Register::AH + (number - 4),
                (0..4, _) => Register::AL + number,
                _ => Register::SPL + (number - 4),
            });
        }
        K::r16_reg | K::r16_reg_mem | K::r16_rm | K::r16_opcode | K::r16_or_mem => Register::AX,
        K::r32_reg | K::r32_reg_mem | K::r32_rm | K::r32_opcode | K::r32_or_mem => Register::EAX,
        K::r64_reg | K::r64_reg_mem | K::r64_rm | K::r64_opcode | K::r64_or_mem => Register::RAX,
        K::xmm_reg | K::xmm_rm | K::xmm_or_mem => Register::XMM0,
        K::mm_reg | K::mm_rm | K::mm_or_mem => return Some(Register::MM0 + number % 8),
        K::seg_reg => return Some(Register::ES + number % 6),
        K::cr_reg => {
            return Some([Register::CR0, Register::CR2, Register::CR3, Register::CR4][number as usize % 4]);
        }
        K::dr_reg => {
            return Some([Register::DR0, Register::DR3, Register::DR6, Register::DR7][number as usize % 4]);
        }
        K::es => return Some(Register::ES),
        K::cs => return Some(Register::CS),
        K::ss => return Some(Register::SS),
        K::ds => return Some(Register::DS),
        K::fs => return Some(Register::FS),
        K::gs => return Some(Register::GS),
        K::al => return Some(Register::AL),
        K::cl => return Some(Register::CL),
        K::ax => return Some(Register::AX),
        K::dx => return Some(Register::DX),
        K::eax => return Some(Register::EAX),
        K::rax => return Some(Register::RAX),
        K::st0 => return Some(Register::ST0),
        K::sti_opcode => return Some(Register::ST0 + number % 8),
        _ => return None,
    };
    Some(base + number)
}
