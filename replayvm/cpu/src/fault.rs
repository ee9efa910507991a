//! Faults on their way to delivery.

/// Exception vectors (SDM vol. 3, 6.15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the manual's own mnemonics")]
pub enum Vector {
    DivideError = 0,
    Debug = 1,
    Nmi = 2,
    Breakpoint = 3,
    Overflow = 4,
    BoundRange = 5,
    InvalidOpcode = 6,
    DeviceNotAvailable = 7,
    DoubleFault = 8,
    InvalidTss = 10,
    SegmentNotPresent = 11,
    StackFault = 12,
    GeneralProtection = 13,
    PageFault = 14,
    X87 = 16,
    AlignmentCheck = 17,
    MachineCheck = 18,
    Simd = 19,
}

/// Why an instruction did not complete. Nothing that the instruction would have changed has changed (but for the
/// iterations that a REP string instruction has done).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which exception.
    pub vector: Vector,
    /// The error code that is pushed, for the vectors that have one.
    pub error_code: Option<u32>,
    /// For a page fault the linear address that goes to CR2; for #DB the bits to set in DR6.
    pub detail: u64,
}

impl Fault {
    /// #UD.
    pub const UD: Self = Self { vector: Vector::InvalidOpcode, error_code: None, detail: 0 };
    /// #NM.
    pub const NM: Self = Self { vector: Vector::DeviceNotAvailable, error_code: None, detail: 0 };
    /// #DE.
    pub const DE: Self = Self { vector: Vector::DivideError, error_code: None, detail: 0 };
    /// #XM.
    pub const XM: Self = Self { vector: Vector::Simd, error_code: None, detail: 0 };

    /// #DF.
    pub const DF: Self = Self { vector: Vector::DoubleFault, error_code: Some(0), detail: 0 };

    /// #GP with an error code.
    #[must_use]
    pub const fn gp(error_code: u32) -> Self {
        Self { vector: Vector::GeneralProtection, error_code: Some(error_code), detail: 0 }
    }

    /// #SS with an error code.
    #[must_use]
    pub const fn ss(error_code: u32) -> Self {
        Self { vector: Vector::StackFault, error_code: Some(error_code), detail: 0 }
    }

    /// #NP with an error code.
    #[must_use]
    pub const fn np(error_code: u32) -> Self {
        Self { vector: Vector::SegmentNotPresent, error_code: Some(error_code), detail: 0 }
    }

    /// #TS with an error code.
    #[must_use]
    pub const fn ts(error_code: u32) -> Self {
        Self { vector: Vector::InvalidTss, error_code: Some(error_code), detail: 0 }
    }

    /// #AC with error code 0.
    pub const AC: Self = Self { vector: Vector::AlignmentCheck, error_code: Some(0), detail: 0 };

    /// #PF at a linear address.
    #[must_use]
    pub const fn pf(linear: u64, error_code: u32) -> Self {
        Self { vector: Vector::PageFault, error_code: Some(error_code), detail: linear }
    }
}
