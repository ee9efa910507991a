//! Branches that lead where a register, memory or the stack says: to what follows in the block if that was guessed right, else through the
//! table.

use iced_x86::OpKind;

use super::copy::load_of;
use super::count::difference;
use super::{Compiler, S0, S1, State};
use crate::engine::kvm::translate::block::{Idling, Op};
use crate::engine::kvm::translate::emit::{Buffer, RCX, RDX};
use crate::engine::kvm::translate::layout::{BRANCH, INSTRUCTIONS, LEFT, OFFSET, STEP, TARGET, WORD};
use crate::engine::kvm::translate::links::Counted;
use crate::engine::kvm::translate::recover::{Branch, Owed, Place, Site, Sites, Spilled, What, Why};

impl Compiler<'_, '_> {
    /// A return to a call on the way, most likely.
    pub(super) fn inner_return(
        &mut self,
        at: usize,
        op: &Op,
        expected: u64,
        released: u32,
        state: &mut State,
    ) {
        let (section, around) = self.step_aside();
        let other = self.buffer.here();
        self.other_return(at, op, released, *state);
        self.step_back(section, around);

        self.buffer.store(S0, RCX);
        self.fault(at, state, None);
        // mov rcx, [rsp]
        self.buffer.put(&[0x48, 0x8b, 0x0c, 0x24]);
        compare(self.buffer, expected);
        self.buffer.jump_if_rcx(other);
        self.buffer.load(RCX, S0);
        self.release(released);
    }

    /// A jump or call through a register or memory, most likely to what follows. `back`: where a call returns to.
    pub(super) fn inner_through(
        &mut self,
        at: usize,
        op: &Op,
        expected: u64,
        back: Option<u64>,
        state: &mut State,
    ) {
        let (section, around) = self.step_aside();
        let other = self.buffer.here();
        self.other_target(at, op, back, *state);
        self.step_back(section, around);

        self.load_target(op, at, state);
        compare(self.buffer, expected);
        self.buffer.jump_if_rcx(other);
        self.buffer.load(RCX, S0);
        if let Some(back) = back {
            let site = self.before(at, state, Why::Fault);
            self.push(back, site);
        }
    }

    /// The jump or call does not lead there, but to what is in its slot.
    fn other_target(&mut self, at: usize, op: &Op, back: Option<u64>, state: State) {
        let site = self.elsewhere(at, op, state);
        self.buffer.load(RCX, TARGET);
        if let Some(back) = back {
            let leave = self.stub(Site { what: What::Ends(Why::Leave), ..site.clone() });
            self.check_target(leave);
            self.push(back, site);
        }
        self.dispatch(op.rip, 0);
    }

    /// The return does not lead there.
    fn other_return(&mut self, at: usize, op: &Op, released: u32, state: State) {
        let site = self.elsewhere(at, op, state);
        self.note_here(site);
        self.buffer.put(&[0x48, 0x8b, 0x0c, 0x24]);
        self.return_to(op.rip, released);
    }

    /// A branch leads elsewhere than expected, and the block ends with it. It is counted; what comes back is a site before it, with RCX
    /// in its slot.
    fn elsewhere(&mut self, at: usize, op: &Op, state: State) -> Site {
        let mut state = state;
        self.buffer.load(RCX, S0);
        self.pay(&mut state);
        self.buffer.store(S0, RCX);
        let (ticks, steps) = self.position(at + 1);
        let done = Counted { instructions: at + 1, ticks };
        let fixed = self.key.fresh || ticks > 0;
        if fixed {
            self.add_by_lea(LEFT, difference(state.counted, done));
        } else if self.ticks() > 0 {
            self.add_by_lea(LEFT, difference(state.counted, Counted::default()));
            self.add_by_lea(INSTRUCTIONS, done.instructions as u32);
        } else {
            let more = (done.instructions as u32).wrapping_sub(state.counted.instructions as u32);
            self.add_by_lea(INSTRUCTIONS, more);
        }
        // Counted with the instruction, which has not been executed yet.
        let site = Site {
            restore: [Some((RCX, Spilled::Number(0))), None],
            place: Place { fresh: false, ticks: 0, instructions: -1, offset: -1 },
            ..self.site(op.rip, Place::default(), &state, What::Ends(Why::Fault))
        };
        if fixed {
            self.buffer.store_constant(OFFSET, steps as u32 * STEP);
        } else {
            let counted = if self.ticks() > 0 { 0 } else { state.counted.instructions as u32 };
            self.add_by_lea(OFFSET, (done.instructions as u32).wrapping_sub(counted).wrapping_mul(STEP));
            self.buffer.slot(&[0x0f, 0xb6], RCX, OFFSET + 3, &[]);
            let stub = self.stub(Site { what: What::Ends(Why::Stalling), ..site.clone() });
            self.buffer.jump_if_rcx(stub);
        }
        site
    }

    /// `lea rsp, [rsp + imm32]`
    fn release(&mut self, bytes: u32) {
        self.buffer.put(&[0x48, 0x8d, 0xa4, 0x24]);
        self.buffer.put(&bytes.to_le_bytes());
    }

