//! From instructions to operations.
//!
//! Which handler an instruction gets is decided here. Three kinds: a handler of its own; the plain form's, in the
//! block; the plain form's, at the end of the block as a step of its own. The last is for everything that may change what
//! a block takes for granted, and for everything that nobody has thought about.

use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

use crate::access::canonical;
use crate::blocks::op::{ABSOLUTE, ANY, BASE, Handler, INDEXED, NO_REGISTER, Op};
use crate::blocks::ops::alu::{self, Form};
use crate::blocks::ops::{atomic, bits, boundary, control, data, nothing, shift, slow, stack};
use crate::bus::Bus;

/// Whether a block ends with an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// The next instruction follows in the block.
    No,
    /// It does not.
    Yes,
}

/// The number of a general register whose value begins at bit 0.
fn gpr(register: Register) -> Option<u8> {
    if matches!(register, Register::AH | Register::CH | Register::DH | Register::BH) || !register.is_gpr() {
        return None;
    }
    u8::try_from(register.full_register() as u32 - Register::RAX as u32).ok()
}

/// The memory operand put into the operation, and its shape.
fn memory<B>(insn: &Instruction, op: &mut Op<B>) -> Option<u8> {
    let (base, index) = (insn.memory_base(), insn.memory_index());
    op.disp = insn.memory_displacement64();
    op.base = NO_REGISTER;
    op.index = NO_REGISTER;
    if base != Register::None && base != Register::RIP {
        op.base = if base.is_gpr64() { gpr(base)? } else { return None };
    }
    if index != Register::None {
        op.index = if index.is_gpr64() { gpr(index)? } else { return None };
    }
    if base == Register::None && index == Register::None && insn.memory_displ_size() != 8 {
        return None;
    }
    op.shift = insn.memory_index_scale().trailing_zeros() as u8;
    op.segment = match insn.segment_prefix() {
        Register::FS => 1,
        Register::GS => 2,
        _ => 0,
    };
    Some(match (op.segment, op.base, op.index) {
        (0, NO_REGISTER, NO_REGISTER) => ABSOLUTE,
        (0, _, NO_REGISTER) => BASE,
        (0, 0..NO_REGISTER, _) => INDEXED,
        _ => ANY,
    })
}

/// Bytes of the integer operand `i`, if it has 1, 2, 4 or 8.
fn size(insn: &Instruction, i: u32) -> Option<usize> {
    let size = match insn.op_kind(i) {
        OpKind::Register => insn.op_register(i).size(),
        OpKind::Memory => insn.memory_size().size(),
        _ => return None,
    };
    matches!(size, 1 | 2 | 4 | 8).then_some(size)
}

fn is_immediate(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Immediate8
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64
    )
}

/// The immediate operand, which is all of it in its low 32 bits, sign-extended.
fn immediate(insn: &Instruction, i: u32) -> i32 {
    insn.immediate(i) as i32
}

/// The operation of an instruction, but for its place in the block, and whether the block ends with it.
pub(crate) fn operation<B: Bus>(insn: &Instruction) -> (Op<B>, Ends) {
    let mut op = Op {
        run: slow::<B>,
        disp: 0,
        imm: 0,
        dst: 0,
        src: 0,
        base: NO_REGISTER,
        index: NO_REGISTER,
        number: 0,
        shift: 0,
        segment: 0,
        flags: concerns_flags(insn),
        at: 0,
        end: 0,
    };
    if let Some(handler) = branch(insn, &mut op) {
        op.run = handler;
        return (op, Ends::Yes);
    }
    if !harmless(insn) {
        op.run = boundary::<B>;
        return (op, Ends::Yes);
    }
    if let Some(handler) = straight(insn, &mut op) {
        op.run = handler;
    }
    (op, Ends::No)
}

