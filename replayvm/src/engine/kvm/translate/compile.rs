//! A block becomes code: its instructions as they are, and what counts them.
//!
//! Where all flags are about to be overwritten anyway the counting is an ordinary subtraction; elsewhere it is done by loads,
//! LEA and JRCXZ, which leave the flags. What has been counted before its time at a place where the block may be left, the
//! place's [`Site`] takes back.

use iced_x86::{Code as Opcode, Instruction, Mnemonic, OpKind, Register};

use super::block::{Block, End, Idling, Inner, Op, encode, gpr};
use super::emit::{Buffer, RAX, RCX, RDX, Section};
use super::flags::{AF, ALL, Kind, OF, PF, SF, ZF};
use super::layout::{
    BRANCH, COUNT, FLAGS, INSTRUCTIONS, LEFT, Layout, OFFSET, SPILL, STEP, TARGET, TICK, WORD,
};
use super::links::{Counted, Edge, Key, Links};
use super::recover::{Branch, Late, Owed, Place, Site, Sites, Spilled, What, Why};

/// Slots for registers: within counting and flags, within indirect branches, within a split instruction, for addresses.
const S0: usize = SPILL;
const S1: usize = SPILL + 8;
const S2: usize = SPILL + 16;
const S3: usize = SPILL + 24;
/// JS, by its condition.
const SIGN: u8 = 8;
/// JNE.
const NOT_EQUAL: u8 = 5;

/// Where a block is counted, all of it at once.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Count {
    /// Nowhere: it has no ticks and is left at its end.
    Nowhere,
    /// Before this instruction, where all flags are dead.
    Before(usize),
    /// Within this instruction, once its operand is loaded into a register.
    Within(usize, Split),
    /// Before this branch, its first or its last, whatever the flags.
    Live(usize),
}

