//! Counting: where in a block, how much, and what if the budget does not suffice.

use super::branches::short;
use super::copy::{Split, split};
use super::{Compiler, Mode, NOT_EQUAL, S0, SIGN, State};
use crate::engine::kvm::translate::block::{Block, End, Inner, Op};
use crate::engine::kvm::translate::emit::{RCX, Section};
use crate::engine::kvm::translate::flags::ALL;
use crate::engine::kvm::translate::layout::{INSTRUCTIONS, LEFT, OFFSET, STEP, TICK};
use crate::engine::kvm::translate::links::Counted;
use crate::engine::kvm::translate::recover::{Place, What, Why};

/// Where a block is counted, all of it at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Count {
    /// Nowhere: it has no ticks and is left at its end.
    Nowhere,
    /// Before this instruction, where all flags are dead.
    Before(usize),
    /// Within this instruction, once its operand is loaded into a register.
    Within(usize, Split),
    /// Before this branch, its first or its last, whatever the flags.
    Live(usize),
}

impl Compiler<'_, '_> {
    /// What all of the block comes to.
    pub(super) fn whole(&self) -> Counted {
        Counted { instructions: self.len(), ticks: self.ticks() }
    }

    /// The rest of the block among what is seldom executed, tick by tick or to be left; where it begins. `prepare` comes before.
    pub(super) fn aside(
        &mut self,
        at: usize,
        half: bool,
        state: &State,
        mode: Mode,
        prepare: impl FnOnce(&mut Self),
    ) -> u32 {
        let section = self.buffer.select(Section::Cold);
        let here = self.buffer.here();
        prepare(self);
        if let Some(mut edge) = self.run(at, half, *state, mode) {
            edge.at = self.buffer.jump(edge.stub);
            self.edges.push(edge);
        }
        self.buffer.select(section);
        here
    }

    /// Notes that all is counted; what it was before.
    pub(super) fn counts_all(&self, state: &mut State) -> State {
        let before = *state;
        (state.counted, state.whole) = (self.whole(), true);
        before
    }

    /// Counts the block where no flag is of use to anybody, before an instruction or its second half.
    pub(super) fn count_dead(&mut self, at: usize, half: bool, state: &mut State) {
        let before = self.counts_all(state);
        // What is added.
        let amount = difference(before.counted, state.counted);
        if self.ticks() > 0 || self.key.fresh {
            self.buffer.slot(&[0x48, 0x81], 0, LEFT, &amount.to_le_bytes());
            if (amount as i32) < 0 && self.ticks() > 0 {
                let aside = self.aside(at, half, &before, Mode::Single, |this| {
                    this.buffer.slot(&[0x48, 0x81], 5, LEFT, &amount.to_le_bytes());
                });
                self.buffer.jump_if(SIGN, aside);
            }
            if self.ticks() == 0 {
                self.buffer.store_constant(OFFSET, self.len() as u32 * STEP);
            }
            return;
        }
        let instructions = self.len() as u32;
        self.buffer.slot(&[0x48, 0x83], 0, INSTRUCTIONS, &[instructions as u8]);
        self.buffer.slot(&[0x48, 0x81], 0, OFFSET, &(instructions * STEP).to_le_bytes());
        self.buffer.slot(&[0x80], 7, OFFSET + 3, &[0]);
        let aside = self.aside(at, half, state, Mode::Stalling, |_| {});
        self.buffer.jump_if(NOT_EQUAL, aside);
    }

    /// Counts the block before a branch, leaving the flags.
    pub(super) fn count_live(&mut self, at: usize, state: &mut State) {
        let before = self.counts_all(state);
        let amount = difference(before.counted, state.counted);
        self.buffer.store(S0, RCX);
        if self.ticks() > 0 || self.key.fresh {
            self.add_by_lea(LEFT, amount);
            if (amount as i32) < 0 && self.ticks() > 0 {
                self.buffer.slot(&[0x0f, 0xb6], RCX, LEFT + 7, &[]);
                let aside = self.aside(at, false, &before, Mode::Single, |this| {
                    this.add_by_lea(LEFT, amount.wrapping_neg());
                    this.buffer.load(RCX, S0);
                });
                self.buffer.jump_if_rcx(aside);
            }
            if self.ticks() == 0 {
                self.buffer.store_constant(OFFSET, self.len() as u32 * STEP);
            }
        } else {
            let instructions = self.len() as u32;
            self.add_by_lea(INSTRUCTIONS, instructions);
            self.add_by_lea(OFFSET, instructions * STEP);
            self.buffer.slot(&[0x0f, 0xb6], RCX, OFFSET + 3, &[]);
            let aside = self.aside(at, false, state, Mode::Stalling, |this| this.buffer.load(RCX, S0));
            self.buffer.jump_if_rcx(aside);
        }
        self.buffer.load(RCX, S0);
    }

