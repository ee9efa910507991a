//! What the CPU asks of the machine around it.

use rkyv::{Archive, Deserialize, Serialize};

/// A place in the run as the CPU counts it: ticks since power-on and steps since the last tick.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Archive, Serialize, Deserialize,
)]
pub struct Moment {
    /// Ticks since power-on.
    pub tick: u64,
    /// Steps since the last tick.
    pub offset: u32,
}

/// Why physical memory is accessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// An operand of an instruction, or the stack of an event delivery.
    Data,
    /// Instruction bytes.
    Fetch,
    /// Page tables, descriptor tables and task-state segments, read or marked by the CPU itself.
    System,
}

/// Something the CPU did that the machine may want to log, and that no other method of [`Bus`] reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// CPUID was executed.
    Cpuid {
        /// EAX.
        leaf: u32,
        /// ECX.
        subleaf: u32,
    },
    /// RDMSR returned.
    MsrRead {
        /// MSR number.
        index: u32,
        /// The value.
        value: u64,
    },
    /// WRMSR was accepted.
    MsrWrite {
        /// MSR number.
        index: u32,
        /// The value.
        value: u64,
    },
    /// HLT retired.
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
        /// Error code, where the vector pushes one.
        error_code: Option<u32>,
        /// CR2 for a page fault, else 0.
        address: u64,
    },
    /// INT n, INT3, INTO or INT1 was delivered.
    SoftwareInterrupt {
        /// Vector.
        vector: u8,
    },
    /// A triple fault.
    Shutdown,
}

/// The machine as the CPU sees it.
///
/// `at` is always the moment of the boundary before the step that is being executed. Physical accesses never cross a
/// 4 KiB page; the CPU splits those that do.
pub trait Bus {
    /// Loads `N` bytes (1, 2, 4, 8 or 16; any length up to 15 for [`Access::Fetch`] through [`Bus::fetch`]).
    fn read<const N: usize>(&mut self, at: Moment, access: Access, gpa: u64) -> [u8; N];

    /// Stores `N` bytes.
    fn write<const N: usize>(&mut self, at: Moment, access: Access, gpa: u64, bytes: [u8; N]);

    /// Copies instruction bytes that lie within one page; the CPU may ask for a few more than the instruction has. Bytes outside RAM read as devices would answer, or 0xff.
    fn fetch(&mut self, at: Moment, gpa: u64, bytes: &mut [u8]);

    /// Loads `N` bytes of an instruction's data, if that is nothing but a look at RAM: no device, nobody who watches. Else
    /// `None`, and [`Bus::read`] does it. Exists for speed alone.
    fn load_plain<const N: usize>(&self, gpa: u64) -> Option<[u8; N]>;

    /// Stores `N` bytes of an instruction's data, if that is nothing but a change of RAM: no device, nobody who watches.
    /// Else false, nothing is stored, and [`Bus::write`] does it. Exists for speed alone.
    fn store_plain<const N: usize>(&mut self, gpa: u64, bytes: [u8; N]) -> bool;

    /// A number that changes whenever memory is written by anybody but the CPU: a device, a loader, a debugger.
    fn memory_version(&self) -> u64;

    /// A number that changes whenever something happens that may make an interrupt pending, or make the run stop: with
    /// every access to a device, every observation, every watched access.
    fn disturbances(&self) -> u64;

    /// IN; `size` is 1, 2 or 4.
    fn io_read(&mut self, at: Moment, port: u16, size: u8) -> u32;

    /// OUT; `size` is 1, 2 or 4.
    fn io_write(&mut self, at: Moment, port: u16, size: u8, value: u32);

    /// The time-stamp counter, before any offset that the guest has written.
    fn tsc(&mut self, at: Moment) -> u64;

    /// The next value for RDRAND or RDSEED of `size` bytes (2, 4 or 8).
    fn entropy(&mut self, at: Moment, size: u8) -> u64;

    /// RDMSR of an MSR that is not the CPU's own (APIC base, x2APIC, TSC deadline). `None` raises #GP.
    fn msr_read(&mut self, at: Moment, index: u32) -> Option<u64>;

    /// WRMSR of such an MSR. `None` raises #GP.
    fn msr_write(&mut self, at: Moment, index: u32, value: u64) -> Option<()>;

    /// The task priority that MOV from CR8 reads, 0 to 15.
    fn task_priority(&mut self, at: Moment) -> u8;

    /// MOV to CR8.
    fn set_task_priority(&mut self, at: Moment, priority: u8);

    /// Whether an external interrupt is asking to be taken. Polled at each boundary: must be cheap.
    fn interrupt_pending(&self) -> bool;

    /// The interrupt acknowledge cycle: which vector. `None` if the request went away.
    fn acknowledge(&mut self, at: Moment) -> Option<u8>;

    /// Whether a non-maskable interrupt is pending. Polled at each boundary.
    fn nmi_pending(&self) -> bool;

    /// The CPU takes the pending non-maskable interrupt.
    fn take_nmi(&mut self, at: Moment);

    /// Something happened that is worth a line in a log.
    fn observe(&mut self, at: Moment, what: Observation);
}