/// Whether the plain form's handler may read or write arithmetic flags.
fn concerns_flags(insn: &Instruction) -> bool {
    use Mnemonic as M;
    // The decoder knows counts by which a rotation comes round, and says that those change nothing.
    let rotates =
        matches!(insn.mnemonic(), M::Rol | M::Ror | M::Rcl | M::Rcr | M::Shl | M::Shr | M::Sar | M::Sal);
    rotates || insn.rflags_read() | insn.rflags_modified() != 0
}

/// Near transfers of control by 64-bit targets.
fn branch<B: Bus>(insn: &Instruction, op: &mut Op<B>) -> Option<Handler<B>> {
    let direct = insn.op_count() == 1 && insn.op0_kind() == OpKind::NearBranch64;
    if direct {
        op.disp = insn.near_branch_target();
        if !canonical(op.disp) {
            return None;
        }
        return match insn.mnemonic() {
            Mnemonic::Jmp => Some(control::jump::<B>),
            Mnemonic::Call => Some(control::call::<B>),
            _ if insn.is_jcc_short_or_near() => Some(control::jump_if(condition(insn))),
            // LOOP and JRCXZ.
            _ => Some(slow::<B>),
        };
    }
    match insn.code() {
        Code::Jmp_rm64 | Code::Call_rm64 => {
            let call = insn.code() == Code::Call_rm64;
            if insn.op0_kind() == OpKind::Register {
                op.src = gpr(insn.op0_register())?;
                Some(if call { control::call_register::<B> } else { control::jump_register::<B> })
            } else {
                memory(insn, op)?;
                Some(if call { control::call_memory::<B> } else { control::jump_memory::<B> })
            }
        }
        Code::Retnq => Some(control::ret::<B>),
        Code::Retnq_imm16 => {
            op.imm = i32::from(insn.immediate16());
            Some(control::ret::<B>)
        }
        _ => None,
    }
}

/// The number of a condition, as the instruction set has it.
fn condition(insn: &Instruction) -> u8 {
    use iced_x86::ConditionCode as C;
    match insn.condition_code() {
        C::o => 0,
        C::no => 1,
        C::b => 2,
        C::ae => 3,
        C::e => 4,
        C::ne => 5,
        C::be => 6,
        C::a => 7,
        C::s => 8,
        C::ns => 9,
        C::p => 10,
        C::np => 11,
        C::l => 12,
        C::ge => 13,
        C::le => 14,
        C::g | C::None => 15,
    }
}

/// Whether an instruction changes nothing but general registers, arithmetic flags, DF, memory, and the state of x87 and SSE.
fn harmless(insn: &Instruction) -> bool {
    use Mnemonic as M;
    if insn.flow_control() != iced_x86::FlowControl::Next || insn.is_privileged() {
        return false;
    }
    // Loads of segments, control, debug and test registers.
    let special = |register: Register| {
        register.is_segment_register() || register.is_cr() || register.is_dr() || register.is_tr()
    };
    if insn.op_count() != 0
        && (0..insn.op_count()).any(|i| insn.op_kind(i) == OpKind::Register && special(insn.op_register(i)))
    {
        return false;
    }
    !matches!(
        insn.mnemonic(),
        M::Popf
            | M::Popfd
            | M::Popfq
            | M::Lds
            | M::Les
            | M::Lss
            | M::Lfs
            | M::Lgs
            | M::Lmsw
            | M::Smsw
            | M::Clts
            | M::Lgdt
            | M::Lidt
            | M::Sgdt
            | M::Sidt
            | M::Lldt
            | M::Ltr
            | M::Sldt
            | M::Str
            | M::Lar
            | M::Lsl
            | M::Verr
            | M::Verw
            | M::Arpl
            | M::Cli
            | M::Sti
            | M::Clac
            | M::Stac
            | M::Hlt
            | M::Cpuid
            | M::Rdtsc
            | M::Rdtscp
            | M::Rdpmc
            | M::Rdpid
            | M::Rdrand
            | M::Rdseed
            | M::Wbinvd
            | M::Wbnoinvd
            | M::Invd
            | M::Invlpg
            | M::Clflush
            | M::Clflushopt
            | M::Swapgs
            | M::Rdfsbase
            | M::Rdgsbase
            | M::Wrfsbase
            | M::Wrgsbase
            | M::Rdmsr
            | M::Wrmsr
            | M::In
            | M::Out
            | M::Insb
            | M::Insw
            | M::Insd
            | M::Outsb
            | M::Outsw
            | M::Outsd
            | M::Monitor
            | M::Mwait
            | M::Xgetbv
            | M::Xsetbv
            | M::Xsave
            | M::Xsave64
            | M::Xrstor
            | M::Xrstor64
    )
}

