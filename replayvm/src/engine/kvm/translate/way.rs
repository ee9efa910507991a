//! Which way a block takes through branches.

use super::Code;
use super::block::{End, Inner, Op, PAGE};
use super::guess;
use super::layout::MAX_INSTRUCTIONS;

/// Ticks in a block at the most.
const MAX_BLOCK_TICKS: usize = 6;
/// Calls within each other that are followed.
const MAX_CALLS: usize = 4;

/// The way of a block through branches.
#[derive(Debug, Default)]
pub(super) struct Way {
    head: u64,
    /// The page it is in now.
    page: u64,
    ticks: usize,
    /// Instructions and ticks of a round, if it is a loop.
    round: Option<(usize, usize)>,
    /// Where the calls on the way return to.
    backs: Vec<u64>,
}

impl Way {
    pub(super) fn beginning_at(head: u64) -> Self {
        Self { head, page: head & !(PAGE - 1), ..Self::default() }
    }

    /// Whether an address is in the page that the way has come to.
    pub(super) fn is_here(&self, at: u64) -> bool {
        at & !(PAGE - 1) == self.page
    }

    /// Where the block goes on after a branch, the instructions before it given; `None` if it ends there.
    ///
    /// It goes straight on where a branch leads forward, and round again in a loop of its own. Calls and returns are followed, and
    /// so are branches through registers and memory where it can be guessed where they lead.
    pub(super) fn along(
        &mut self,
        op: &Op,
        end: End,
        before: &[Op],
        code: &mut dyn Code,
    ) -> Option<(Inner, u64)> {
        let (inner, next) = self.follow(op, end, before, code)?;
        self.page = next & !(PAGE - 1);
        Some((inner, next))
    }

    fn follow(&mut self, op: &Op, end: End, before: &[Op], code: &mut dyn Code) -> Option<(Inner, u64)> {
        match end {
            End::Branch { taken, next } => {
                if self.ticks + 1 >= MAX_BLOCK_TICKS || !op.insn.is_jcc_short_or_near() {
                    return None;
                }
                if taken == self.head && self.backs.is_empty() {
                    let (instructions, ticks) = *self.round.get_or_insert((before.len() + 1, self.ticks + 1));
                    let again = before.len() + 1 + instructions <= MAX_INSTRUCTIONS
                        && self.ticks + 1 + ticks <= MAX_BLOCK_TICKS;
                    self.ticks += usize::from(again);
                    return again.then_some((Inner::Branch { exit: next, taken: true }, taken));
                }
                if taken < next || !self.is_here(next) {
                    return None;
                }
                self.ticks += 1;
                Some((Inner::Branch { exit: taken, taken: false }, next))
            }
            End::Call { target, back } if self.calls(back, target, code) => {
                Some((Inner::Call { back }, target))
            }
            End::Return { release } => {
                let expected = self.backs.pop()?;
                Some((Inner::Return { expected, release }, expected))
            }
            End::Jump if guess::is_fixed(&op.insn) => {
                let expected =
                    guess::target(before, &op.insn, code).filter(|target| fetches(*target, code))?;
                Some((Inner::Jump { expected }, expected))
            }
            End::CallThrough { back } => {
                let expected = guess::target(before, &op.insn, code)?;
                self.calls(back, expected, code).then_some((Inner::CallThrough { expected, back }, expected))
            }
            _ => None,
        }
    }

    /// Whether a call is followed; where it returns to is noted then.
    fn calls(&mut self, back: u64, target: u64, code: &mut dyn Code) -> bool {
        let follows = self.is_here(back) && self.backs.len() < MAX_CALLS && fetches(target, code);
        if follows {
            self.backs.push(back);
        }
        follows
    }
}

/// Whether an address is one of user code that can be fetched.
fn fetches(target: u64, code: &mut dyn Code) -> bool {
    target >> 47 == 0 && code.bytes(target, &mut [0]) == 1
}