/// An instruction that reads memory and sets all flags, in two.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Split {
    register: u8,
    /// The operand's load, unless its address has to be loaded first.
    load: Option<Vec<u8>>,
    through: Option<(u64, Vec<u8>)>,
    /// The rest, with the register in the operand's place.
    rest: Vec<u8>,
    relative: Option<(u8, u64)>,
}

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

    fn site(&mut self, rip: u64, place: Place, state: &State, what: What) -> Site {
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

    /// Notes that the instruction of that number comes here and may fault.
    fn fault(&mut self, at: usize, state: &State, restore: Option<(u8, Spilled)>) {
        let Some(op) = self.block.ops.get(at) else { return };
        let mut site = self.site(op.rip, self.place(at, state), state, What::Ends(Why::Fault));
        site.restore[0] = restore;
        self.note(site);
    }

    /// Leaves here.
    fn trap(&mut self, site: Site) {
        self.note(Site { at: self.buffer.here(), ..site });
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
        let rip = self.block.ops.get(at).map_or(0, |op| op.rip);
        let mut site = self.site(rip, self.place(at, state), state, What::Ends(Why::Leave));
        site.restore[0] = restore;
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

    /// What all of the block comes to.
    fn whole(&self) -> Counted {
        Counted { instructions: self.len(), ticks: self.ticks() }
    }

    /// The rest of the block among what is seldom executed, tick by tick or to be left; where it begins. `prepare` comes before.
    fn aside(
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
    fn counts_all(&self, state: &mut State) -> State {
        let before = *state;
        (state.counted, state.whole) = (self.whole(), true);
        before
    }

    /// Counts the block where no flag is of use to anybody, before an instruction or its second half.
    fn count_dead(&mut self, at: usize, half: bool, state: &mut State) {
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
    fn count_live(&mut self, at: usize, state: &mut State) {
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
    fn count_single(&mut self, at: usize, op: &Op, ways: [u64; 2], state: &mut State) {
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
    fn recount(&mut self, from: Counted, to: Counted) {
        let amount = difference(from, to);
        if amount != 0 {
            self.buffer.store(S0, RCX);
            self.add_by_lea(LEFT, amount);
            self.buffer.load(RCX, S0);
        }
    }

    fn add_by_lea(&mut self, slot: usize, amount: u32) {
        self.buffer.load(RCX, slot);
        self.buffer.put(&[0x48, 0x8d, 0x89]);
        self.buffer.put(&amount.to_le_bytes());
        self.buffer.store(slot, RCX);
    }

    /// Loads the operand of a split instruction.
    fn first_half(&mut self, at: usize, split: &Split, state: &State) {
        self.buffer.store(S2, split.register);
        match (&split.load, &split.through) {
            (Some(load), _) => {
                self.fault(at, state, None);
                self.patched(load, split.relative);
            }
            (None, Some((address, load))) => {
                self.buffer.constant(split.register, *address);
                self.fault(at, state, Some((split.register, Spilled::Number(2))));
                self.buffer.put(load);
            }
            (None, None) => self.buffer.overflow = true,
        }
    }

    /// Bytes with a RIP-relative operand in them, maybe.
    fn patched(&mut self, bytes: &[u8], relative: Option<(u8, u64)>) {
        let mut copy = [0; 16];
        let Some(place) = copy.get_mut(..bytes.len()) else {
            self.buffer.overflow = true;
            return;
        };
        place.copy_from_slice(bytes);
        if let Some((offset, target)) = relative {
            let next = self.buffer.address(self.buffer.here()).wrapping_add(bytes.len() as u64);
            let displacement = (target.wrapping_sub(next) as u32).to_le_bytes();
            match place.get_mut(usize::from(offset)..usize::from(offset) + 4) {
                Some(place) => place.copy_from_slice(&displacement),
                None => self.buffer.overflow = true,
            }
        }
        self.buffer.put(place);
    }

    /// Writes an instruction as it is, or these bytes in its stead.
    fn copy(&mut self, at: usize, bytes: &[u8], state: &State) {
        let block = self.block;
        let Some(op) = block.ops.get(at) else { return };
        if op.insn.is_jmp_short_or_near() {
            return;
        }
        if op.repeats {
            self.check_count(at, state);
        }
        let mut restore = None;
        if let Some((register, address)) = op.scratch {
            self.buffer.store(S3, register);
            self.buffer.constant(register, address);
            restore = Some((register, Spilled::Number(3)));
        }
        if op.faults {
            self.fault(at, state, restore);
        }
        self.patched(bytes, op.relative);
        if let Some((register, _)) = op.scratch {
            self.buffer.load(register, S3);
        }
    }

    /// A repeated instruction is one step only if it does not repeat too often.
    fn check_count(&mut self, at: usize, state: &State) {
        let leave = self.leave_stub(at, state, Some((RCX, Spilled::Count)));
        self.buffer.store(COUNT, RCX);
        self.buffer.load_dword(RCX, COUNT + 2);
        self.buffer.jump_if_rcx(leave);
        self.buffer.slot(&[0x0f, 0xb7], RCX, COUNT + 6, &[]);
        self.buffer.jump_if_rcx(leave);
        self.buffer.load(RCX, COUNT);
    }

    /// The instruction of that number.
    fn op(&mut self, at: usize, state: &mut State, mode: Mode) {
        let block = self.block;
        let Some(op) = block.ops.get(at) else { return };
        match op.inner {
            Inner::None => {}
            Inner::Branch { exit, taken } => return self.inner_branch(at, op, exit, taken, state, mode),
            Inner::Call { back } => return self.push(back, at, state, None),
            Inner::Return { expected, release } => {
                return self.inner_return(at, op, expected, 8 + u32::from(release), state);
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
    fn after(&self, at: usize, state: &mut State) {
        let Some(op) = self.block.ops.get(at) else { return };
        state.owed.kill(op.effect.kills);
        if op.effect.kills & OF != 0 {
            state.late = None;
        }
    }

    /// An instruction after which the processor's flags are not the profile's.
    fn owing(&mut self, at: usize, op: &Op, state: &mut State, debt: Owed) {
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
    fn save_flags(&mut self) {
        self.buffer.store(S0, RAX);
        // seto al; lahf
        self.buffer.put(&[0x0f, 0x90, 0xc0, 0x9f]);
        self.buffer.store(FLAGS, RAX);
        self.buffer.load(RAX, S0);
    }

    /// The flags that were put aside.
    fn load_flags(&mut self) {
        self.buffer.store(S0, RAX);
        self.buffer.load(RAX, FLAGS);
        // add al, 127; sahf
        self.buffer.put(&[0x04, 0x7f, 0x9e]);
        self.buffer.load(RAX, S0);
    }

    /// Makes the processor's flags right.
    fn pay(&mut self, state: &mut State) {
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
    fn in_two(&mut self, at: usize, op: &Op, count: u8, state: &State) {
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
    fn by_cl(&mut self, op: &Op, shifts: bool, bits: u32) {
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
    fn after_scan(&mut self, result: u8) {
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

    /// A block that begins with the state at the end of this one.
    fn successor(&self, rip: u64, fresh: bool, state: &State) -> Key {
        Key { rip, fresh, af: state.owed.ones & AF != 0, debt: Counted::default() }
    }

    /// Where an edge to a block leads as long as that has no translation.
    fn edge(&mut self, key: Key, state: &State, idling: Idling, why: Why) -> (Edge, u32) {
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
    fn pay_before(&mut self, op: &Op, state: &mut State) {
        let known = Owed { ones: state.owed.ones & AF, ..Owed::default() };
        if state.owed != known || op.effect.reads & known.ones != 0 {
            self.pay(state);
        }
    }

    /// A conditional branch on the way.
    fn inner_branch(&mut self, at: usize, op: &Op, exit: u64, taken: bool, state: &mut State, mode: Mode) {
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
    fn inner_return(&mut self, at: usize, op: &Op, expected: u64, released: u32, state: &mut State) {
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

    /// The return does not lead there.
    fn other_return(&mut self, at: usize, op: &Op, released: u32, state: State) {
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
        let mut site = Site {
            restore: [Some((RCX, Spilled::Number(0))), None],
            place: Place { fresh: false, ticks: 0, instructions: -1, offset: -1 },
            ..self.site(op.rip, Place::default(), &state, What::Ends(Why::Stalling))
        };
        if fixed {
            self.buffer.store_constant(OFFSET, steps as u32 * STEP);
        } else {
            let counted = if self.ticks() > 0 { 0 } else { state.counted.instructions as u32 };
            self.add_by_lea(OFFSET, (done.instructions as u32).wrapping_sub(counted).wrapping_mul(STEP));
            self.buffer.slot(&[0x0f, 0xb6], RCX, OFFSET + 3, &[]);
            let stub = self.stub(site.clone());
            self.buffer.jump_if_rcx(stub);
        }
        site.at = self.buffer.here();
        site.what = What::Ends(Why::Fault);
        self.note(site);
        self.buffer.put(&[0x48, 0x8b, 0x0c, 0x24]);
        self.return_to(op.rip, released);
    }

    /// `lea rsp, [rsp + imm32]`
    fn release(&mut self, bytes: u32) {
        self.buffer.put(&[0x48, 0x8d, 0xa4, 0x24]);
        self.buffer.put(&bytes.to_le_bytes());
    }

    /// Goes to the address in RCX, which was on the stack. RCX itself is in its slot.
    fn return_to(&mut self, rip: u64, released: u32) {
        self.buffer.store(TARGET, RCX);
        self.release(released);
        self.dispatch(rip, u64::from(released));
    }

    /// The end of the block.
    fn finish(&mut self, state: State, mode: Mode) -> Option<Edge> {
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
                self.push(back, last, &state, None);
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
                self.check_target(last, &state);
                self.push(back, last, &state, Some((RCX, Spilled::Number(0))));
                self.dispatch(rip, 0);
                None
            }
            End::Branch { .. } | End::Leave(_) => None,
        }
    }

    /// The conditional branch at the end, by where it leads taken and not taken.
    fn branch(&mut self, at: usize, op: &Op, ways: [u64; 2], state: &mut State, mode: Mode) -> Option<Edge> {
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

    /// Pushes a return address, as the instruction of that number.
    fn push(&mut self, back: u64, at: usize, state: &State, restore: Option<(u8, Spilled)>) {
        if back as i64 == i64::from(back as u32 as i32) {
            self.fault(at, state, restore);
            self.buffer.put(&[0x68]);
            self.buffer.put(&(back as u32).to_le_bytes());
            return;
        }
        let (section, around) = self.step_aside();
        let constant = self.buffer.here();
        self.buffer.put(&back.to_le_bytes());
        self.step_back(section, around);
        self.fault(at, state, restore);
        self.buffer.relative(&[0xff], 6, self.buffer.address(constant), &[]);
    }

    /// Puts RCX aside and the operand of an indirect branch into it and its slot.
    fn load_target(&mut self, op: &Op, at: usize, state: &State) {
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

    /// Leaves before CALL unless its target is in the lower half.
    fn check_target(&mut self, at: usize, state: &State) {
        let leave = self.leave_stub(at, state, Some((RCX, Spilled::Number(0))));
        self.buffer.load_dword(RCX, TARGET + 4);
        // lea rcx, [rcx + rcx]: bit 47 of the target is bit 16 now.
        self.buffer.put(&[0x48, 0x8d, 0x0c, 0x09]);
        self.buffer.store(WORD, RCX);
        self.buffer.load_dword(RCX, WORD + 2);
        self.buffer.jump_if_rcx(leave);
        self.buffer.load(RCX, TARGET);
    }

    /// Goes where the table says for the target in RCX and its slot. RCX itself is in its slot.
    fn dispatch(&mut self, rip: u64, released: u64) {
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
pub(super) fn prologue(buffer: &mut Buffer<'_>, rip: u64, other: u32) {
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

/// What something comes to in [`LEFT`].
fn units(counted: Counted) -> u32 {
    (counted.ticks as u32).wrapping_mul(TICK as u32).wrapping_add(counted.instructions as u32)
}

/// What has been counted too much, if nothing has been counted too little.
fn minus(counted: Counted, done: Counted) -> Option<Counted> {
    Some(Counted {
        instructions: counted.instructions.checked_sub(done.instructions)?,
        ticks: counted.ticks.checked_sub(done.ticks)?,
    })
}

/// What is added to [`LEFT`] when it has counted one and is to have counted the other, with its sign.
fn difference(from: Counted, to: Counted) -> u32 {
    units(from).wrapping_sub(units(to))
}

/// The low four bits of a conditional jump's opcode.
fn condition(op: &Op) -> u8 {
    let bytes = op.bytes();
    let at = opcode(bytes).unwrap_or(0);
    let byte = match bytes.get(at) {
        Some(0x0f) => bytes.get(at + 1),
        byte => byte,
    };
    byte.copied().unwrap_or(0) & 15
}

/// A conditional branch in its short form, with its distance last.
fn short(op: &Op) -> Vec<u8> {
    if op.insn.is_jcc_short_or_near() { vec![0x70 | condition(op), 0] } else { op.bytes().to_vec() }
}

/// What is there for indirect branches that miss.
pub(super) fn missed(buffer: &mut Buffer<'_>, sites: &mut Sites) {
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

/// Where the opcode lies among the bytes of an instruction.
fn opcode(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(
        |b| !matches!(b, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3),
    )
}

/// The best place to count a block.
fn place_count(block: &Block) -> Count {
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

/// An instruction that only reads memory, in two.
fn split(op: &Op) -> Option<Split> {
    use Mnemonic as M;
    let insn = &op.insn;
    let ordinary = matches!(insn.mnemonic(), M::Add | M::Sub | M::Cmp | M::And | M::Or | M::Xor | M::Test);
    let operand = (0..2).find(|&i| insn.op_kind(i) == OpKind::Memory)?;
    let only_reads = operand == 1 || matches!(insn.mnemonic(), M::Cmp | M::Test);
    if !ordinary || !only_reads || insn.has_lock_prefix() {
        return None;
    }
    let bytes = insn.memory_size().size();
    [1u8, 2, 0, 3, 6, 7, 8, 9, 10, 11].into_iter().find_map(|register| {
        if op.uses & 1 << register != 0 {
            return None;
        }
        let mut rest = *insn;
        rest.set_op_kind(operand, OpKind::Register);
        rest.set_op_register(operand, sized(register, bytes)?);
        rest.set_segment_prefix(Register::None);
        let rest = encode(&rest)?;
        if op.relative.is_some() || op.scratch.is_some() {
            let address = insn.ip_rel_memory_address();
            let mut through = load_of(insn, register, bytes)?;
            through.clear();
            let mut load = Instruction::default();
            load.set_code(load_code(bytes)?);
            load.set_op0_kind(OpKind::Register);
            load.set_op0_register(sized(register, bytes)?);
            load.set_op1_kind(OpKind::Memory);
            load.set_memory_base(gpr(register));
            let through = Some((address, encode(&load)?));
            return Some(Split { register, load: None, through, rest, relative: None });
        }
        let load = Some(load_of(insn, register, bytes)?);
        Some(Split { register, load, through: None, rest, relative: None })
    })
}

/// `mov register, [operand]`, whatever register is that wide.
fn load_of(insn: &Instruction, register: u8, bytes: usize) -> Option<Vec<u8>> {
    let mut load = Instruction::default();
    load.set_code(load_code(bytes)?);
    load.set_op0_kind(OpKind::Register);
    load.set_op0_register(sized(register, bytes)?);
    load.set_op1_kind(OpKind::Memory);
    load.set_memory_base(insn.memory_base());
    load.set_memory_index(insn.memory_index());
    load.set_memory_index_scale(insn.memory_index_scale());
    load.set_memory_displ_size(insn.memory_displ_size());
    load.set_memory_displacement64(insn.memory_displacement64());
    load.set_segment_prefix(insn.segment_prefix());
    encode(&load)
}

fn load_code(bytes: usize) -> Option<Opcode> {
    Some(match bytes {
        1 => Opcode::Mov_r8_rm8,
        2 => Opcode::Mov_r16_rm16,
        4 => Opcode::Mov_r32_rm32,
        8 => Opcode::Mov_r64_rm64,
        _ => return None,
    })
}

/// The register of that number with so many bytes.
fn sized(register: u8, bytes: usize) -> Option<Register> {
    let number = u32::from(register & 15);
    Some(match bytes {
        1 if number < 4 => Register::AL + number,
        1 => Register::SPL + number.checked_sub(4)?,
        2 => Register::AX + number,
        4 => Register::EAX + number,
        8 => Register::RAX + number,
        _ => return None,
    })
}
