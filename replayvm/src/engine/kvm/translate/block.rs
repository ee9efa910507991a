//! Guest code, block by block: what is copied, what it does, and where it ends.

use iced_x86::{
    Code as Opcode, CpuidFeature, Decoder, DecoderOptions, Encoder, Instruction, InstructionInfoFactory,
    Mnemonic, OpAccess, OpKind, Register,
};
use replayvm_cpu::Mode;

use super::Code;
use super::flags::{AF, ALL, CF, Effect, Kind, OF};
use super::guess;
use super::layout::{Layout, MAX_INSTRUCTIONS};
use super::way::Way;
use crate::engine::ordinary;

pub(super) const PAGE: u64 = 0x1000;
/// Of an instruction.
const MAX_BYTES: usize = 15;

/// An instruction, as it is written into the code area.
#[derive(Debug, Clone)]
pub(super) struct Op {
    pub(super) insn: Instruction,
    pub(super) rip: u64,
    /// The bytes to write. Empty if nothing is to be written.
    bytes: [u8; MAX_BYTES],
    len: u8,
    /// Where among the bytes the displacement of a RIP-relative operand lies, and what it leads to.
    pub(super) relative: Option<(u8, u64)>,
    /// The operand is out of reach: its address has to be in this register.
    pub(super) scratch: Option<(u8, u64)>,
    pub(super) effect: Effect,
    /// It may fault, or leave.
    pub(super) faults: bool,
    /// Sets of general registers.
    pub(super) uses: u16,
    pub(super) writes: u16,
    pub(super) repeats: bool,
    /// What becomes of a branch that does not end the block.
    pub(super) inner: Inner,
}

/// A branch on the block's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inner {
    /// No branch, or a jump to what follows in the block.
    None,
    /// A conditional branch: if it goes the other way the block is left. `taken`: the block's way is where it is taken.
    Branch { exit: u64, taken: bool },
    /// A call of what follows in the block.
    Call { back: u64 },
    /// A return that most likely is the one of a call in the block, to what follows.
    Return { expected: u64, release: u16 },
    /// JMP through a register or memory, most likely to what follows.
    Jump { expected: u64 },
    /// CALL through a register or memory, most likely of what follows.
    CallThrough { expected: u64, back: u64 },
}

impl Op {
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }

    fn set_bytes(&mut self, bytes: &[u8]) -> Option<()> {
        self.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        self.len = bytes.len() as u8;
        Some(())
    }

    pub(super) fn next(&self) -> u64 {
        self.rip.wrapping_add(self.insn.len() as u64)
    }

    /// NOP, PAUSE and direct JMP, of which idle loops are made.
    pub(super) fn idles(&self) -> bool {
        matches!(self.insn.mnemonic(), Mnemonic::Nop | Mnemonic::Pause) || self.insn.is_jmp_short_or_near()
    }
}

/// What a block ends in. All but `Next` and `Leave` are its last instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// A conditional branch.
    Branch { taken: u64, next: u64 },
    /// It goes on here.
    Next(u64),
    /// What follows is for the software CPU.
    Leave(u64),
    /// CALL.
    Call { target: u64, back: u64 },
    /// RET, which releases so much besides.
    Return { release: u16 },
    /// JMP through a register or memory.
    Jump,
    /// CALL through a register or memory.
    CallThrough { back: u64 },
}

/// A run of jumps in a place where nothing else has been since: what the CPU remembers of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Idling {
    /// `CpuState::idle_loop_rip`.
    pub rip: u64,
    /// `CpuState::idle_loop_jumps`.
    pub jumps: u32,
}

impl Idling {
    /// After a jump; `None` if it closes a loop.
    fn jump(self, target: u64) -> Option<Self> {
        if self.jumps == 0 {
            return Some(Self { rip: target, jumps: 1 });
        }
        if target == self.rip {
            return None;
        }
        let jumps = self.jumps.checked_add(1)?;
        Some(Self { rip: if jumps.is_power_of_two() { target } else { self.rip }, jumps })
    }
}