/// Instructions with a handler of their own that do not branch.
fn straight<B: Bus>(insn: &Instruction, op: &mut Op<B>) -> Option<Handler<B>> {
    use Mnemonic as M;
    match insn.mnemonic() {
        M::Nop | M::Pause | M::Endbr64 | M::Endbr32 | M::Reservednop => Some(nothing::<B>),
        M::Mov => movement(insn, op),
        M::Movzx => widening(insn, op, false),
        M::Movsx | M::Movsxd => widening(insn, op, true),
        M::Lea => {
            op.dst = gpr(insn.op0_register())?;
            let shape = memory(insn, op)?;
            Some(data::load_address(size(insn, 0)?, shape))
        }
        M::Add => arithmetic(insn, op, alu::ADD),
        M::Or => arithmetic(insn, op, alu::OR),
        M::Adc => arithmetic(insn, op, alu::ADC),
        M::Sbb => arithmetic(insn, op, alu::SBB),
        M::And => arithmetic(insn, op, alu::AND),
        M::Sub => arithmetic(insn, op, alu::SUB),
        M::Xor => arithmetic(insn, op, alu::XOR),
        M::Cmp => arithmetic(insn, op, alu::CMP),
        M::Test => arithmetic(insn, op, alu::TEST),
        M::Inc => one_operand(insn, op, alu::INC),
        M::Dec => one_operand(insn, op, alu::DEC),
        M::Neg => one_operand(insn, op, alu::NEG),
        M::Not => one_operand(insn, op, alu::NOT),
        M::Rol => shifting(insn, op, shift::ROL),
        M::Ror => shifting(insn, op, shift::ROR),
        M::Shl | M::Sal => shifting(insn, op, shift::SHL),
        M::Shr => shifting(insn, op, shift::SHR),
        M::Sar => shifting(insn, op, shift::SAR),
        M::Bt => bit(insn, op, bits::BT),
        M::Bts => bit(insn, op, bits::BTS),
        M::Btr => bit(insn, op, bits::BTR),
        M::Btc => bit(insn, op, bits::BTC),
        M::Bsf | M::Bsr => {
            if insn.op1_kind() != OpKind::Register {
                return None;
            }
            (op.dst, op.src) = (gpr(insn.op0_register())?, gpr(insn.op1_register())?);
            Some(bits::scan_bits(insn.mnemonic() == M::Bsr, size(insn, 0)?))
        }
        M::Imul if insn.op_count() >= 2 => {
            op.dst = gpr(insn.op0_register())?;
            let by_constant = insn.op_count() == 3;
            if by_constant {
                op.imm = immediate(insn, 2);
            }
            let memory = match insn.op1_kind() {
                OpKind::Register => {
                    op.src = gpr(insn.op1_register())?;
                    false
                }
                _ => {
                    memory(insn, op)?;
                    true
                }
            };
            Some(bits::signed_multiply(size(insn, 0)?, memory, by_constant))
        }
        M::Push => match insn.code() {
            Code::Push_r64 => {
                op.src = gpr(insn.op0_register())?;
                Some(stack::of_register())
            }
            Code::Pushq_imm8 | Code::Pushq_imm32 => {
                op.imm = immediate(insn, 0);
                Some(stack::of_constant())
            }
            Code::Push_rm64 if insn.op0_kind() == OpKind::Register => {
                op.src = gpr(insn.op0_register())?;
                Some(stack::of_register())
            }
            Code::Push_rm64 => {
                memory(insn, op)?;
                Some(stack::of_memory())
            }
            _ => None,
        },
        M::Pop if matches!(insn.code(), Code::Pop_r64 | Code::Pop_rm64) => {
            op.dst = gpr(insn.op0_register())?;
            (insn.op0_kind() == OpKind::Register).then(stack::pop)
        }
        M::Leave if insn.code() == Code::Leaveq => Some(stack::leave()),
        M::Cwde => Some(data::accumulator(4)),
        M::Cdqe => Some(data::accumulator(8)),
        M::Cdq => Some(data::sign(4)),
        M::Cqo => Some(data::sign(8)),
        M::Bswap => {
            op.dst = gpr(insn.op0_register())?;
            let size = size(insn, 0)?;
            (size >= 4).then(|| data::byte_swap(size))
        }
        M::Xchg => {
            let size = size(insn, 0)?;
            match (insn.op0_kind(), insn.op1_kind()) {
                (OpKind::Register, OpKind::Register) => {
                    (op.dst, op.src) = (gpr(insn.op0_register())?, gpr(insn.op1_register())?);
                    Some(data::exchange(size, false))
                }
                (OpKind::Memory, OpKind::Register) => {
                    op.src = gpr(insn.op1_register())?;
                    memory(insn, op)?;
                    Some(data::exchange(size, true))
                }
                _ => None,
            }
        }
        M::Cmpxchg | M::Xadd if insn.op0_kind() == OpKind::Memory => {
            op.src = gpr(insn.op1_register())?;
            memory(insn, op)?;
            let size = size(insn, 0)?;
            Some(match insn.mnemonic() {
                M::Cmpxchg => atomic::compare_and_exchange(size),
                _ => atomic::exchange_and_add(size),
            })
        }
        _ if is_set(insn) => {
            let memory = match insn.op0_kind() {
                OpKind::Register => {
                    op.dst = gpr(insn.op0_register())?;
                    false
                }
                _ => {
                    memory(insn, op)?;
                    true
                }
            };
            Some(data::conditional_set(condition(insn), memory))
        }
        _ if is_conditional_move(insn) => {
            op.dst = gpr(insn.op0_register())?;
            let size = size(insn, 0)?;
            if size < 4 {
                return None;
            }
            let memory = match insn.op1_kind() {
                OpKind::Register => {
                    op.src = gpr(insn.op1_register())?;
                    false
                }
                _ => {
                    memory(insn, op)?;
                    true
                }
            };
            Some(data::conditional_move(condition(insn), size, memory))
        }
        _ => None,
    }
}