    /// Counts as far as a conditional branch, and its tick. If that is the last of the budget the block is left behind it.
    pub(super) fn count_single(&mut self, at: usize, op: &Op, ways: [u64; 2], state: &mut State) {
        let (ticks, _) = self.position(at);
        let now = Counted { instructions: at + 1, ticks: ticks + 1 };
        self.buffer.store(S0, RCX);
        self.add_by_lea(LEFT, difference(state.counted, now));
        state.counted = now;
        self.buffer.slot(&[0x0f, 0xb6], RCX, LEFT + 7, &[]);
        let over = self.buffer.short(0xe3);
        self.buffer.load(RCX, S0);
        let mut short = short(op);
        // Over one trap to the other.
        if let Some(distance) = short.last_mut() {
            *distance = 2;
        }
        self.buffer.put(&short);
        let [taken, next] = ways;
        for rip in [next, taken] {
            let place = Place { fresh: true, ..Place::default() };
            let site = self.site(rip, place, state, What::Ends(Why::Budget));
            self.trap(site);
        }
        self.buffer.link_short(over);
        self.buffer.load(RCX, S0);
    }

    /// Makes what has been counted come to this, where flags and registers are in use.
    pub(super) fn recount(&mut self, from: Counted, to: Counted) {
        let amount = difference(from, to);
        if amount != 0 {
            self.buffer.store(S0, RCX);
            self.add_by_lea(LEFT, amount);
            self.buffer.load(RCX, S0);
        }
    }

    pub(super) fn add_by_lea(&mut self, slot: usize, amount: u32) {
        self.buffer.load(RCX, slot);
        self.buffer.put(&[0x48, 0x8d, 0x89]);
        self.buffer.put(&amount.to_le_bytes());
        self.buffer.store(slot, RCX);
    }
}

/// What something comes to in [`LEFT`].
pub(super) fn units(counted: Counted) -> u32 {
    (counted.ticks as u32).wrapping_mul(TICK as u32).wrapping_add(counted.instructions as u32)
}

/// What has been counted too much, if nothing has been counted too little.
pub(super) fn minus(counted: Counted, done: Counted) -> Option<Counted> {
    Some(Counted {
        instructions: counted.instructions.checked_sub(done.instructions)?,
        ticks: counted.ticks.checked_sub(done.ticks)?,
    })
}

/// What is added to [`LEFT`] when it has counted one and is to have counted the other, with its sign.
pub(super) fn difference(from: Counted, to: Counted) -> u32 {
    units(from).wrapping_sub(units(to))
}

/// The best place to count a block.
pub(super) fn place_count(block: &Block) -> Count {
    let first = block.ops.iter().position(|op| matches!(op.inner, Inner::Branch { .. }));
    let end = match (first, block.end) {
        (Some(first), _) => first,
        (None, End::Leave(_)) => return Count::Nowhere,
        (None, End::Next(_)) => block.ops.len(),
        (None, _) => block.ops.len().saturating_sub(1),
    };
    let before = block.ops.get(..end).unwrap_or(&[]);
    let overwrites = |op: &Op| op.effect.kills == ALL && op.effect.reads == 0;
    if let Some(at) = before.iter().rposition(|op| overwrites(op) && !op.faults) {
        return Count::Before(at);
    }
    let split = before.iter().enumerate().rev().find_map(|(at, op)| {
        (overwrites(op) && op.faults).then(|| split(op)).flatten().map(|split| Count::Within(at, split))
    });
    split.unwrap_or(Count::Live(end))
}
