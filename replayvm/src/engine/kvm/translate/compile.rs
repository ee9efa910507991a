//! A block becomes code: its instructions as they are, and what counts them.
//!
//! Where all flags are about to be overwritten anyway the counting is an ordinary subtraction; elsewhere it is done by loads,
//! LEA and JRCXZ, which leave the flags. What has been counted before its time at a place where the block may be left, the
//! place's [`Site`] takes back.

use iced_x86::{Code as Opcode, Instruction, Mnemonic, OpKind, Register};

use super::block::{Block, End, Idling, Op, encode, gpr};
use super::emit::{Buffer, RAX, RCX, RDX, Section};
use super::flags::{AF, ALL, Kind, OF, PF, SF, ZF};
use super::layout::{
    BRANCH, COUNT, FLAGS, INSTRUCTIONS, LEFT, Layout, OFFSET, SPILL, STEP, TARGET, TICK, WORD,
};
use super::links::{Edge, Key};
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

/// Where a block is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Count {
    /// Nowhere: it is left at its end.
    Nowhere,
    /// Before this instruction, where all flags are dead.
    Before(usize),
    /// Within this instruction, once its operand is loaded into a register.
    Within(usize, Split),
    /// Before the branch that ends it, whatever the flags.
    AtEnd,
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

/// How far counting has come, and what is different if the budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// On the way.
    Ordinary,
    /// The block is left at its end, for this reason.
    Ends(Why),
}

/// What holds between two instructions.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    owed: Owed,
    late: Option<Late>,
    counted: bool,
}

/// Turns one block into code.
pub(super) struct Compiler<'c, 'b> {
    buffer: &'c mut Buffer<'b>,
    sites: &'c mut Sites,
    edges: &'c mut Vec<Edge>,
    layout: Layout,
    block: &'c Block,
    key: Key,
    count: Count,
}

impl<'c, 'b> Compiler<'c, 'b> {
    pub(super) fn new(
        buffer: &'c mut Buffer<'b>,
        sites: &'c mut Sites,
        edges: &'c mut Vec<Edge>,
        layout: Layout,
        block: &'c Block,
        key: Key,
    ) -> Self {
        let count = place_count(block);
        Self { buffer, sites, edges, layout, block, key, count }
    }

