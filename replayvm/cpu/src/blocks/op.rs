//! Operations and what they are made of: registers by number, addresses by shape, memory that is simply there.

use crate::access::canonical;
use crate::blocks::lazy::mask;
use crate::bus::Bus;
use crate::segment::SegmentName;
use crate::step::Cpu;

/// What came of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Outcome {
    /// It is done; the next one follows.
    Next,
    /// Nothing has changed; the plain form's handler is to do it.
    Slow,
    /// It has to be done between blocks.
    Boundary,
    /// A conditional branch, taken. RIP is set.
    Taken,
    /// A conditional branch, not taken. RIP is set.
    NotTaken,
    /// A direct jump. RIP is set.
    Jump,
    /// A direct call. RIP is set.
    Call,
    /// To an address that was computed. RIP is set.
    Indirect,
}

/// An operation's function. RIP stands at the beginning of the block while it runs.
pub(crate) type Handler<B> = fn(&mut Cpu, &mut B, &Op<B>) -> Outcome;

/// A decoded instruction.
pub(crate) struct Op<B> {
    pub(crate) run: Handler<B>,
    /// Displacement of the memory operand, target of a branch, or an immediate of 64 bits.
    pub(crate) disp: u64,
    /// Immediate, to be sign-extended.
    pub(crate) imm: i32,
    /// Number of the destination register, or of the only one.
    pub(crate) dst: u8,
    /// Number of the source register.
    pub(crate) src: u8,
    /// Number of the base register, [`NO_REGISTER`] for none.
    pub(crate) base: u8,
    /// Number of the index register, [`NO_REGISTER`] for none.
    pub(crate) index: u8,
    /// Number in the block.
    pub(crate) number: u8,
    /// By how much the index is shifted.
    pub(crate) shift: u8,
    /// Segment whose base is added: 0 for none, 1 for FS, 2 for GS.
    pub(crate) segment: u8,
    /// Whether the plain form's handler reads or writes arithmetic flags.
    pub(crate) flags: bool,
    /// Bytes from the beginning of the block to this instruction.
    pub(crate) at: u16,
    /// Bytes from the beginning of the block to the next instruction.
    pub(crate) end: u16,
}

impl<B> Clone for Op<B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Op<B> {}

impl<B> std::fmt::Debug for Op<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Op").field("number", &self.number).field("at", &self.at).finish_non_exhaustive()
    }
}

/// No register.
pub(crate) const NO_REGISTER: u8 = 16;

/// Shape of an address: a displacement alone.
pub(crate) const ABSOLUTE: u8 = 0;
/// Shape of an address: a base register and a displacement.
pub(crate) const BASE: u8 = 1;
/// Shape of an address: base, scaled index, displacement.
pub(crate) const INDEXED: u8 = 2;
/// Shape of an address: anything else; looked at each time.
pub(crate) const ANY: u8 = 3;

/// A general register.
#[inline(always)]
pub(crate) fn reg(cpu: &Cpu, number: u8) -> u64 {
    cpu.state.gpr[usize::from(number & 15)]
}

/// The low `W` bytes of a general register.
#[inline(always)]
pub(crate) fn get<const W: usize>(cpu: &Cpu, number: u8) -> u64 {
    reg(cpu, number) & mask::<W>()
}

/// Writes the low `W` bytes of a general register: 1 and 2 merge, 4 zero-extend. The value has no bits above.
#[inline(always)]
pub(crate) fn set<const W: usize>(cpu: &mut Cpu, number: u8, value: u64) {
    let whole = &mut cpu.state.gpr[usize::from(number & 15)];
    *whole = if W >= 4 { value } else { *whole & !mask::<W>() | value };
}

/// The linear address of an operation's memory operand.
#[inline(always)]
pub(crate) fn address<B, const S: u8>(cpu: &Cpu, op: &Op<B>) -> u64 {
    match S {
        ABSOLUTE => op.disp,
        BASE => reg(cpu, op.base).wrapping_add(op.disp),
        INDEXED => reg(cpu, op.base).wrapping_add(reg(cpu, op.index) << (op.shift & 3)).wrapping_add(op.disp),
        _ => any_address(cpu, op),
    }
}

