//! Branches that say where they lead: from block to block, and on a block's way.

use super::count::{Count, minus};
use super::{Compiler, Mode, S0, State, opcode};
use crate::engine::kvm::translate::block::{End, Idling, Op};
use crate::engine::kvm::translate::emit::RCX;
use crate::engine::kvm::translate::flags::AF;
use crate::engine::kvm::translate::layout::{OFFSET, STEP};
use crate::engine::kvm::translate::links::{Counted, Edge, Key};
use crate::engine::kvm::translate::recover::{Owed, Place, Site, Spilled, What, Why};

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
