//! A block becomes code: its instructions as they are, and what counts them.
//!
//! Where all flags are about to be overwritten anyway the counting is an ordinary subtraction; elsewhere it is done by loads,
//! LEA and JRCXZ, which leave the flags. What has been counted before its time at a place where the block may be left, the
//! place's [`Site`] takes back.

/// Branches that say where they lead.
mod branches;
/// Instructions where they are not.
mod copy;
/// Counting.
mod count;
/// Branches that do not.
mod through;
/// Flags that processors leave otherwise than the profile.
mod undefined;

pub(super) use through::{missed, prologue};

use super::block::{Block, End, Idling};
use super::emit::{Buffer, Section};
use super::flags::AF;
use super::layout::{Layout, SPILL};
use super::links::{Counted, Edge, Key, Links};
use super::recover::{Late, Owed, Place, Site, Sites, Spilled, What, Why};
use count::{Count, place_count};

/// Slots for registers: within counting and flags, within indirect branches, within a split instruction, for addresses.
const S0: usize = SPILL;
const S1: usize = SPILL + 8;
const S2: usize = SPILL + 16;
const S3: usize = SPILL + 24;
/// JS, by its condition.
const SIGN: u8 = 8;
/// JNE.
const NOT_EQUAL: u8 = 5;

/// How a copy of the block counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// All at once.
    Ordinary,
    /// Tick by tick: the budget may not suffice for all of it.
    Single,
    /// It is left at its end, since it has taken too many steps without a tick.
    Stalling,
}

/// What holds between two instructions.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    owed: Owed,
    late: Option<Late>,
    counted: Counted,
    /// That is all of the block.
    whole: bool,
}

/// Turns one block into code.
pub(super) struct Compiler<'c, 'b> {
    buffer: &'c mut Buffer<'b>,
    sites: &'c mut Sites,
    links: &'c Links,
    edges: &'c mut Vec<Edge>,
    layout: Layout,
    block: &'c Block,
    key: Key,
    count: Count,
    /// Ticks before each instruction and steps since then.
    positions: Vec<(usize, usize)>,
}

impl<'c, 'b> Compiler<'c, 'b> {
    pub(super) fn new(
        buffer: &'c mut Buffer<'b>,
        sites: &'c mut Sites,
        links: &'c Links,
        edges: &'c mut Vec<Edge>,
        layout: Layout,
        block: &'c Block,
        key: Key,
    ) -> Self {
        let (count, positions) = (place_count(block), block.positions());
        Self { buffer, sites, links, edges, layout, block, key, count, positions }
    }

    /// Writes the block. What comes back is the block that it goes on to, if that is known: the caller has it follow, or jumps.
    pub(super) fn compile(&mut self) -> Option<Edge> {
        let mut state = State { counted: self.key.debt, ..State::default() };
        if self.key.af {
            state.owed.ones = AF;
        }
        self.run(0, false, state, Mode::Ordinary)
    }

    /// Instructions in it, the one that ends it included.
    fn len(&self) -> usize {
        self.block.ops.len()
    }

    /// Instructions before the one that ends it.
    fn body(&self) -> usize {
        match self.block.end {
            End::Next(_) | End::Leave(_) => self.len(),
            _ => self.len().saturating_sub(1),
        }
    }

    /// Ticks before an instruction, and steps since the last of them or the block's beginning.
    fn position(&self, at: usize) -> (usize, usize) {
        self.positions.get(at).copied().unwrap_or_default()
    }

    /// Ticks in all.
    fn ticks(&self) -> usize {
        self.position(self.len()).0
    }

    /// The position before the instruction of that number.
    fn place(&self, at: usize, state: &State) -> Place {
        let (ticks, steps) = self.position(at);
        let instructions = at as i64 - state.counted.instructions as i64;
        let fresh = self.key.fresh || ticks > 0;
        Place {
            fresh,
            ticks: ticks as i64 - state.counted.ticks as i64,
            instructions,
            // A block without ticks counts its steps with its instructions.
            offset: if !fresh && self.ticks() == 0 { instructions } else { steps as i64 },
        }
    }

    fn site(&self, rip: u64, place: Place, state: &State, what: What) -> Site {
        Site {
            at: self.buffer.here(),
            rip,
            place,
            restore: [None; 2],
            owed: state.owed,
            late: state.late,
            idling: Idling::default(),
            what,
        }
    }

    fn note(&mut self, site: Site) {
        match self.buffer.section() {
            Section::Hot => self.sites.hot.push(site),
            Section::Cold => self.sites.cold.push(site),
        }
    }

    /// What is known before the instruction of that number, which has done nothing yet.
    fn before(&self, at: usize, state: &State, why: Why) -> Site {
        let rip = self.block.ops.get(at).map_or(0, |op| op.rip);
        self.site(rip, self.place(at, state), state, What::Ends(why))
    }

    /// Notes that the instruction of that number comes here and may fault.
    fn fault(&mut self, at: usize, state: &State, restore: Option<(u8, Spilled)>) {
        let site = Site { restore: [restore, None], ..self.before(at, state, Why::Fault) };
        self.note_here(site);
    }

    fn note_here(&mut self, site: Site) {
        self.note(Site { at: self.buffer.here(), ..site });
    }

    /// Leaves here.
    fn trap(&mut self, site: Site) {
        self.note_here(site);
        self.buffer.put(&[0x0f, 0x0b]);
    }

    /// A place among what is seldom executed that leaves.
    fn stub(&mut self, site: Site) -> u32 {
        let (section, around) = self.step_aside();
        let at = self.buffer.here();
        self.trap(site);
        self.step_back(section, around);
        at
    }

    /// What follows lies among what is seldom executed, and is not come to from before it.
    fn step_aside(&mut self) -> (Section, Option<u32>) {
        let section = self.buffer.select(Section::Cold);
        // What is seldom executed itself goes on around it.
        (section, (section == Section::Cold).then(|| self.buffer.jump(0)))
    }

    /// The end of that.
    fn step_back(&mut self, section: Section, around: Option<u32>) {
        if let Some(around) = around {
            self.buffer.link(around, self.buffer.here());
        }
        self.buffer.select(section);
    }

    /// A place that leaves before the instruction of that number.
    fn leave_stub(&mut self, at: usize, state: &State, restore: Option<(u8, Spilled)>) -> u32 {
        let site = Site { restore: [restore, None], ..self.before(at, state, Why::Leave) };
        self.stub(site)
    }

    /// The instructions from one on, from its second half on if so said.
    fn run(&mut self, from: usize, half: bool, state: State, mode: Mode) -> Option<Edge> {
        let mut state = state;
        for at in from..self.body() {
            let second = half && at == from;
            let counts = mode == Mode::Ordinary && !state.whole;
            match self.count.clone() {
                Count::Before(place) if place == at && counts => {
                    self.count_dead(at, false, &mut state);
                    self.op(at, &mut state, mode);
                }
                Count::Within(place, split) if place == at => {
                    if !second {
                        self.first_half(at, &split, &state);
                        if counts {
                            self.count_dead(at, true, &mut state);
                        }
                    }
                    self.patched(&split.rest, split.relative);
                    self.buffer.load(split.register, S2);
                    self.after(at, &mut state);
                }
                Count::Live(place) if place == at && counts => {
                    self.count_live(at, &mut state);
                    self.op(at, &mut state, mode);
                }
                _ => self.op(at, &mut state, mode),
            }
        }
        self.finish(state, mode)
    }
}

/// Where the opcode lies among the bytes of an instruction.
fn opcode(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(
        |b| !matches!(b, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3),
    )
}