#[inline(always)]
pub(crate) fn offset<B>(cpu: &Cpu, op: &Op<B>) -> u64 {
    let mut offset = op.disp;
    if op.base != NO_REGISTER {
        offset = offset.wrapping_add(reg(cpu, op.base));
    }
    if op.index != NO_REGISTER {
        offset = offset.wrapping_add(reg(cpu, op.index) << (op.shift & 3));
    }
    offset
}

#[inline]
fn any_address<B>(cpu: &Cpu, op: &Op<B>) -> u64 {
    let offset = offset(cpu, op);
    let segment = match op.segment {
        0 => return offset,
        1 => SegmentName::Fs,
        _ => SegmentName::Gs,
    };
    // An offset that is not canonical is no address; no translation of it is remembered.
    if canonical(offset) { cpu.state.segment(segment).base.wrapping_add(offset) } else { offset }
}

/// Whether `N` bytes at a linear address lie in one page.
#[inline(always)]
const fn in_page<const N: usize>(linear: u64) -> bool {
    linear as usize & 0xfff <= 0x1000 - N
}

#[inline(always)]
fn to_u64<const N: usize>(bytes: [u8; N]) -> u64 {
    let mut word = [0; 8];
    word[..N].copy_from_slice(&bytes);
    u64::from_le_bytes(word)
}

#[inline(always)]
fn to_bytes<const N: usize>(value: u64) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&value.to_le_bytes()[..N]);
    bytes
}

/// Loads, if nothing needs looking after.
#[inline(always)]
pub(crate) fn load_bytes<B: Bus, const N: usize>(cpu: &Cpu, bus: &B, linear: u64) -> Option<[u8; N]> {
    if !in_page::<N>(linear) {
        return None;
    }
    bus.load_plain(cpu.tlb.look_up(linear, cpu.fast.read)?)
}

/// Loads 1 to 8 bytes, zero-extended, if nothing needs looking after.
#[inline(always)]
pub(crate) fn load<B: Bus, const N: usize>(cpu: &Cpu, bus: &B, linear: u64) -> Option<u64> {
    load_bytes::<B, N>(cpu, bus, linear).map(to_u64)
}

/// The physical address of a store without consequences.
#[inline(always)]
fn plain_place<const N: usize>(cpu: &Cpu, linear: u64) -> Option<u64> {
    if !in_page::<N>(linear) {
        return None;
    }
    let gpa = cpu.tlb.look_up(linear, cpu.fast.write)?;
    (cpu.tlb.pages.tags(gpa) == 0).then_some(gpa)
}

/// Stores, if nothing needs looking after; says whether it has.
#[inline(always)]
pub(crate) fn store_bytes<B: Bus, const N: usize>(
    cpu: &Cpu,
    bus: &mut B,
    linear: u64,
    bytes: [u8; N],
) -> bool {
    plain_place::<N>(cpu, linear).is_some_and(|gpa| bus.store_plain(gpa, bytes))
}

/// Stores the low 1 to 8 bytes, if nothing needs looking after; says whether it has.
#[inline(always)]
pub(crate) fn store<B: Bus, const N: usize>(cpu: &Cpu, bus: &mut B, linear: u64, value: u64) -> bool {
    store_bytes::<B, N>(cpu, bus, linear, to_bytes(value))
}

/// Loads what will be stored to at the place that comes with it, if nothing needs looking after.
#[inline(always)]
pub(crate) fn load_to_modify<B: Bus, const N: usize>(
    cpu: &Cpu,
    bus: &B,
    linear: u64,
) -> Option<(Modify, u64)> {
    let gpa = plain_place::<N>(cpu, linear)?;
    bus.load_plain(gpa).map(|bytes| (Modify(gpa), to_u64::<N>(bytes)))
}

/// A place that has been loaded from and can be stored to.
pub(crate) struct Modify(u64);

impl Modify {
    /// Stores; cannot fail where the load has not, and says so if it does.
    #[inline(always)]
    pub(crate) fn store<B: Bus, const N: usize>(self, bus: &mut B, value: u64) -> bool {
        bus.store_plain::<N>(self.0, to_bytes(value))
    }
}

/// Goes on if the value is there, else leaves the operation to the plain form.
macro_rules! or_slow {
    ($value:expr) => {
        match $value {
            Some(value) => value,
            None => return crate::blocks::op::Outcome::Slow,
        }
    };
}
pub(crate) use or_slow;
