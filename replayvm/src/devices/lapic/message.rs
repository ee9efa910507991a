//! Interrupt messages as they travel between I/O APIC and local APIC.

/// What an interrupt message does (SDM, "Interrupt command register", and 82093AA, "Delivery mode").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeliveryMode {
    Fixed,
    LowestPriority,
    Smi,
    Reserved,
    Nmi,
    Init,
    StartUp,
    /// ExtINT: the vector comes from the 8259.
    External,
}

impl DeliveryMode {
    /// From the three bits of a register, the others ignored.
    pub(crate) fn from_bits(bits: u32) -> Self {
        match bits & 7 {
            0 => Self::Fixed,
            1 => Self::LowestPriority,
            2 => Self::Smi,
            4 => Self::Nmi,
            5 => Self::Init,
            6 => Self::StartUp,
            7 => Self::External,
            _ => Self::Reserved,
        }
    }

    /// The manual's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::LowestPriority => "lowest priority",
            Self::Smi => "SMI",
            Self::Reserved => "reserved",
            Self::Nmi => "NMI",
            Self::Init => "INIT",
            Self::StartUp => "start-up",
            Self::External => "ExtINT",
        }
    }
}

/// Whom a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    /// A broadcast.
    All,
    /// Everybody but the sender, who is alone.
    None,
    /// An APIC ID.
    Physical(u32),
    /// A logical ID to be matched.
    Logical(u32),
}

impl Destination {
    /// From eight bits; all ones is a broadcast.
    pub(crate) fn from_xapic(id: u8, logical: bool) -> Self {
        match (id, logical) {
            (0xff, _) => Self::All,
            (_, true) => Self::Logical(u32::from(id)),
            (_, false) => Self::Physical(u32::from(id)),
        }
    }

    /// From 32 bits; all ones is a broadcast.
    pub(crate) fn from_x2apic(id: u32, logical: bool) -> Self {
        match (id, logical) {
            (u32::MAX, _) => Self::All,
            (_, true) => Self::Logical(id),
            (_, false) => Self::Physical(id),
        }
    }
}

/// One interrupt message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) vector: u8,
    pub(crate) mode: DeliveryMode,
    pub(crate) level: bool,
    pub(crate) destination: Destination,
}