/// Instructions in the order of their execution.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) ops: Vec<Op>,
    pub(super) end: End,
    /// At the end, if it was none at the beginning.
    pub(super) idling: Idling,
    /// It ends in a call of which more may be known when it is about to be executed.
    pub(super) waits: bool,
}

/// Reads blocks.
pub(super) struct Reader {
    info: InstructionInfoFactory,
    layout: Layout,
}

/// What the next instruction is to a block.
enum Next {
    Inside(Op),
    /// A branch that ends it.
    Last(Op, End),
    /// One that jumps to another of the same page.
    Jump(Op, u64),
    Unknown,
}

impl Reader {
    pub(super) fn new(layout: Layout) -> Self {
        Self { info: InstructionInfoFactory::new(), layout }
    }

    /// The block at `rip`; `first` if that is about to be executed. `None`: nothing of it can be translated.
    pub(super) fn read(&mut self, rip: u64, first: bool, code: &mut dyn Code) -> Option<Block> {
        let mut block =
            Block { ops: Vec::new(), end: End::Leave(rip), idling: Idling::default(), waits: false };
        let (mut at, mut way) = (rip, Way::beginning_at(rip));
        loop {
            if block.ops.len() == MAX_INSTRUCTIONS || !way.is_here(at) {
                block.end = End::Next(at);
                break;
            }
            let across = first && block.ops.is_empty();
            let Some((insn, bytes, crosses)) = fetch(at, across, code) else {
                // It needs the next page, or there is nothing.
                block.end = End::Next(at);
                break;
            };
            match self.judge(&insn, bytes.get(..insn.len()).unwrap_or(&[]), at) {
                Next::Inside(op) => {
                    if !op.idles() {
                        block.idling = Idling::default();
                    }
                    at = op.next();
                    block.ops.push(op);
                }
                Next::Jump(op, target) => {
                    let Some(idling) = block.idling.jump(target) else {
                        block.end = End::Leave(at);
                        break;
                    };
                    block.idling = idling;
                    block.ops.push(op);
                    at = target;
                }
                Next::Last(mut op, end) => {
                    block.idling = Idling::default();
                    let along = if crosses { None } else { way.along(&op, end, &block.ops, code) };
                    if let Some((inner, next)) = along {
                        op.inner = inner;
                        block.ops.push(op);
                        at = next;
                        continue;
                    }
                    block.waits = matches!(end, End::CallThrough { .. }) && !guess::is_fixed(&op.insn);
                    block.ops.push(op);
                    block.end = end;
                    break;
                }
                Next::Unknown => {
                    block.end = End::Leave(at);
                    break;
                }
            }
            if crosses {
                block.end = match block.end {
                    End::Leave(_) => End::Next(at),
                    end => end,
                };
                break;
            }
        }
        self.cut(&mut block);
        (!block.ops.is_empty()).then_some(block)
    }

    /// Ends the block before an instruction whose undefined flags somebody would see, if they cannot be put right.
    fn cut(&self, block: &mut Block) {
        while let Some(at) = (0..block.ops.len()).find(|&i| block.cannot_put_right(i)) {
            let rip = block.ops.get(at).map_or(0, |op| op.rip);
            block.ops.truncate(at);
            block.end = End::Leave(rip);
            block.waits = false;
            block.idling = Idling::default();
            // What it was after the jumps before it.
            for (i, op) in block.ops.iter().enumerate() {
                let target = block.ops.get(i + 1).map_or(rip, |next| next.rip);
                if op.insn.is_jmp_short_or_near() {
                    block.idling = block.idling.jump(target).unwrap_or_default();
                } else if !op.idles() {
                    block.idling = Idling::default();
                }
            }
        }
    }

