//! Bytes of memory, linear or physical, and what they were at the last stop.

use replayvm::timeline::Timeline;

use super::{GENERAL, Registers};

/// Bytes on both sides of what is shown that are remembered, so that scrolling shows what has changed there.
const AROUND: u64 = 8 << 10;

/// Where a window begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// At an address.
    Address(u64),
    /// Where a register points, by its index in [`GENERAL`]; some bytes from there.
    Register(usize, i64),
}

impl Base {
    /// The address.
    #[must_use]
    pub fn resolve(self, registers: &Registers) -> u64 {
        match self {
            Self::Address(address) => address,
            Self::Register(index, offset) => {
                registers.gpr.get(index).copied().unwrap_or(0).wrapping_add_signed(offset)
            }
        }
    }

    /// So many bytes further.
    #[must_use]
    pub fn moved_by(self, bytes: i64) -> Self {
        match self {
            Self::Address(address) => Self::Address(address.wrapping_add_signed(bytes)),
            Self::Register(index, offset) => Self::Register(index, offset.wrapping_add(bytes)),
        }
    }

    /// The register that is followed.
    #[must_use]
    pub fn follows(self) -> Option<&'static str> {
        match self {
            Self::Address(_) => None,
            Self::Register(index, _) => GENERAL.get(index).copied(),
        }
    }
}

/// What is to be seen of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLook {
    /// From where.
    pub base: Base,
    /// Physical addresses.
    pub physical: bool,
    /// How much: so many rows.
    pub rows: u16,
    /// Bytes of a row.
    pub row_bytes: u16,
}

impl MemoryLook {
    /// Bytes that are seen.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.rows as u64 * self.row_bytes as u64
    }
}

impl Default for MemoryLook {
    fn default() -> Self {
        Self { base: Base::Register(4, 0), physical: false, rows: 32, row_bytes: 16 }
    }
}

/// Some memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window {
    /// The address of the first byte.
    pub first: u64,
    /// Whether it is a physical one.
    pub physical: bool,
    /// The bytes; `None` where there is nothing, or nothing mapped.
    pub bytes: Vec<Option<u8>>,
    /// Which of them are other than at the last stop.
    pub changed: Vec<bool>,
}

impl Window {
    fn byte(&self, address: u64) -> Option<Option<u8>> {
        let offset = usize::try_from(address.wrapping_sub(self.first)).ok()?;
        self.bytes.get(offset).copied()
    }
}

fn read(timeline: &Timeline, physical: bool, first: u64, count: u64) -> Vec<Option<u8>> {
    let mut bytes = vec![None; usize::try_from(count).unwrap_or(0)];
    let mut at = 0;
    while at < bytes.len() {
        let address = first.wrapping_add(at as u64);
        let in_page = (0x1000 - (address & 0xfff)) as usize;
        let mut piece = vec![0; in_page.min(bytes.len() - at)];
        let there = match physical {
            true => timeline.read_physical(address, &mut piece),
            false => timeline.read_linear(address, &mut piece),
        };
        for (place, byte) in bytes.iter_mut().skip(at).zip(piece.iter().take(there)) {
            *place = Some(*byte);
        }
        at += piece.len();
    }
    bytes
}

/// What is to be seen.
pub(super) fn window(
    timeline: &Timeline,
    look: &MemoryLook,
    registers: &Registers,
    before: Option<&Window>,
) -> Window {
    let first = look.base.resolve(registers);
    let bytes = read(timeline, look.physical, first, look.count());
    let before = before.filter(|before| before.physical == look.physical);
    let changed = (0..)
        .zip(&bytes)
        .map(|(offset, byte): (u64, _)| {
            let was = before.and_then(|before| before.byte(first.wrapping_add(offset)));
            was.is_some_and(|was| was != *byte)
        })
        .collect();
    Window { first, physical: look.physical, bytes, changed }
}

/// What is to be remembered before the cursor moves.
pub(crate) fn remember(timeline: &Timeline, look: &MemoryLook) -> Window {
    let first = look.base.resolve(&Registers::take(timeline)).wrapping_sub(AROUND) & !0xfff;
    let count = 2 * AROUND + look.count() + 0x1000;
    let bytes = read(timeline, look.physical, first, count);
    Window { first, physical: look.physical, bytes, changed: Vec::new() }
}