fn is_set(insn: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(
        insn.mnemonic(),
        M::Seto | M::Setno | M::Setb | M::Setae | M::Sete | M::Setne | M::Setbe | M::Seta
    ) || matches!(
        insn.mnemonic(),
        M::Sets | M::Setns | M::Setp | M::Setnp | M::Setl | M::Setge | M::Setle | M::Setg
    )
}

fn is_conditional_move(insn: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(
        insn.mnemonic(),
        M::Cmovo | M::Cmovno | M::Cmovb | M::Cmovae | M::Cmove | M::Cmovne | M::Cmovbe | M::Cmova
    ) || matches!(
        insn.mnemonic(),
        M::Cmovs | M::Cmovns | M::Cmovp | M::Cmovnp | M::Cmovl | M::Cmovge | M::Cmovle | M::Cmovg
    )
}

fn movement<B: Bus>(insn: &Instruction, op: &mut Op<B>) -> Option<Handler<B>> {
    let size = size(insn, 0)?;
    match (insn.op0_kind(), insn.op1_kind()) {
        (OpKind::Register, OpKind::Register) => {
            (op.dst, op.src) = (gpr(insn.op0_register())?, gpr(insn.op1_register())?);
            Some(data::move_register(size))
        }
        (OpKind::Register, OpKind::Memory) => {
            op.dst = gpr(insn.op0_register())?;
            let shape = memory(insn, op)?;
            Some(data::move_from_memory(size, shape))
        }
        (OpKind::Memory, OpKind::Register) => {
            op.src = gpr(insn.op1_register())?;
            let shape = memory(insn, op)?;
            Some(data::move_to_memory(size, shape))
        }
        (OpKind::Register, kind) if is_immediate(kind) => {
            op.dst = gpr(insn.op0_register())?;
            op.disp = insn.immediate(1);
            Some(data::move_constant(size))
        }
        (OpKind::Memory, kind) if is_immediate(kind) => {
            op.imm = immediate(insn, 1);
            let shape = memory(insn, op)?;
            Some(data::move_constant_to_memory(size, shape))
        }
        _ => None,
    }
}