    fn judge(&mut self, insn: &Instruction, bytes: &[u8], rip: u64) -> Next {
        let near = |op: &Op| {
            let odd = op.insn.is_loop() || op.insn.is_loopcc() || op.insn.is_jcx_short();
            // With an operand-size prefix processors differ, and with a repeat prefix some in LOOP.
            !bytes
                .iter()
                .take_while(|b| is_prefix(**b))
                .any(|b| *b == 0x66 || (odd && matches!(b, 0xf2 | 0xf3)))
        };
        let Some(op) = self.op(insn, bytes, rip) else { return Next::Unknown };
        let next = op.next();
        let canonical = |target: u64| (target as i64) << 16 >> 16 == target as i64;
        let branch = insn.is_jcc_short_or_near() || insn.is_loop() || insn.is_loopcc() || insn.is_jcx_short();
        let target = insn.near_branch_target();
        if branch || insn.is_jmp_short_or_near() || insn.is_call_near() {
            if insn.op0_kind() != OpKind::NearBranch64 || !canonical(target) || !near(&op) {
                return Next::Unknown;
            }
            if branch {
                return Next::Last(op, End::Branch { taken: target, next });
            }
            if insn.is_call_near() {
                return Next::Last(op, End::Call { target, back: next });
            }
            return Next::Jump(op, target);
        }
        let through =
            matches!(insn.code(), Opcode::Jmp_rm64 | Opcode::Call_rm64 | Opcode::Retnq | Opcode::Retnq_imm16);
        if through {
            if !near(&op) {
                return Next::Unknown;
            }
            let end = match insn.mnemonic() {
                Mnemonic::Jmp => End::Jump,
                Mnemonic::Call => End::CallThrough { back: next },
                _ if insn.op_count() == 0 => End::Return { release: 0 },
                _ => End::Return { release: insn.immediate16() },
            };
            return Next::Last(op, end);
        }
        if self.copies(insn, bytes) { Next::Inside(op) } else { Next::Unknown }
    }

    /// Whether an instruction that is not a branch can be executed where it is not.
    fn copies(&self, insn: &Instruction, bytes: &[u8]) -> bool {
        use Mnemonic as M;
        let lock_or_fence = matches!(
            insn.mnemonic(),
            M::Mfence
                | M::Lfence
                | M::Sfence
                | M::Pause
                | M::Endbr64
                | M::Prefetchnta
                | M::Prefetcht0
                | M::Prefetcht1
                | M::Prefetcht2
                | M::Cmpxchg16b
                | M::Ldmxcsr
                | M::Stmxcsr
        );
        match insn.mnemonic() {
            M::Call | M::Jmp | M::Ret | M::Enter | M::Dpps | M::Dppd => return false,
            // Of 16 bits and more than as many the result is undefined.
            M::Shld | M::Shrd if insn.op1_register().size() == 2 => return false,
            _ => {}
        }
        if !lock_or_fence && !ordinary::vector(insn) && !ordinary::integer(insn, bytes, Mode::Long64) {
            return false;
        }
        if insn.is_string_instruction() {
            let compares = matches!(
                insn.mnemonic(),
                M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq | M::Scasb | M::Scasw | M::Scasd | M::Scasq
            );
            let repeats = insn.has_rep_prefix() || insn.has_repne_prefix();
            // A fault in the middle of a comparison leaves other flags on other processors, and one that goes on while things
            // differ does not tell which.
            if repeats && (ordinary::address_size(insn) != 8 || compares) {
                return false;
            }
        }
        true
    }

