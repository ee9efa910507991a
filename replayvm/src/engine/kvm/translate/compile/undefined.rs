//! Flags that the manuals leave undefined: made the profile's where somebody sees them.

use iced_x86::{OpKind, Register};

use super::{Compiler, Mode, S0, S1, S3, State, opcode};
use crate::engine::kvm::translate::block::{Inner, Op};
use crate::engine::kvm::translate::emit::{RAX, RCX};
use crate::engine::kvm::translate::flags::{AF, ALL, Kind, OF, PF, SF, ZF};
use crate::engine::kvm::translate::layout::FLAGS;
use crate::engine::kvm::translate::recover::{Late, Owed, Spilled, Why};

impl Compiler<'_, '_> {
    /// The instruction of that number.
    pub(super) fn op(&mut self, at: usize, state: &mut State, mode: Mode) {
        let block = self.block;
        let Some(op) = block.ops.get(at) else { return };
        match op.inner {
            Inner::None => {}
            Inner::Branch { exit, taken } => return self.inner_branch(at, op, exit, taken, state, mode),
            Inner::Call { back } => {
                let site = self.before(at, state, Why::Fault);
                return self.push(back, site);
            }
            Inner::Return { expected, release } => {
                return self.inner_return(at, op, expected, 8 + u32::from(release), state);
            }
            Inner::Jump { expected } => return self.inner_through(at, op, expected, None, state),
            Inner::CallThrough { expected, back } => {
                return self.inner_through(at, op, expected, Some(back), state);
            }
        }
        if op.effect.reads & state.owed.all() != 0 {
            self.pay(state);
        }
        let own =
            if op.insn.op0_kind() == OpKind::Register { op.insn.op0_register() } else { Register::None };
        let number = own.full_register().number() as u8;
        let watched = if own.is_gpr() { 1u16 << (number & 15) } else { 0 };
        let high = (Register::AH..=Register::BH).contains(&own);
        match op.effect.kind {
            Kind::Defined => self.copy(at, op.bytes(), state),
            Kind::Shift(turn) | Kind::Rotate(turn) => {
                let seen = block.seen(at, OF, watched);
                if turn.count == 1 || !seen.any() {
                    self.copy(at, op.bytes(), state);
                    self.after(at, state);
                } else if watched != 0 && !seen.live && !seen.late {
                    self.copy(at, op.bytes(), state);
                    self.after(at, state);
                    state.late = Some(Late { turn, register: number, high, by_cl: None });
                } else {
                    self.in_two(at, op, turn.count, state);
                    self.after(at, state);
                }
                if matches!(op.effect.kind, Kind::Shift(_)) && block.seen(at, AF, 0).any() {
                    state.owed.ones |= AF;
                }
                return;
            }
            Kind::ShiftByCl(turn) | Kind::RotateByCl(turn) => {
                let shifts = matches!(op.effect.kind, Kind::ShiftByCl(_));
                let undefined = if shifts { OF | AF } else { OF };
                let seen = block.seen(at, undefined, watched | 1 << RCX);
                if !seen.any() {
                    self.copy(at, op.bytes(), state);
                } else if watched != 0 && !seen.live && !seen.late {
                    self.copy(at, op.bytes(), state);
                    self.after(at, state);
                    state.late = Some(Late { turn, register: number, high, by_cl: Some(shifts) });
                    return;
                } else {
                    self.by_cl(op, shifts, turn.bits);
                }
            }
            Kind::Double { .. } | Kind::DoubleByCl => {
                self.copy(at, op.bytes(), state);
                self.after(at, state);
                if matches!(op.effect.kind, Kind::Double { .. }) && block.seen(at, AF, 0).any() {
                    state.owed.ones |= AF;
                }
                return;
            }
            Kind::Multiply => {
                self.owing(at, op, state, Owed { saved: ALL & !op.effect.kills, ..Owed::default() });
                return;
            }
            Kind::Divide => {
                let zeros = op.effect.kills & !AF;
                self.owing(at, op, state, Owed { ones: AF, zeros, saved: ALL & !op.effect.kills });
                return;
            }
            Kind::Zeros => {
                let zeros = SF | AF | PF;
                self.owing(at, op, state, Owed { zeros, saved: OF, ones: 0 });
                return;
            }
            Kind::Scan => {
                self.copy(at, op.bytes(), state);
                if block.seen(at, ALL & !ZF, 0).any() {
                    self.after_scan(number);
                }
            }
        }
        self.after(at, state);
    }

    /// What an instruction has done to the flags that were owed.
    pub(super) fn after(&self, at: usize, state: &mut State) {
        let Some(op) = self.block.ops.get(at) else { return };
        state.owed.kill(op.effect.kills);
        if op.effect.kills & OF != 0 {
            state.late = None;
        }
    }

    /// An instruction after which the processor's flags are not the profile's.
    pub(super) fn owing(&mut self, at: usize, op: &Op, state: &mut State, debt: Owed) {
        if !self.block.seen(at, debt.all(), 0).any() {
            self.copy(at, op.bytes(), state);
            self.after(at, state);
            return;
        }
        let mut need = debt.saved & !state.owed.all();
        if need != 0 && state.owed.saved != 0 {
            self.pay(state);
            need = debt.saved;
        }
        if need != 0 {
            self.save_flags();
        }
        self.copy(at, op.bytes(), state);
        self.after(at, state);
        state.owed.kill(debt.ones | debt.zeros);
        state.owed.ones |= debt.ones;
        state.owed.zeros |= debt.zeros;
        state.owed.saved |= need;
    }