fn widening<B: Bus>(insn: &Instruction, op: &mut Op<B>, signed: bool) -> Option<Handler<B>> {
    op.dst = gpr(insn.op0_register())?;
    let (to, from) = (size(insn, 0)?, size(insn, 1)?);
    let shape = match insn.op1_kind() {
        OpKind::Register => {
            op.src = gpr(insn.op1_register())?;
            None
        }
        _ => Some(memory(insn, op)?),
    };
    Some(data::widen(signed, to, from, shape))
}

fn arithmetic<B: Bus>(insn: &Instruction, op: &mut Op<B>, kind: u8) -> Option<Handler<B>> {
    let size = size(insn, 0)?;
    let (form, shape) = match (insn.op0_kind(), insn.op1_kind()) {
        (OpKind::Register, OpKind::Register) => {
            (op.dst, op.src) = (gpr(insn.op0_register())?, gpr(insn.op1_register())?);
            (Form::Registers, ANY)
        }
        (OpKind::Register, OpKind::Memory) => {
            op.dst = gpr(insn.op0_register())?;
            (Form::FromMemory, memory(insn, op)?)
        }
        (OpKind::Memory, OpKind::Register) => {
            op.src = gpr(insn.op1_register())?;
            (Form::MemoryRegister, memory(insn, op)?)
        }
        (OpKind::Register, kind) if is_immediate(kind) => {
            op.dst = gpr(insn.op0_register())?;
            op.imm = immediate(insn, 1);
            (Form::Immediate, ANY)
        }
        (OpKind::Memory, kind) if is_immediate(kind) => {
            op.imm = immediate(insn, 1);
            (Form::MemoryImmediate, memory(insn, op)?)
        }
        _ => return None,
    };
    Some(alu::arithmetic(kind, form, size, shape))
}

fn one_operand<B: Bus>(insn: &Instruction, op: &mut Op<B>, kind: u8) -> Option<Handler<B>> {
    let size = size(insn, 0)?;
    let shape = match insn.op0_kind() {
        OpKind::Register => {
            op.dst = gpr(insn.op0_register())?;
            None
        }
        _ => Some(memory(insn, op)?),
    };
    Some(alu::one_operand(kind, size, shape))
}

fn shifting<B: Bus>(insn: &Instruction, op: &mut Op<B>, kind: u8) -> Option<Handler<B>> {
    if insn.op0_kind() != OpKind::Register {
        return None;
    }
    op.dst = gpr(insn.op0_register())?;
    let by_cl = insn.op1_kind() == OpKind::Register;
    if !by_cl {
        op.imm = immediate(insn, 1);
    }
    Some(shift::shift_register(kind, size(insn, 0)?, by_cl))
}

fn bit<B: Bus>(insn: &Instruction, op: &mut Op<B>, kind: u8) -> Option<Handler<B>> {
    if insn.op0_kind() != OpKind::Register {
        return None;
    }
    op.dst = gpr(insn.op0_register())?;
    let by_register = insn.op1_kind() == OpKind::Register;
    if by_register {
        op.src = gpr(insn.op1_register())?;
    } else {
        op.imm = immediate(insn, 1);
    }
    Some(bits::bit_of_register(kind, size(insn, 0)?, by_register))
}
