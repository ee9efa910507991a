//! What is shown of the machine under the cursor: a copy, so that it can be drawn while the machine moves on.

/// The types that a Linux kernel describes in its own memory.
mod btf;
/// Instructions around a place.
mod code;
/// Devices, tables and page tables, in words.
mod devices;
/// Bytes of memory.
mod memory;
/// Registers.
mod registers;
/// The stack, and who called whom.
mod stack;
/// Steps beside the cursor.
mod steps;
/// The processes of a Linux kernel.
mod tasks;

use std::sync::Arc;

use recorder::Position;
use replayvm::symbols::Symbols;
use replayvm::timeline::{Progress, Timeline, TimelineError};

pub use code::{CodeLine, disassemble, scan};
pub use devices::Device;
pub(crate) use memory::remember;
pub use memory::{Base, MemoryLook, Window};
pub use registers::{GENERAL, Registers};
pub use stack::{Frame, FrameKind, Slot, call_sites, looks_called};
pub use steps::StepColumn;
pub use tasks::{Task, TaskReader, Tasks};

/// Names for addresses.
pub type Names<'n> = Option<&'n Arc<Symbols>>;

/// What the panes want to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Where the code is shown; `None`: at RIP.
    pub code: Option<u64>,
    /// Lines of code on both sides of that place.
    pub code_rows: u16,
    /// What of memory.
    pub memory: MemoryLook,
    /// Which device.
    pub device: Device,
    /// Whether processes are shown.
    pub tasks: bool,
    /// How many single steps on both sides of the cursor are shown.
    pub steps: u16,
}

impl Default for Look {
    fn default() -> Self {
        let memory = MemoryLook::default();
        Self { code: None, code_rows: 32, memory, device: Device::default(), tasks: false, steps: 0 }
    }
}

/// The machine at one position.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Where.
    pub position: Position,
    /// Instructions retired since power-on.
    pub instructions: u64,
    /// Virtual time since power-on, in nanoseconds.
    pub virtual_ns: u64,
    /// The registers.
    pub registers: Registers,
    /// What the next step does.
    pub next: String,
    /// Where that is in the program.
    pub place: Option<String>,
    /// Code.
    pub code: Vec<CodeLine>,
    /// Memory.
    pub memory: Window,
    /// The stack, from its top.
    pub stack: Vec<Slot>,
    /// Who called whom, the innermost first.
    pub frames: Vec<Frame>,
    /// The device, in lines.
    pub device: Vec<String>,
    /// Processes.
    pub tasks: Tasks,
    /// Steps beside the cursor, where they are wanted.
    pub steps: Vec<StepColumn>,
}

impl Snapshot {
    /// The machine under the cursor. `go_on` may stop the walk along the steps beside it.
    ///
    /// # Errors
    /// The steps beside the cursor cannot be replayed.
    pub fn take(
        timeline: &mut Timeline,
        look: &Look,
        names: Names<'_>,
        before: Option<&Window>,
        tasks: &mut TaskReader,
        go_on: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Self, TimelineError> {
        let steps = steps::around(timeline, look.steps, go_on)?;
        let timeline = &*timeline;
        let registers = Registers::take(timeline);
        let center = look.code.unwrap_or(registers.rip);
        Ok(Self {
            position: timeline.position(),
            instructions: timeline.instructions(),
            virtual_ns: timeline.virtual_ns(),
            next: next(timeline, names),
            place: names.and_then(|names| names.place(timeline.cpu().linear_rip())).map(|p| p.to_string()),
            code: code::around(timeline, names, center, usize::from(look.code_rows)),
            memory: memory::window(timeline, &look.memory, &registers, before),
            stack: stack::slots(timeline, names),
            frames: stack::frames(timeline, names),
            device: devices::lines(timeline, look, &registers, names),
            tasks: if look.tasks { tasks.read(timeline, names) } else { Tasks::default() },
            registers,
            steps,
        })
    }
}

/// What the next step does, in words.
fn next(timeline: &Timeline, names: Names<'_>) -> String {
    let cpu = timeline.cpu();
    if cpu.shutdown {
        return "shut down after a triple fault".to_owned();
    }
    let machine = timeline.machine();
    let instruction = code::instruction(timeline, names);
    match (cpu.halted, machine.cpu.delivers_next(&machine.platform)) {
        (_, true) => format!("delivers an interrupt before {instruction}"),
        (true, false) => format!("halted, to go on with {instruction}"),
        (false, false) => instruction,
    }
}
