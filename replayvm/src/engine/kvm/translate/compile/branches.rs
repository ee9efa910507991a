//! Branches: from block to block, on a block's way, and through the table.

use iced_x86::OpKind;

use super::copy::load_of;
use super::count::Count;
use super::count::{difference, minus};
use super::{Compiler, Mode, S0, S1, State, opcode};
use crate::engine::kvm::translate::block::{End, Idling, Op};
use crate::engine::kvm::translate::emit::{Buffer, RCX, RDX};
use crate::engine::kvm::translate::flags::AF;
use crate::engine::kvm::translate::layout::{BRANCH, INSTRUCTIONS, LEFT, OFFSET, STEP, TARGET, WORD};
use crate::engine::kvm::translate::links::{Counted, Edge, Key};
use crate::engine::kvm::translate::recover::{Branch, Owed, Place, Site, Sites, Spilled, What, Why};

impl Compiler<'_, '_> {
    /// A block that begins with the state at the end of this one.
    pub(super) fn successor(&self, rip: u64, fresh: bool, state: &State) -> Key {
        Key { rip, fresh, af: state.owed.ones & AF != 0, debt: Counted::default() }
    }

    /// Where an edge to a block leads as long as that has no translation.
    pub(super) fn edge(&mut self, key: Key, state: &State, idling: Idling, why: Why) -> (Edge, u32) {
        let place = Place {
            fresh: key.fresh,
            ticks: -(key.debt.ticks as i64),
            instructions: -(key.debt.instructions as i64),
            offset: 0,
        };
        let mut site = self.site(key.rip, place, state, What::Ends(why));
        site.idling = idling;
        let stub = self.stub(site);
        (Edge { key, at: 0, stub, jumped: idling.jumps != 0 }, stub)
    }

    /// Makes right what is owed but for what is known of AF, which goes on to the blocks that follow.
    pub(super) fn pay_before(&mut self, op: &Op, state: &mut State) {
        let known = Owed { ones: state.owed.ones & AF, ..Owed::default() };
        if state.owed != known || op.effect.reads & known.ones != 0 {
            self.pay(state);
        }
    }

