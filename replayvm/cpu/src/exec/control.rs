//! Jumps, calls and returns within the code segment. Those that leave it are in `far.rs`.

use iced_x86::{Code, ConditionCode, Mnemonic, OpKind, Register};

use crate::access::{Intent, canonical};
use crate::bus::Bus;
use crate::exec::operand::number::RCX;
use crate::exec::{Exec, Flow};
use crate::fault::Fault;
use crate::flags::{Rflags, Width};
use crate::segment::SegmentName;
use crate::state::{CpuState, Mode};

impl CpuState {
    /// #GP(0) unless execution may go on at `target` within the current code segment.
    #[inline]
    pub(crate) fn check_target(&self, target: u64) -> Result<u64, Fault> {
        let fine = if self.mode() == Mode::Long64 {
            canonical(target)
        } else {
            target <= u64::from(self.segment(SegmentName::Cs).limit)
        };
        if fine { Ok(target) } else { Err(Fault::gp(0)) }
    }

    /// Whether a condition of Jcc, SETcc or CMOVcc holds.
    #[inline]
    pub(crate) fn condition(&self, code: ConditionCode) -> bool {
        let flag = |flag: Rflags| self.rflags & flag.bits() != 0;
        let less = flag(Rflags::SF) != flag(Rflags::OF);
        match code {
            ConditionCode::None => true,
            ConditionCode::o => flag(Rflags::OF),
            ConditionCode::no => !flag(Rflags::OF),
            ConditionCode::b => flag(Rflags::CF),
            ConditionCode::ae => !flag(Rflags::CF),
            ConditionCode::e => flag(Rflags::ZF),
            ConditionCode::ne => !flag(Rflags::ZF),
            ConditionCode::be => flag(Rflags::CF) || flag(Rflags::ZF),
            ConditionCode::a => !flag(Rflags::CF) && !flag(Rflags::ZF),
            ConditionCode::s => flag(Rflags::SF),
            ConditionCode::ns => !flag(Rflags::SF),
            ConditionCode::p => flag(Rflags::PF),
            ConditionCode::np => !flag(Rflags::PF),
            ConditionCode::l => less,
            ConditionCode::ge => !less,
            ConditionCode::le => less || flag(Rflags::ZF),
            ConditionCode::g => !less && !flag(Rflags::ZF),
        }
    }
}

impl<B: Bus> Exec<'_, B> {
    fn branch(&self, taken: bool) -> Result<Flow, Fault> {
        if taken {
            self.cpu
                .state
                .check_target(self.insn.near_branch_target())
                .map(|target| Flow::Branch(Some(target)))
        } else {
            Ok(Flow::Branch(None))
        }
    }

    /// Jcc.
    pub(crate) fn jump_if(&self) -> Result<Flow, Fault> {
        self.branch(self.cpu.state.condition(self.insn.condition_code()))
    }

    /// The width of the count register of LOOP and JRCXZ: the address size.
    fn count_width(&self) -> Width {
        match self.insn.code() {
            Code::Jcxz_rel8_16
            | Code::Jcxz_rel8_32
            | Code::Loop_rel8_16_CX
            | Code::Loop_rel8_32_CX
            | Code::Loope_rel8_16_CX
            | Code::Loope_rel8_32_CX
            | Code::Loopne_rel8_16_CX
            | Code::Loopne_rel8_32_CX => Width::Word,
            Code::Jrcxz_rel8_16
            | Code::Jrcxz_rel8_64
            | Code::Loop_rel8_16_RCX
            | Code::Loop_rel8_64_RCX
            | Code::Loope_rel8_16_RCX
            | Code::Loope_rel8_64_RCX
            | Code::Loopne_rel8_16_RCX
            | Code::Loopne_rel8_64_RCX => Width::Qword,
            _ => Width::Dword,
        }
    }

    /// JCXZ, JECXZ, JRCXZ.
    pub(crate) fn jump_if_zero(&self) -> Result<Flow, Fault> {
        self.branch(self.numbered(RCX, self.count_width()) == 0)
    }

    /// LOOP, LOOPE, LOOPNE.
    pub(crate) fn loop_if(&mut self) -> Result<Flow, Fault> {
        let width = self.count_width();
        let count = self.numbered(RCX, width).wrapping_sub(1) & width.mask();
        let zero = self.cpu.state.rflags & Rflags::ZF.bits() != 0;
        let taken = count != 0
            && match self.insn.mnemonic() {
                Mnemonic::Loope => zero,
                Mnemonic::Loopne => !zero,
                _ => true,
            };
        let flow = self.branch(taken)?;
        self.set_numbered(RCX, width, count);
        Ok(flow)
    }

    /// Where a near JMP or CALL goes and the size of the operand; `None` if it is a far one.
    fn near_target(&mut self) -> Result<Option<(u64, usize)>, Fault> {
        Ok(match self.insn.op0_kind() {
            OpKind::NearBranch16 => Some((self.insn.near_branch_target(), 2)),
            OpKind::NearBranch32 => Some((self.insn.near_branch_target(), 4)),
            OpKind::NearBranch64 => Some((self.insn.near_branch_target(), 8)),
            OpKind::FarBranch16 | OpKind::FarBranch32 => None,
            OpKind::Memory if self.insn.is_jmp_far_indirect() || self.insn.is_call_far_indirect() => None,
            _ => Some((self.read_operand(0)?, self.operand_size(0))),
        })
    }

    /// JMP in all its forms.
    pub(crate) fn jump(&mut self) -> Result<Flow, Fault> {
        match self.near_target()? {
            Some((target, _)) => self.cpu.state.check_target(target).map(Flow::Jump),
            None => self.far_jump(),
        }
    }

    /// CALL in all its forms.
    pub(crate) fn call(&mut self) -> Result<Flow, Fault> {
        match self.near_target()? {
            Some((target, size)) => {
                if let Err(fault) = self.cpu.state.check_target(target) {
                    // Of a bad target and a stack that cannot be written the profile's processor tells the stack.
                    let top = self.stack_pointer().wrapping_sub(size as u64) & self.stack_width().mask();
                    self.load_sized(Register::SS, top, Width::of_bytes(size), Intent::Modify)?;
                    return Err(fault);
                }
                self.push(self.cpu.state.next_rip(self.insn), size)?;
                Ok(Flow::Jump(target))
            }
            None => self.far_call(),
        }
    }

    /// RET near.
    pub(crate) fn near_return(&mut self) -> Result<Flow, Fault> {
        let size = match self.insn.code() {
            Code::Retnw | Code::Retnw_imm16 => 2,
            Code::Retnd | Code::Retnd_imm16 => 4,
            _ => 8,
        };
        let target = self.peek(0, size)?;
        self.cpu.state.check_target(target)?;
        let release = if self.insn.op_count() == 0 { 0 } else { u64::from(self.insn.immediate16()) };
        let top = self.stack_pointer().wrapping_add(size as u64).wrapping_add(release);
        self.set_stack_pointer(top);
        Ok(Flow::Jump(target))
    }
}
