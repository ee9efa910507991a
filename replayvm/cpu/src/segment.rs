//! Segment descriptors and their attributes.

use rkyv::{Archive, Deserialize, Serialize};

/// The six segment registers, in the encoding order of the instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the manual's own names")]
pub enum SegmentName {
    Es = 0,
    Cs = 1,
    Ss = 2,
    Ds = 3,
    Fs = 4,
    Gs = 5,
}

/// A segment register with its hidden part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub struct Segment {
    /// The visible part.
    pub selector: u16,
    /// Linear base address.
    pub base: u64,
    /// Limit in bytes, already scaled by the granularity.
    pub limit: u32,
    /// Access rights.
    pub attributes: Attributes,
}

/// Access rights in the form that VMX uses (SDM vol. 3, 24.4.1): bits 0-3 type, 4 S, 5-6 DPL, 7 P, 12 AVL, 13 L, 14 D/B,
/// 15 G. All zero is an unusable (null) segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub struct Attributes(pub u16);

#[allow(missing_docs, reason = "the manual's own names")]
impl Attributes {
    #[must_use]
    pub const fn kind(self) -> u8 {
        (self.0 & 0xf) as u8
    }
    /// S: code or data, as against a system descriptor.
    #[must_use]
    pub const fn is_code_or_data(self) -> bool {
        self.0 & 0x10 != 0
    }
    #[must_use]
    pub const fn is_code(self) -> bool {
        self.0 & 0x18 == 0x18
    }
    #[must_use]
    pub const fn dpl(self) -> u8 {
        ((self.0 >> 5) & 3) as u8
    }
    #[must_use]
    pub const fn present(self) -> bool {
        self.0 & 0x80 != 0
    }
    #[must_use]
    pub const fn long(self) -> bool {
        self.0 & 0x2000 != 0
    }
    /// D/B: default operation size 32, or a 32-bit stack.
    #[must_use]
    pub const fn big(self) -> bool {
        self.0 & 0x4000 != 0
    }
    #[must_use]
    pub const fn granular(self) -> bool {
        self.0 & 0x8000 != 0
    }
}

/// GDTR or IDTR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub struct Table {
    /// Linear base address.
    pub base: u64,
    /// Limit: the offset of the last byte.
    pub limit: u16,
}
