//! Consequences of a run.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

/// Something the guest did that left the CPU, stamped with the position before the step that did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Exit {
    /// IN or INS.
    PortRead {
        /// I/O port.
        port: u16,
        /// Bytes: 1, 2 or 4.
        size: u8,
        /// What the guest read.
        value: u32,
    },
    /// OUT or OUTS.
    PortWrite {
        /// I/O port.
        port: u16,
        /// Bytes: 1, 2 or 4.
        size: u8,
        /// What the guest wrote.
        value: u32,
    },
    /// A load from a physical address that is not RAM.
    MmioRead {
        /// Guest-physical address.
        gpa: u64,
        /// Bytes: 1, 2, 4 or 8.
        size: u8,
        /// What the guest read.
        value: u64,
    },
    /// A store to a physical address that is not RAM.
    MmioWrite {
        /// Guest-physical address.
        gpa: u64,
        /// Bytes: 1, 2, 4 or 8.
        size: u8,
        /// What the guest wrote.
        value: u64,
    },
    /// RDMSR.
    MsrRead {
        /// MSR number.
        index: u32,
        /// What the guest read.
        value: u64,
    },
    /// WRMSR.
    MsrWrite {
        /// MSR number.
        index: u32,
        /// What the guest wrote.
        value: u64,
    },
    /// CPUID.
    Cpuid {
        /// EAX.
        leaf: u32,
        /// ECX.
        subleaf: u32,
    },
    /// RDTSC or RDTSCP.
    Tsc {
        /// What the guest read.
        value: u64,
    },
    /// RDRAND or RDSEED.
    Entropy {
        /// What the guest read.
        value: u64,
    },
    /// HLT.
    Halt,
    /// An external interrupt was delivered.
    Interrupt {
        /// Vector.
        vector: u8,
    },
    /// A non-maskable interrupt was delivered.
    Nmi,
    /// An exception was delivered.
    Exception {
        /// Vector.
        vector: u8,
        /// Error code, where the vector has one.
        error_code: Option<u32>,
        /// CR2 for a page fault, else 0.
        address: u64,
    },
    /// INT n, INT3 or INTO was delivered.
    SoftwareInterrupt {
        /// Vector.
        vector: u8,
    },
    /// A triple fault shut the CPU down.
    Shutdown,
}

/// The reason of an [`Exit`], without its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ExitKind {
    /// [`Exit::PortRead`].
    PortRead,
    /// [`Exit::PortWrite`].
    PortWrite,
    /// [`Exit::MmioRead`].
    MmioRead,
    /// [`Exit::MmioWrite`].
    MmioWrite,
    /// [`Exit::MsrRead`].
    MsrRead,
    /// [`Exit::MsrWrite`].
    MsrWrite,
    /// [`Exit::Cpuid`].
    Cpuid,
    /// [`Exit::Tsc`].
    Tsc,
    /// [`Exit::Entropy`].
    Entropy,
    /// [`Exit::Halt`].
    Halt,
    /// [`Exit::Interrupt`].
    Interrupt,
    /// [`Exit::Nmi`].
    Nmi,
    /// [`Exit::Exception`].
    Exception,
    /// [`Exit::SoftwareInterrupt`].
    SoftwareInterrupt,
    /// [`Exit::Shutdown`].
    Shutdown,
}

impl ExitKind {
    /// Every kind, in the order in which tables list them.
    pub const ALL: [Self; 15] = [
        Self::PortRead,
        Self::PortWrite,
        Self::MmioRead,
        Self::MmioWrite,
        Self::MsrRead,
        Self::MsrWrite,
        Self::Cpuid,
        Self::Tsc,
        Self::Entropy,
        Self::Halt,
        Self::Interrupt,
        Self::Nmi,
        Self::Exception,
        Self::SoftwareInterrupt,
        Self::Shutdown,
    ];

    /// The name that commands and tables use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PortRead => "port-read",
            Self::PortWrite => "port-write",
            Self::MmioRead => "mmio-read",
            Self::MmioWrite => "mmio-write",
            Self::MsrRead => "msr-read",
            Self::MsrWrite => "msr-write",
            Self::Cpuid => "cpuid",
            Self::Tsc => "tsc",
            Self::Entropy => "entropy",
            Self::Halt => "halt",
            Self::Interrupt => "interrupt",
            Self::Nmi => "nmi",
            Self::Exception => "exception",
            Self::SoftwareInterrupt => "software-interrupt",
            Self::Shutdown => "shutdown",
        }
    }
}

impl Exit {
    /// The reason, without the values.
    #[must_use]
    pub const fn kind(&self) -> ExitKind {
        match self {
            Self::PortRead { .. } => ExitKind::PortRead,
            Self::PortWrite { .. } => ExitKind::PortWrite,
            Self::MmioRead { .. } => ExitKind::MmioRead,
            Self::MmioWrite { .. } => ExitKind::MmioWrite,
            Self::MsrRead { .. } => ExitKind::MsrRead,
            Self::MsrWrite { .. } => ExitKind::MsrWrite,
            Self::Cpuid { .. } => ExitKind::Cpuid,
            Self::Tsc { .. } => ExitKind::Tsc,
            Self::Entropy { .. } => ExitKind::Entropy,
            Self::Halt => ExitKind::Halt,
            Self::Interrupt { .. } => ExitKind::Interrupt,
            Self::Nmi => ExitKind::Nmi,
            Self::Exception { .. } => ExitKind::Exception,
            Self::SoftwareInterrupt { .. } => ExitKind::SoftwareInterrupt,
            Self::Shutdown => ExitKind::Shutdown,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::PortRead { port, size, value } => {
                write!(f, "port-read {port:#x} size {size} value {value:#x}")
            }
            Self::PortWrite { port, size, value } => {
                write!(f, "port-write {port:#x} size {size} value {value:#x}")
            }
            Self::MmioRead { gpa, size, value } => {
                write!(f, "mmio-read {gpa:#x} size {size} value {value:#x}")
            }
            Self::MmioWrite { gpa, size, value } => {
                write!(f, "mmio-write {gpa:#x} size {size} value {value:#x}")
            }
            Self::MsrRead { index, value } => write!(f, "msr-read {index:#x} value {value:#x}"),
            Self::MsrWrite { index, value } => write!(f, "msr-write {index:#x} value {value:#x}"),
            Self::Cpuid { leaf, subleaf } => write!(f, "cpuid {leaf:#x} {subleaf:#x}"),
            Self::Tsc { value } => write!(f, "tsc {value:#x}"),
            Self::Entropy { value } => write!(f, "entropy {value:#x}"),
            Self::Halt => f.write_str("halt"),
            Self::Interrupt { vector } => write!(f, "interrupt {vector:#x}"),
            Self::Nmi => f.write_str("nmi"),
            Self::Exception { vector, error_code: Some(code), address } => {
                write!(f, "exception {vector:#x} error {code:#x} address {address:#x}")
            }
            Self::Exception { vector, error_code: None, .. } => write!(f, "exception {vector:#x}"),
            Self::SoftwareInterrupt { vector } => write!(f, "software-interrupt {vector:#x}"),
            Self::Shutdown => f.write_str("shutdown"),
        }
    }
}
