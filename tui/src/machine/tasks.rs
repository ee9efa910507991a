//! The processes of a Linux kernel, where it says itself how its structures are laid out.

use replayvm::timeline::Timeline;

use super::Names;
use super::btf::Btf;

/// Processes that are listed.
const MAX_TASKS: usize = 4096;
/// More types than any kernel describes.
const MAX_TYPES_BYTES: u64 = 64 << 20;
/// Bytes of a command's name.
const COMM: usize = 16;
/// PF_KTHREAD of `include/linux/sched.h`.
const KERNEL_THREAD: u32 = 0x0020_0000;
/// Addresses of the kernel have this bit.
const KERNEL: u64 = 1 << 63;

/// A process or kernel thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Where its `task_struct` is.
    pub address: u64,
    /// The thread group's number, which programs call PID.
    pub pid: u32,
    /// What it is called.
    pub name: String,
    /// R, S, D and so on, as `ps` has them.
    pub state: char,
    /// Whether the CPU runs it.
    pub current: bool,
    /// Whether it is a thread of the kernel.
    pub kernel: bool,
    /// The process that made it, or has taken it.
    pub parent: u32,
}

/// Processes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Tasks {
    /// Nobody has looked.
    #[default]
    NotRead,
    /// Why there are none.
    Unknown(String),
    /// In the kernel's order.
    List(Vec<Task>),
}

#[derive(Debug, Clone, Copy)]
struct Offsets {
    tasks: u64,
    tgid: u64,
    comm: u64,
    state: u64,
    flags: u64,
    parent: u64,
}

/// Reads processes. How structures are laid out is looked up once.
#[derive(Debug, Default)]
pub struct TaskReader {
    offsets: Option<Offsets>,
}

impl TaskReader {
    /// The processes under the cursor.
    pub(super) fn read(&mut self, timeline: &Timeline, names: Names<'_>) -> Tasks {
        self.list(timeline, names).map_or_else(|why| Tasks::Unknown(why.to_owned()), Tasks::List)
    }

    fn list(&mut self, timeline: &Timeline, names: Names<'_>) -> Result<Vec<Task>, &'static str> {
        let names = names.ok_or("there are no symbols yet, or none at all")?;
        let first = names.address("init_task").ok_or("this guest has no `init_task`: it is no Linux")?;
        let offsets = match self.offsets {
            Some(offsets) => offsets,
            None => {
                let start = names.address("__start_BTF");
                let stop = names.address("__stop_BTF");
                let (start, stop) = start.zip(stop).ok_or(
                    "this kernel describes no types (BTF): where its structures have what is not known",
                )?;
                let offsets = offsets(timeline, start, stop)?;
                *self.offsets.insert(offsets)
            }
        };
        let current = current(timeline, names.address("current_task"));
        let mut tasks = Vec::new();
        let mut at = first;
        loop {
            let Some(task) = task(timeline, &offsets, at, current) else {
                return if tasks.is_empty() {
                    Err("the kernel's tasks are not mapped here")
                } else {
                    Ok(tasks)
                };
            };
            tasks.push(task);
            let next = number(timeline, at.wrapping_add(offsets.tasks), 8);
            match next.map(|next| next.wrapping_sub(offsets.tasks)) {
                Some(next) if next != first && tasks.len() < MAX_TASKS && next & KERNEL != 0 => at = next,
                _ => return Ok(tasks),
            }
        }
    }
}

fn offsets(timeline: &Timeline, start: u64, stop: u64) -> Result<Offsets, &'static str> {
    let length = stop.checked_sub(start).filter(|length| *length <= MAX_TYPES_BYTES);
    let mut bytes = vec![0; length.ok_or("this kernel's types are too many")? as usize];
    if timeline.read_linear(start, &mut bytes) < bytes.len() {
        return Err("the kernel's types are not mapped here");
    }
    let btf = Btf::parse(&bytes).ok_or("the kernel's types cannot be read here")?;
    let of = |member| btf.offset("task_struct", member).ok_or("this kernel has other structures");
    Ok(Offsets {
        tasks: of("tasks")?,
        tgid: of("tgid")?,
        comm: of("comm")?,
        state: of("__state").or_else(|_| of("state"))?,
        flags: of("flags")?,
        parent: of("real_parent")?,
    })
}

/// The `task_struct` that the CPU runs, by the kernel's own data of this processor.
fn current(timeline: &Timeline, offset: Option<u64>) -> Option<u64> {
    let cpu = timeline.cpu();
    let bases = [cpu.segments[5].base, cpu.kernel_gs_base];
    let base = bases.into_iter().find(|base| base & KERNEL != 0)?;
    number(timeline, base.wrapping_add(offset?), 8)
}

fn number(timeline: &Timeline, linear: u64, bytes: usize) -> Option<u64> {
    let mut word = [0; 8];
    let there = timeline.read_linear(linear, word.get_mut(..bytes)?);
    (there == bytes).then(|| u64::from_le_bytes(word))
}

fn task(timeline: &Timeline, offsets: &Offsets, at: u64, current: Option<u64>) -> Option<Task> {
    let field = |offset: u64| number(timeline, at.wrapping_add(offset), 4).map(|value| value as u32);
    let mut comm = [0; COMM];
    if timeline.read_linear(at.wrapping_add(offsets.comm), &mut comm) < COMM {
        return None;
    }
    let name = String::from_utf8_lossy(comm.split(|byte| *byte == 0).next().unwrap_or_default());
    let parent = number(timeline, at.wrapping_add(offsets.parent), 8);
    let parent = parent.and_then(|parent| number(timeline, parent.wrapping_add(offsets.tgid), 4));
    Some(Task {
        address: at,
        pid: field(offsets.tgid)?,
        name: name.chars().filter(|c| !c.is_control()).collect(),
        state: letter(field(offsets.state)?),
        current: current == Some(at),
        kernel: field(offsets.flags)? & KERNEL_THREAD != 0,
        parent: parent.unwrap_or(0) as u32,
    })
}

/// The letter of a state (`include/linux/sched.h`).
fn letter(state: u32) -> char {
    match state {
        0 => 'R',
        state if state & 0x400 != 0 => 'I',
        state if state & 1 != 0 => 'S',
        state if state & 2 != 0 => 'D',
        state if state & 4 != 0 => 'T',
        state if state & 8 != 0 => 't',
        state if state & 0x10 != 0 => 'X',
        state if state & 0x20 != 0 => 'Z',
        _ => '?',
    }
}
