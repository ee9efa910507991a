//! Where guest and translation lie: addresses of programs that are linked to be where they are.

use replayvm::engine::kvm::translate::Layout;

/// Where guest memory starts.
pub const ARENA: u64 = 0x2000_0000;
/// How a compiler has to address it.
pub const CODE_MODEL: &str = "-fno-pic";
/// Bytes of a code area.
const AREA_LEN: usize = 16 << 20;
/// Where what is translated lies.
pub const LAYOUT: Layout =
    Layout { code: 0x6d40_0000, code_bytes: AREA_LEN, slots: 0x6f40_0000, table: 0x7140_0000 };
/// The same, with guest memory out of reach.
pub const FAR: Layout =
    Layout { code: 0x7_6d40_0000, code_bytes: AREA_LEN, slots: 0x7_6f40_0000, table: 0x7_7140_0000 };