    /// Writes the block. What comes back is the block that it goes on to, if that is known: the caller has it follow, or jumps.
    pub(super) fn compile(&mut self) -> Option<Edge> {
        let mut state = State::default();
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

    fn ticks(&self) -> bool {
        matches!(self.block.end, End::Branch { .. })
    }

    /// The position before the instruction of that number.
    fn place(&self, at: usize, state: &State) -> Place {
        let (done, left) = (at as i64, at as i64 - self.len() as i64);
        let (counted, ticks) = (state.counted, self.ticks());
        Place {
            fresh: self.key.fresh,
            ticks: if counted && ticks { -1 } else { 0 },
            instructions: if counted { left } else { done },
            offset: if counted && !ticks && !self.key.fresh { left } else { done },
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
        let section = self.buffer.select(Section::Cold);
        // What is seldom executed itself goes on around it.
        let around = (section == Section::Cold).then(|| self.buffer.short(0xeb));
        let at = self.buffer.here();
        self.trap(site);
        if let Some(around) = around {
            self.buffer.link_short(around);
        }
        self.buffer.select(section);
        at
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
            match self.count.clone() {
                Count::Before(place) if place == at && !state.counted => {
                    self.count_dead(at, false, &mut state);
                    self.op(at, &mut state);
                }
                Count::Within(place, split) if place == at => {
                    if !second {
                        self.first_half(at, &split, &state);
                        self.count_dead(at, true, &mut state);
                    }
                    self.patched(&split.rest, split.relative);
                    self.buffer.load(split.register, S2);
                    self.after(at, &mut state);
                }
                _ => self.op(at, &mut state),
            }
        }
        self.finish(state, mode)
    }

    /// Counts the block where no flag is of use to anybody, before an instruction or its second half.
    fn count_dead(&mut self, at: usize, half: bool, state: &mut State) {
        state.counted = true;
        let instructions = self.len() as u32;
        let why = if self.ticks() { Why::Budget } else { Why::Stalling };
        let tail = |this: &mut Self, state: &State| {
            let section = this.buffer.select(Section::Cold);
            let here = this.buffer.here();
            this.run(at, half, *state, Mode::Ends(why));
            this.buffer.select(section);
            here
        };
        if self.ticks() {
            let amount = TICK as u32 + instructions;
            self.buffer.slot(&[0x48, 0x81], 5, LEFT, &amount.to_le_bytes());
            let tail = tail(self, state);
            self.buffer.jump_if(SIGN, tail);
            return;
        }
        self.buffer.slot(&[0x48, 0x83], 0, INSTRUCTIONS, &[instructions as u8]);
        let steps = instructions * STEP;
        if self.key.fresh {
            self.buffer.store_constant(OFFSET, steps);
        } else {
            self.buffer.slot(&[0x48, 0x81], 0, OFFSET, &steps.to_le_bytes());
            self.buffer.slot(&[0x80], 7, OFFSET + 3, &[0]);
            let tail = tail(self, state);
            self.buffer.jump_if(NOT_EQUAL, tail);
        }
    }

    /// Counts the block before the branch that ends it, leaving the flags.
    fn count_live(&mut self, state: &mut State) {
        state.counted = true;
        let instructions = self.len() as u32;
        let why = if self.ticks() { Why::Budget } else { Why::Stalling };
        let tail = |this: &mut Self, state: &State| {
            let section = this.buffer.select(Section::Cold);
            let here = this.buffer.here();
            this.buffer.load(RCX, S0);
            this.run(this.body(), false, *state, Mode::Ends(why));
            this.buffer.select(section);
            here
        };
        self.buffer.store(S0, RCX);
        if self.ticks() {
            let amount = TICK as u32 + instructions;
            self.add_by_lea(LEFT, amount.wrapping_neg());
            self.buffer.slot(&[0x0f, 0xb6], RCX, LEFT + 7, &[]);
            let tail = tail(self, state);
            self.buffer.jump_if_rcx(tail);
        } else {
            self.add_by_lea(INSTRUCTIONS, instructions);
            if self.key.fresh {
                self.buffer.store_constant(OFFSET, instructions * STEP);
            } else {
                self.add_by_lea(OFFSET, instructions * STEP);
                self.buffer.slot(&[0x0f, 0xb6], RCX, OFFSET + 3, &[]);
                let tail = tail(self, state);
                self.buffer.jump_if_rcx(tail);
            }
        }
        self.buffer.load(RCX, S0);
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
    fn op(&mut self, at: usize, state: &mut State) {
        let block = self.block;
        let Some(op) = block.ops.get(at) else { return };
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
        Key { rip, fresh, af: state.owed.ones & AF != 0 }
    }

    /// Where an edge to a block leads as long as that has no translation.
    fn edge(&mut self, key: Key, state: &State, idling: Idling, why: Why) -> (Edge, u32) {
        let place = Place { fresh: key.fresh, ..Place::default() };
        let mut site = self.site(key.rip, place, state, What::Ends(why));
        site.idling = idling;
        let stub = self.stub(site);
        (Edge { key, at: 0, stub, jumped: idling.jumps != 0 }, stub)
    }

    /// The end of the block.
    fn finish(&mut self, state: State, mode: Mode) -> Option<Edge> {
        let mut state = state;
        let block = self.block;
        let last = self.body();
        if self.count == Count::AtEnd && !state.counted {
            self.count_live(&mut state);
        }
        // What is known of AF goes on to the blocks that follow; the rest is put right here.
        let known = Owed { ones: state.owed.ones & AF, ..Owed::default() };
        let op = block.ops.get(last);
        let indirect = matches!(block.end, End::Return { .. } | End::Jump | End::CallThrough { .. });
        let reads = op.map_or(0, |op| op.effect.reads);
        let stays = matches!(block.end, End::Leave(_)) || matches!(mode, Mode::Ends(_)) && !self.ticks();
        if !stays && (state.owed != known || reads & known.ones != 0 || (indirect && known.ones != 0)) {
            self.pay(&mut state);
        }
        match (block.end, mode) {
            (End::Leave(rip), _) => {
                let mut site = self.site(rip, self.place(last, &state), &state, What::Ends(Why::Leave));
                site.idling = block.idling;
                self.trap(site);
                None
            }
            (End::Branch { taken, next }, _) => self.branch(op?, taken, next, &state, mode),
            (End::Next(rip), Mode::Ends(why)) => {
                let mut site = self.site(rip, self.place(last, &state), &state, What::Ends(why));
                site.idling = block.idling;
                self.trap(site);
                None
            }
            (_, Mode::Ends(why)) => {
                let site = self.site(op?.rip, self.place(last, &state), &state, What::Ends(why));
                self.trap(site);
                None
            }
            (End::Next(rip), Mode::Ordinary) => {
                let key = self.successor(rip, false, &state);
                Some(self.edge(key, &state, block.idling, Why::Untranslated).0)
            }
            (End::Call { target, back }, Mode::Ordinary) => {
                self.push(back, last, &state, None);
                let key = self.successor(target, false, &state);
                Some(self.edge(key, &state, Idling::default(), Why::Untranslated).0)
            }
            (End::Return { release }, Mode::Ordinary) => {
                self.buffer.store(S0, RCX);
                self.fault(last, &state, None);
                // mov rcx, [rsp]
                self.buffer.put(&[0x48, 0x8b, 0x0c, 0x24]);
                self.buffer.store(TARGET, RCX);
                let released = 8 + u32::from(release);
                // lea rsp, [rsp + imm32]
                self.buffer.put(&[0x48, 0x8d, 0xa4, 0x24]);
                self.buffer.put(&released.to_le_bytes());
                self.dispatch(op?.rip, u64::from(released));
                None
            }
            (End::Jump, Mode::Ordinary) => {
                self.load_target(op?, last, &state);
                self.dispatch(op?.rip, 0);
                None
            }
            (End::CallThrough { back }, Mode::Ordinary) => {
                self.load_target(op?, last, &state);
                self.check_target(last, &state);
                self.push(back, last, &state, Some((RCX, Spilled::Number(0))));
                self.dispatch(op?.rip, 0);
                None
            }
        }
    }

    /// A conditional branch.
    fn branch(&mut self, op: &Op, taken: u64, next: u64, state: &State, mode: Mode) -> Option<Edge> {
        let why = match mode {
            Mode::Ordinary => Why::Untranslated,
            Mode::Ends(why) => why,
        };
        let keys = [taken, next].map(|rip| self.successor(rip, true, state));
        let mut short = op.bytes().to_vec();
        let conditional = op.insn.is_jcc_short_or_near();
        let condition = opcode(&short).and_then(|at| match short.get(at) {
            Some(0x0f) => short.get(at + 1).copied(),
            byte => byte.copied(),
        });
        if conditional {
            short = vec![0x70 | condition.unwrap_or(0) & 15, 0];
        }
        if let Mode::Ends(_) = mode {
            // Over one trap to the other.
            if let Some(distance) = short.last_mut() {
                *distance = 2;
            }
            self.buffer.put(&short);
            for key in [keys[1], keys[0]] {
                let place = Place { fresh: true, ..Place::default() };
                let site = self.site(key.rip, place, state, What::Ends(why));
                self.trap(site);
            }
            return None;
        }
        let (mut to_taken, taken_stub) = self.edge(keys[0], state, Idling::default(), why);
        let (mut to_next, next_stub) = self.edge(keys[1], state, Idling::default(), why);
        if conditional {
            to_taken.at = self.buffer.jump_if(condition.unwrap_or(0) & 15, taken_stub);
            self.edges.push(to_taken);
            return Some(to_next);
        }
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
        let section = self.buffer.select(Section::Cold);
        let constant = self.buffer.here();
        self.buffer.put(&back.to_le_bytes());
        self.buffer.select(section);
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
    }

    /// Goes where the table says for the target in its slot. RCX is in its slot.
    fn dispatch(&mut self, rip: u64, released: u64) {
        let number = self.sites.branches.len() as u32;
        self.sites.branches.push(Branch { rip, released });
        self.buffer.slot(&[0xc7], 0, BRANCH, &number.to_le_bytes());
        self.buffer.constant(RCX, self.layout.table >> 3);
        // mov cx, [target]; jmp [rcx * 8]
        self.buffer.slot(&[0x66, 0x8b], RCX, TARGET, &[]);
        self.buffer.put(&[0xff, 0x24, 0xcd, 0, 0, 0, 0]);
    }
}

/// Where the table leads for a block that indirect branches lead to: to the block if it is that, else on to `other`, with RCX
/// still in its slot. The block follows.
pub(super) fn prologue(buffer: &mut Buffer<'_>, rip: u64, other: u32) {
    let negative = rip.wrapping_neg();
    if negative as i64 == i64::from(negative as u32 as i32) {
        buffer.load(RCX, TARGET);
        buffer.put(&[0x48, 0x8d, 0x89]);
        buffer.put(&(negative as u32).to_le_bytes());
    } else {
        buffer.store(S1, RDX);
        buffer.load(RDX, TARGET);
        buffer.constant(RCX, negative);
        // lea rcx, [rcx + rdx]
        buffer.put(&[0x48, 0x8d, 0x0c, 0x11]);
        buffer.load(RDX, S1);
    }
    buffer.jump_if_rcx(other);
    buffer.load(RCX, S0);
}

/// What is there for indirect branches that miss.
pub(super) fn missed(buffer: &mut Buffer<'_>, sites: &mut Sites) {
    sites.hot.push(Site {
        at: buffer.here(),
        rip: 0,
        place: Place::default(),
        restore: [Some((RCX, Spilled::Number(0))), None],
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
    let body = match block.end {
        End::Leave(_) => return Count::Nowhere,
        End::Next(_) => block.ops.len(),
        _ => block.ops.len().saturating_sub(1),
    };
    let body = block.ops.get(..body).unwrap_or(&[]);
    let overwrites = |op: &Op| op.effect.kills == ALL && op.effect.reads == 0;
    if let Some(at) = body.iter().rposition(|op| overwrites(op) && !op.faults) {
        return Count::Before(at);
    }
    let split = body.iter().enumerate().rev().find_map(|(at, op)| {
        (overwrites(op) && op.faults).then(|| split(op)).flatten().map(|split| Count::Within(at, split))
    });
    split.unwrap_or(Count::AtEnd)
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