    /// Puts the flags aside; they stay.
    pub(super) fn save_flags(&mut self) {
        self.buffer.store(S0, RAX);
        // seto al; lahf
        self.buffer.put(&[0x0f, 0x90, 0xc0, 0x9f]);
        self.buffer.store(FLAGS, RAX);
        self.buffer.load(RAX, S0);
    }

    /// The flags that were put aside.
    pub(super) fn load_flags(&mut self) {
        self.buffer.store(S0, RAX);
        self.buffer.load(RAX, FLAGS);
        // add al, 127; sahf
        self.buffer.put(&[0x04, 0x7f, 0x9e]);
        self.buffer.load(RAX, S0);
    }

    /// Makes the processor's flags right.
    pub(super) fn pay(&mut self, state: &mut State) {
        let Owed { ones, zeros, saved } = std::mem::take(&mut state.owed);
        let all = ones | zeros | saved;
        if all == 0 {
            return;
        }
        let overflow = OF;
        self.buffer.store(S0, RAX);
        self.buffer.put(&[0x0f, 0x90, 0xc0, 0x9f]);
        // and ah, imm8; or ah, imm8
        self.buffer.put(&[0x80, 0xe4, !(all as u8)]);
        if ones as u8 != 0 {
            self.buffer.put(&[0x80, 0xcc, ones as u8]);
        }
        if saved as u8 != 0 {
            // and byte [flags + 1], imm8; or ah, [flags + 1]
            self.buffer.slot(&[0x80], 4, FLAGS + 1, &[saved as u8]);
            self.buffer.slot(&[0x0a], 4, FLAGS + 1, &[]);
        }
        if saved & overflow != 0 {
            self.buffer.slot(&[0x8a], RAX, FLAGS, &[]);
        } else if all & overflow != 0 {
            self.buffer.put(&[0xb0, u8::from(ones & overflow != 0)]);
        }
        self.buffer.put(&[0x04, 0x7f, 0x9e]);
        self.buffer.load(RAX, S0);
    }

    /// A shift or rotation by a constant above one: by one less, then by one, for which OF is defined.
    pub(super) fn in_two(&mut self, at: usize, op: &Op, count: u8, state: &State) {
        let bytes = op.bytes();
        let Some(opcode) = opcode(bytes) else {
            self.buffer.overflow = true;
            return;
        };
        let mut less = bytes.to_vec();
        if let Some(last) = less.last_mut() {
            *last = count - 1;
        }
        let mut once = bytes.get(..bytes.len().saturating_sub(1)).unwrap_or(&[]).to_vec();
        if let Some(byte) = once.get_mut(opcode) {
            // C0 and C1 have an immediate; D0 and D1 are by one.
            *byte |= 0x10;
        }
        if let Some((register, address)) = op.scratch {
            self.buffer.store(S3, register);
            self.buffer.constant(register, address);
            self.fault(at, state, Some((register, Spilled::Number(3))));
        } else if op.faults {
            self.fault(at, state, None);
        }
        self.patched(&less, op.relative);
        self.patched(&once, op.relative);
        if let Some((register, _)) = op.scratch {
            self.buffer.load(register, S3);
        }
    }

    /// A shift or rotation of a register by CL whose flags somebody sees.
    pub(super) fn by_cl(&mut self, op: &Op, shifts: bool, bits: u32) {
        let bytes = op.bytes();
        let Some(opcode) = opcode(bytes) else {
            self.buffer.overflow = true;
            return;
        };
        let mut once = bytes.to_vec();
        if let Some(byte) = once.get_mut(opcode) {
            // D2 and D3 are by CL, D0 and D1 by one.
            *byte &= !2;
        }
        self.save_flags();
        // test cl, imm8
        self.buffer.put(&[0xf6, 0xc1, if bits == 64 { 63 } else { 31 }]);
        let none = self.buffer.short(0x74);
        if !shifts {
            self.load_flags();
        }
        self.buffer.store(S1, RCX);
        // lea ecx, [rcx - 1]
        self.buffer.put(&[0x8d, 0x49, 0xff]);
        self.buffer.put(bytes);
        self.buffer.load(RCX, S1);
        self.buffer.put(&once);
        if shifts {
            let mut state = State { owed: Owed { ones: AF, ..Owed::default() }, ..State::default() };
            self.pay(&mut state);
        }
        let done = self.buffer.short(0xeb);
        self.buffer.link_short(none);
        self.load_flags();
        if bits == 32 {
            // Cleared all the same: mov r32, r32
            let number = op.insn.op0_register().number() as u8;
            let rex = 0x40 | ((number >> 3) * 5);
            self.buffer.put(&[rex, 0x8b, 0xc0 | ((number & 7) * 9)]);
        }
        self.buffer.link_short(done);
    }

    /// The flags after BSF and BSR: ZF as it is, PF by the result, the others clear.
    pub(super) fn after_scan(&mut self, result: u8) {
        let scratch = if result == RAX { RCX } else { RAX };
        let high = scratch | 4;
        self.buffer.store(S0, scratch);
        // setne low; mov high, low; neg low; and low, result; test word, word
        self.buffer.put(&[0x0f, 0x95, 0xc0 | scratch]);
        self.buffer.put(&[0x8a, 0xc0 | high << 3 | scratch]);
        self.buffer.put(&[0xf6, 0xd8 | scratch]);
        self.buffer.put(&[0x40 | result >> 3, 0x22, 0xc0 | scratch << 3 | (result & 7)]);
        self.buffer.put(&[0x66, 0x85, 0xc0 | scratch << 3 | scratch]);
        self.buffer.load(scratch, S0);
    }
}
