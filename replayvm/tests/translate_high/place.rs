//! Where guest and translation lie: addresses of programs that may be anywhere, and no constant of 32 bits.

use replayvm::engine::kvm::translate::Layout;

/// Where guest memory starts.
pub const ARENA: u64 = 0x4321_5000_0000;
/// How a compiler has to address it.
pub const CODE_MODEL: &str = "-fpie";
/// Bytes of a code area.
const AREA_LEN: usize = 16 << 20;
/// Where what is translated lies.
pub const LAYOUT: Layout =
    Layout { code: 0x4321_6d40_0000, code_bytes: AREA_LEN, slots: 0x4321_6f40_0000, table: 0x4321_7140_0000 };
/// The same, with guest memory out of reach.
pub const FAR: Layout =
    Layout { code: 0x4328_6d40_0000, code_bytes: AREA_LEN, slots: 0x4328_6f40_0000, table: 0x4328_7140_0000 };