    /// A conditional branch on the way.
    pub(super) fn inner_branch(
        &mut self,
        at: usize,
        op: &Op,
        exit: u64,
        taken: bool,
        state: &mut State,
        mode: Mode,
    ) {
        self.pay_before(op, state);
        let ways = if taken { [op.insn.near_branch_target(), exit] } else { [exit, op.next()] };
        if mode == Mode::Single {
            self.count_single(at, op, ways, state);
        }
        let condition = condition(op) ^ u8::from(taken);
        let mut key = self.successor(exit, true, state);
        let (ticks, _) = self.position(at + 1);
        let done = Counted { instructions: at + 1, ticks };
        let debt = minus(state.counted, done);
        let owing = Key { debt: debt.unwrap_or_default(), ..key };
        let passes = debt.is_some() && self.links.may_vary(owing);
        if passes {
            key = owing;
        }
        let (mut edge, stub) = self.edge(key, state, Idling::default(), Why::Untranslated);
        if passes || state.counted == done {
            edge.at = self.buffer.jump_if(condition, stub);
        } else {
            let (section, around) = self.step_aside();
            let here = self.buffer.here();
            self.recount(state.counted, done);
            edge.at = self.buffer.jump(stub);
            self.step_back(section, around);
            self.buffer.jump_if(condition, here);
        }
        self.edges.push(edge);
    }

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
    pub(super) fn other_return(&mut self, at: usize, op: &Op, released: u32, state: State) {
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
    pub(super) fn release(&mut self, bytes: u32) {
        self.buffer.put(&[0x48, 0x8d, 0xa4, 0x24]);
        self.buffer.put(&bytes.to_le_bytes());
    }

    /// Goes to the address in RCX, which was on the stack. RCX itself is in its slot.
    pub(super) fn return_to(&mut self, rip: u64, released: u32) {
        self.buffer.store(TARGET, RCX);
        self.release(released);
        self.dispatch(rip, u64::from(released));
    }

    /// The end of the block.
    pub(super) fn finish(&mut self, state: State, mode: Mode) -> Option<Edge> {
        let mut state = state;
        let block = self.block;
        let last = self.body();
        if let End::Branch { taken, next } = block.end {
            let op = block.ops.get(last)?;
            if self.count == Count::Live(last) && mode == Mode::Ordinary && !state.whole {
                self.count_live(last, &mut state);
            }
            self.pay_before(op, &mut state);
            return self.branch(last, op, [taken, next], &mut state, mode);
        }
        if let End::Leave(rip) = block.end {
            let mut site = self.site(rip, self.place(last, &state), &state, What::Ends(Why::Leave));
            site.idling = block.idling;
            self.trap(site);
            return None;
        }
        if self.count == Count::Live(last) && mode == Mode::Ordinary && !state.whole {
            self.count_live(last, &mut state);
        }
        let rip = block.ops.get(last).map_or(0, |op| op.rip);
        if mode == Mode::Stalling {
            let (rip, idling) = match block.end {
                End::Next(next) => (next, block.idling),
                _ => (rip, Idling::default()),
            };
            let mut site = self.site(rip, self.place(last, &state), &state, What::Ends(Why::Stalling));
            site.idling = idling;
            self.trap(site);
            return None;
        }
        let indirect = matches!(block.end, End::Return { .. } | End::Jump | End::CallThrough { .. });
        if state.owed != (Owed { ones: state.owed.ones & AF, ..Owed::default() }) || indirect {
            self.pay(&mut state);
        }
        if self.ticks() > 0 {
            self.recount(state.counted, self.whole());
            state.counted = self.whole();
            let (_, steps) = self.position(self.len());
            self.buffer.store_constant(OFFSET, steps as u32 * STEP);
        }
        match block.end {
            End::Next(rip) => {
                let key = self.successor(rip, false, &state);
                Some(self.edge(key, &state, block.idling, Why::Untranslated).0)
            }
            End::Call { target, back } => {
                let site = self.before(last, &state, Why::Fault);
                self.push(back, site);
                let key = self.successor(target, false, &state);
                Some(self.edge(key, &state, Idling::default(), Why::Untranslated).0)
            }
            End::Return { release } => {
                self.buffer.store(S0, RCX);
                self.fault(last, &state, None);
                // mov rcx, [rsp]
                self.buffer.put(&[0x48, 0x8b, 0x0c, 0x24]);
                self.return_to(rip, 8 + u32::from(release));
                None
            }
            End::Jump => {
                self.load_target(block.ops.get(last)?, last, &state);
                self.dispatch(rip, 0);
                None
            }
            End::CallThrough { back } => {
                self.load_target(block.ops.get(last)?, last, &state);
                let restore = Some((RCX, Spilled::Number(0)));
                let leave = self.leave_stub(last, &state, restore);
                self.check_target(leave);
                let site = self.before(last, &state, Why::Fault);
                self.push(back, Site { restore: [restore, None], ..site });
                self.dispatch(rip, 0);
                None
            }
            End::Branch { .. } | End::Leave(_) => None,
        }
    }

    /// The conditional branch at the end, by where it leads taken and not taken.
    pub(super) fn branch(
        &mut self,
        at: usize,
        op: &Op,
        ways: [u64; 2],
        state: &mut State,
        mode: Mode,
    ) -> Option<Edge> {
        if mode == Mode::Single {
            self.count_single(at, op, ways, state);
        }
        let keys = ways.map(|rip| self.successor(rip, true, state));
        let (mut to_taken, taken_stub) = self.edge(keys[0], state, Idling::default(), Why::Untranslated);
        let (mut to_next, next_stub) = self.edge(keys[1], state, Idling::default(), Why::Untranslated);
        if op.insn.is_jcc_short_or_near() {
            to_taken.at = self.buffer.jump_if(condition(op), taken_stub);
            self.edges.push(to_taken);
            return Some(to_next);
        }
        let mut short = short(op);
        // Over a jump.
        if let Some(distance) = short.last_mut() {
            *distance = 5;
        }
        self.buffer.put(&short);
        to_next.at = self.buffer.jump(next_stub);
        self.edges.push(to_next);
        Some(to_taken)
    }

    /// Pushes a return address. `site`: if that faults.
    pub(super) fn push(&mut self, back: u64, site: Site) {
        if back as i64 == i64::from(back as u32 as i32) {
            self.note_here(site);
            self.buffer.put(&[0x68]);
            self.buffer.put(&(back as u32).to_le_bytes());
            return;
        }
        let (section, around) = self.step_aside();
        let constant = self.buffer.here();
        self.buffer.put(&back.to_le_bytes());
        self.step_back(section, around);
        self.note_here(site);
        self.buffer.relative(&[0xff], 6, self.buffer.address(constant), &[]);
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

/// The low four bits of a conditional jump's opcode.
pub(super) fn condition(op: &Op) -> u8 {
    let bytes = op.bytes();
    let at = opcode(bytes).unwrap_or(0);
    let byte = match bytes.get(at) {
        Some(0x0f) => bytes.get(at + 1),
        byte => byte,
    };
    byte.copied().unwrap_or(0) & 15
}

/// A conditional branch in its short form, with its distance last.
pub(super) fn short(op: &Op) -> Vec<u8> {
    if op.insn.is_jcc_short_or_near() { vec![0x70 | condition(op), 0] } else { op.bytes().to_vec() }
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