    /// What is to be known of an instruction. `None` if it cannot be written elsewhere.
    fn op(&mut self, insn: &Instruction, bytes: &[u8], rip: u64) -> Option<Op> {
        let mut op = Op {
            insn: *insn,
            rip,
            bytes: [0; MAX_BYTES],
            len: 0,
            relative: None,
            scratch: None,
            effect: Effect::of(insn),
            faults: false,
            uses: 0,
            writes: 0,
            repeats: insn.is_string_instruction() && (insn.has_rep_prefix() || insn.has_repne_prefix()),
            inner: Inner::None,
        };
        let info = self.info.info(insn);
        for used in info.used_registers() {
            let register = used.register();
            if register.is_gpr() {
                let bit = 1 << (register.full_register().number() & 15);
                op.uses |= bit;
                if !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None) {
                    op.writes |= bit;
                }
            }
        }
        let touches =
            info.used_memory().iter().any(|m| !matches!(m.access(), OpAccess::None | OpAccess::NoMemAccess));
        op.faults = touches
            || insn.is_stack_instruction()
            || matches!(insn.mnemonic(), Mnemonic::Div | Mnemonic::Idiv)
            || insn.cpuid_features().iter().any(is_vector);
        op.set_bytes(bytes)?;
        if insn.is_ip_rel_memory_operand() {
            self.relocate(&mut op, bytes)?;
        }
        Some(op)
    }

    /// Makes the RIP-relative operand lead where it led.
    fn relocate(&self, op: &mut Op, bytes: &[u8]) -> Option<()> {
        let insn = op.insn;
        if insn.memory_base() != Register::RIP || matches!(insn.segment_prefix(), Register::FS | Register::GS)
        {
            return None;
        }
        let target = insn.ip_rel_memory_address();
        if insn.mnemonic() == Mnemonic::Lea {
            // What it computes is known.
            let register = insn.op0_register();
            let number = register.full_register().number() as u8;
            let (rex, low) = (0x48 | number >> 3, 0xb8 | (number & 7));
            let mut long = [0; 10];
            match register.size() {
                8 => {
                    long[..2].copy_from_slice(&[rex, low]);
                    long[2..].copy_from_slice(&target.to_le_bytes());
                    return op.set_bytes(&long);
                }
                4 => {
                    long[..2].copy_from_slice(&[rex & 0x41, low]);
                    long[2..6].copy_from_slice(&(target as u32).to_le_bytes());
                    return op.set_bytes(&long[..6]);
                }
                _ => return None,
            }
        }
        let (low, high) = (self.layout.code, self.layout.code.wrapping_add(self.layout.code_bytes as u64));
        let reach = |from: u64| {
            let distance = target.wrapping_sub(from) as i64;
            (-0x7fff_0000..0x7fff_0000).contains(&distance)
        };
        if reach(low) && reach(high) {
            let mut decoder = Decoder::with_ip(64, bytes, op.rip, DecoderOptions::NONE);
            let decoded = decoder.decode();
            let offsets = decoder.get_constant_offsets(&decoded);
            if offsets.displacement_size() != 4 {
                return None;
            }
            op.relative = Some((offsets.displacement_offset() as u8, target));
            return Some(());
        }
        let register = [0u8, 1, 2, 3, 6, 7, 5, 8, 9, 10, 11].into_iter().find(|r| op.uses & 1 << r == 0)?;
        let mut other = insn;
        other.set_memory_base(gpr(register));
        other.set_memory_displacement64(0);
        other.set_memory_displ_size(0);
        let through = matches!(insn.mnemonic(), Mnemonic::Jmp | Mnemonic::Call);
        if !through {
            let encoded = encode(&other)?;
            op.set_bytes(&encoded)?;
        }
        op.scratch = Some((register, target));
        Some(())
    }
}

/// The 64-bit register of a number.
pub(super) fn gpr(number: u8) -> Register {
    Register::RAX + u32::from(number & 15)
}

/// The bytes of an instruction that lies nowhere in particular.
pub(super) fn encode(insn: &Instruction) -> Option<Vec<u8>> {
    let mut encoder = Encoder::new(64);
    encoder.encode(insn, 0).ok()?;
    Some(encoder.take_buffer())
}

/// What may raise exceptions of its own, or find its registers disabled.
fn is_vector(feature: &CpuidFeature) -> bool {
    use CpuidFeature as F;
    matches!(feature, F::SSE | F::SSE2 | F::SSE3 | F::SSSE3 | F::SSE4_1 | F::SSE4_2)
}

fn is_prefix(byte: u8) -> bool {
    matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3)
}