    /// Goes to the address in RCX, which was on the stack. RCX itself is in its slot.
    pub(super) fn return_to(&mut self, rip: u64, released: u32) {
        self.buffer.store(TARGET, RCX);
        self.release(released);
        self.dispatch(rip, u64::from(released));
    }

    /// Puts RCX aside and the operand of an indirect branch into it and its slot.
    pub(super) fn load_target(&mut self, op: &Op, at: usize, state: &State) {
        self.buffer.store(S0, RCX);
        if op.insn.op0_kind() == OpKind::Register {
            let number = op.insn.op0_register().number() as u8;
            // mov rcx, reg
            self.buffer.put(&[0x48 | number >> 3, 0x8b, 0xc8 | (number & 7)]);
        } else if let Some((_, address)) = op.scratch {
            self.buffer.constant(RCX, address);
            self.fault(at, state, Some((RCX, Spilled::Number(0))));
            // mov rcx, [rcx]
            self.buffer.put(&[0x48, 0x8b, 0x09]);
        } else {
            self.fault(at, state, None);
            match load_of(&op.insn, RCX, 8) {
                Some(_) if op.relative.is_some() => {
                    let target = op.relative.map_or(0, |(_, target)| target);
                    self.buffer.relative(&[0x48, 0x8b], RCX, target, &[]);
                }
                Some(load) => self.buffer.put(&load),
                None => self.buffer.overflow = true,
            }
        }
        self.buffer.store(TARGET, RCX);
    }

    /// Goes to `leave` unless the target in the slot is in the lower half. It is in RCX then.
    pub(super) fn check_target(&mut self, leave: u32) {
        self.buffer.load_dword(RCX, TARGET + 4);
        // lea rcx, [rcx + rcx]: bit 47 of the target is bit 16 now.
        self.buffer.put(&[0x48, 0x8d, 0x0c, 0x09]);
        self.buffer.store(WORD, RCX);
        self.buffer.load_dword(RCX, WORD + 2);
        self.buffer.jump_if_rcx(leave);
        self.buffer.load(RCX, TARGET);
    }

    /// Goes where the table says for the target in RCX and its slot. RCX itself is in its slot.
    pub(super) fn dispatch(&mut self, rip: u64, released: u64) {
        let number = self.sites.branches.len() as u32;
        self.sites.branches.push(Branch { rip, released });
        self.buffer.slot(&[0xc7], 0, BRANCH, &number.to_le_bytes());
        self.buffer.store(S1, RDX);
        self.buffer.constant(RDX, self.layout.table >> 3);
        // mov dx, cx; jmp [rdx * 8]
        self.buffer.put(&[0x66, 0x8b, 0xd1, 0xff, 0x24, 0xd5, 0, 0, 0, 0]);
    }
}

/// Where the table leads for a block that indirect branches lead to: to the block if it is that, else on to `other`. The target is
/// in RCX; RCX and RDX themselves are in their slots. The block follows.
pub(in crate::engine::kvm::translate) fn prologue(buffer: &mut Buffer<'_>, rip: u64, other: u32) {
    if let Some(negative) = short_negative(rip) {
        // lea rcx, [rcx + disp32]
        buffer.put(&[0x48, 0x8d, 0x89]);
        buffer.put(&negative.to_le_bytes());
    } else {
        buffer.constant(RDX, rip.wrapping_neg());
        // lea rcx, [rcx + rdx]
        buffer.put(&[0x48, 0x8d, 0x0c, 0x11]);
    }
    let same = buffer.short(0xe3);
    buffer.load(RCX, TARGET);
    buffer.jump(other);
    buffer.link_short(same);
    buffer.load(RCX, S0);
    buffer.load(RDX, S1);
}

/// Makes RCX 0 if it is that address, and something else if not.
fn compare(buffer: &mut Buffer<'_>, rip: u64) {
    if let Some(negative) = short_negative(rip) {
        buffer.put(&[0x48, 0x8d, 0x89]);
        buffer.put(&negative.to_le_bytes());
    } else {
        buffer.store(S1, RDX);
        buffer.constant(RDX, rip.wrapping_neg());
        buffer.put(&[0x48, 0x8d, 0x0c, 0x11]);
        buffer.load(RDX, S1);
    }
}

/// What is added to compare with an address, if that fits into a displacement.
fn short_negative(rip: u64) -> Option<u32> {
    let negative = rip.wrapping_neg();
    (negative as i64 == i64::from(negative as u32 as i32)).then_some(negative as u32)
}

/// What is there for indirect branches that miss.
pub(in crate::engine::kvm::translate) fn missed(buffer: &mut Buffer<'_>, sites: &mut Sites) {
    sites.hot.push(Site {
        at: buffer.here(),
        rip: 0,
        place: Place::default(),
        restore: [Some((RCX, Spilled::Number(0))), Some((RDX, Spilled::Number(1)))],
        owed: Owed::default(),
        late: None,
        idling: Idling::default(),
        what: What::Missed,
    });
    buffer.put(&[0x0f, 0x0b]);
}