/// The instruction at `rip`, and whether it reaches into the next page, which it may only if it is about to be executed.
fn fetch(rip: u64, across: bool, code: &mut dyn Code) -> Option<(Instruction, [u8; MAX_BYTES], bool)> {
    let mut bytes = [0; MAX_BYTES];
    let in_page = ((PAGE - (rip & (PAGE - 1))) as usize).min(MAX_BYTES);
    for (room, crosses) in [(in_page, false), (MAX_BYTES, true)] {
        if crosses && (!across || room == in_page) {
            return None;
        }
        let got = code.bytes(rip, bytes.get_mut(..room)?).min(room);
        let mut decoder = Decoder::with_ip(64, bytes.get(..got)?, rip, DecoderOptions::NONE);
        let insn = decoder.decode();
        if !insn.is_invalid() {
            return Some((insn, bytes, crosses));
        }
        if decoder.last_error() != iced_x86::DecoderError::NoMoreBytes {
            // For the software CPU to refuse.
            return Some((insn, bytes, crosses));
        }
    }
    None
}

/// Who sees flags after an instruction, before they are set anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// An instruction that reads them, or what follows the block.
    pub(super) live: bool,
    /// A place where the block may be left.
    pub(super) fault: bool,
    /// Such a place, where a watched register is not what it was.
    pub(super) late: bool,
}

impl Seen {
    pub(super) fn any(self) -> bool {
        self.live || self.fault
    }
}

impl Block {
    /// Where calls in it return to.
    pub(super) fn backs(&self) -> impl Iterator<Item = u64> {
        let last = match self.end {
            End::Call { back, .. } | End::CallThrough { back } => Some(back),
            _ => None,
        };
        let inner = self.ops.iter().filter_map(|op| match op.inner {
            Inner::Call { back } | Inner::CallThrough { back, .. } => Some(back),
            _ => None,
        });
        inner.chain(last)
    }

    /// Ticks before each instruction and after the last, and steps since the last of them.
    pub(super) fn positions(&self) -> Vec<(usize, usize)> {
        let mut positions = Vec::with_capacity(self.ops.len() + 1);
        let (mut ticks, mut steps) = (0, 0);
        for (i, op) in self.ops.iter().enumerate() {
            positions.push((ticks, steps));
            steps += 1;
            let last = i + 1 == self.ops.len() && matches!(self.end, End::Branch { .. });
            if last || matches!(op.inner, Inner::Branch { .. }) {
                (ticks, steps) = (ticks + 1, 0);
            }
        }
        positions.push((ticks, steps));
        positions
    }

    /// Who sees these flags after the instruction of that number, which watches some registers.
    pub(super) fn seen(&self, at: usize, flags: u16, watched: u16) -> Seen {
        let (mut seen, mut flags, mut changed) = (Seen::default(), flags, false);
        for op in self.ops.iter().skip(at + 1) {
            seen.live |= op.effect.reads & flags != 0;
            match op.inner {
                // Where it leads to they have to be right.
                Inner::Branch { .. } => {
                    seen.live = true;
                    return seen;
                }
                Inner::Return { .. } | Inner::Jump { .. } | Inner::CallThrough { .. } => seen.live = true,
                Inner::None | Inner::Call { .. } => {}
            }
            if op.faults || op.repeats {
                seen.fault = true;
                seen.late |= changed;
            }
            let killed = flags & op.effect.kills;
            flags &= !killed;
            if flags == 0 {
                return seen;
            }
            // What is computed late is so from the result and CF, and all at once.
            changed |= op.writes & watched != 0 || killed != 0 || op.effect.kills & CF != 0;
        }
        match self.end {
            End::Leave(_) => {
                seen.fault = true;
                seen.late |= changed;
            }
            _ => seen.live = true,
        }
        seen
    }

    fn cannot_put_right(&self, at: usize) -> bool {
        let Some(op) = self.ops.get(at) else { return false };
        match op.effect.kind {
            Kind::Double { once } => !once && self.seen(at, OF, 0).any(),
            Kind::DoubleByCl => self.seen(at, ALL, 0).any(),
            Kind::ShiftByCl(_) | Kind::RotateByCl(_) => {
                let register = op.insn.op0_kind() == OpKind::Register;
                let counts = register && op.insn.op0_register().full_register() == Register::RCX;
                (!register || counts) && self.seen(at, OF | AF, 0).any()
            }
            _ => false,
        }
    }
}
