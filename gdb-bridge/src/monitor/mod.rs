//! The commands of `monitor`: what gdb has no command of its own for.
//!
//! gdb does not know that `monitor` may move the machine and shows the registers it has fetched before. What moves says so,
//! unless it is told `quiet`; the commands of [`crate::launch::GDB_COMMANDS`] do that and make gdb look again.

/// Branches: leaving the recording and coming back.
mod branches;
/// Who called a function.
mod calls;
/// What the machine looks like here.
mod info;
/// Places that stay in memory.
mod kept;
/// What the recording says of the time around here.
mod lists;
/// Looking elsewhere without moving.
mod look;
/// What a line asks for.
mod parse;
/// As what gdb is shown the machine, and by what names.
mod shown;
/// What this session has done.
mod stats;
/// The commands by name, and what `help` says of them.
mod words;
/// Who wrote to memory.
mod writes;

use std::error::Error;
use std::fmt::Write;

use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd};
use replayvm::timeline::{AddressSpace, Landing, Progress, Reason, TimelineError, unsupervised};

use self::parse::{Command, Space, Target, parse};
use crate::target::{ReplayTarget, TargetFailure};
use crate::timing::Begun;

const STALE: &str =
    "gdb does not know that the machine has moved: `maintenance flush register-cache` makes it look again\n";

/// Characters of a line that are kept to name it by.
const NAME_CHARS: usize = 60;

/// An error with its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

impl MonitorCmd for ReplayTarget<'_> {
    fn handle_monitor_cmd(&mut self, line: &[u8], mut out: ConsoleOutput<'_>) -> Result<(), TargetFailure> {
        let line = String::from_utf8_lossy(line);
        let begun = Begun::now();
        // If the connection has failed, the next read says so.
        let _ = self.link.begin_command();
        let answer = parse(&line).and_then(|command| self.command(command));
        self.link.end_command();
        let name: String = line.chars().take(NAME_CHARS).collect();
        self.timing.ended(format!("monitor {name}"), &begun);
        let text = answer.unwrap_or_else(|error| format!("{error}\n"));
        out.write_raw(text.as_bytes());
        Ok(())
    }
}

impl ReplayTarget<'_> {
    /// A client that sends another packet and has not heard that the machine has moved still takes it for where it stood: there
    /// it stands again.
    pub(crate) fn next_packet(&mut self) {
        let gave_up = self.link.gave_up();
        let Some(before) = self.moved_from.take().filter(|_| gave_up) else { return };
        if let Err(error) = self.timeline.seek(before, &mut unsupervised()) {
            tracing::warn!(error = chain(&error), "replay failed");
        }
    }

    fn command(&mut self, command: Command<'_>) -> Result<String, String> {
        Ok(match command {
            Command::Help(None) => words::help(),
            Command::Help(Some(command)) => words::help_about(command)?,
            Command::When => self.when(),
            Command::Seek { target, quiet } => {
                self.unreported = None;
                self.moved_from = Some(self.timeline.keep_here().map_err(|error| failed(&error))?);
                let landing = self.go(&target)?;
                let mut text = self.when();
                match (landing.reason, target) {
                    (Reason::Interrupted, _) => text.insert_str(0, "interrupted on the way\n"),
                    (Reason::End, Target::Time(ns)) if self.timeline.virtual_ns() < ns => {
                        let whole = self.whole();
                        text.insert_str(0, &format!("the {whole} ends before that time\n"));
                    }
                    _ => {}
                }
                if !quiet {
                    text.push_str(STALE);
                }
                text
            }
            Command::Mark(name) => {
                self.timeline.mark(name);
                format!("{name} is {}\n", self.timeline.position())
            }
            Command::Marks => match self.timeline.marks() {
                marks if marks.is_empty() => "there are no marks\n".to_owned(),
                marks => marks.iter().fold(String::new(), |mut text, (name, position)| {
                    let _ = writeln!(text, "{name:<16} {position}");
                    text
                }),
            },
            Command::Physical(change) => {
                self.physical = change.unwrap_or(self.physical);
                let what = if self.physical { "physical" } else { "linear, by the guest's page tables" };
                format!("addresses of memory are {what}\n")
            }
            Command::StepBack { over } => {
                self.goes_back_over = over;
                String::new()
            }
            Command::Architecture(wanted) => {
                self.shown.wanted = wanted.unwrap_or(self.shown.wanted);
                self.architecture()
            }
            Command::Symbols => self.symbols_text(),
            Command::Checkpoint => self.checkpoint()?,
            Command::DropCheckpoint(position) => self.drop_checkpoint(position)?,
            Command::Checkpoints => self.checkpoints(),
            Command::BreakIn { space, address } => self.break_in(space, address)?,
            Command::LastWrite { address, len } => self.last_write(address, len)?,
            Command::Writes { address, len, from, to } => self.writes(address, len, from, to)?,
            Command::Calls { function, from, to } => self.calls(function, from, to)?,
            Command::Translate(linear) => self.translate(linear)?,
            Command::Info(subject) => self.info(subject),
            Command::InfoPageTable(tables) => self.page_table(tables)?,
            Command::InfoList => info::subjects(),
            Command::Stats => self.stats(),
            Command::Exits { kind, count } => self.exits(kind, count)?,
            Command::Events(count) => self.events(count)?,
            Command::Console(count) => self.console(count)?,
            Command::Fork(seed) => self.fork(seed)?,
            Command::Return { quiet } => {
                self.return_to_recording()?;
                self.when() + if quiet { "" } else { STALE }
            }
            Command::Type(text) => self.type_text(&text)?,
            Command::Diff(place) => self.diff(place)?,
        })
    }

    /// What has a begin and an end here.
    fn whole(&self) -> &'static str {
        if self.timeline.branch().is_some() { "branch" } else { "recording" }
    }

    fn when(&self) -> String {
        let timeline = &*self.timeline;
        let position = timeline.position();
        let whole = self.whole();
        let ends = timeline.branch().is_none_or(|branch| branch.over().is_some());
        let place = if position <= timeline.begin() {
            format!(", the begin of the {whole}")
        } else if ends && position >= timeline.end() {
            format!(", the end of the {whole}")
        } else {
            String::new()
        };
        format!(
            "position {position}{place}\n{}virtual time {} ns\ninstructions {}\nat {}\n",
            self.branch_text(),
            timeline.virtual_ns(),
            timeline.instructions(),
            self.named(timeline.cpu().linear_rip()),
        )
    }

    /// The name of an address, if it has one.
    fn name_of(&self, address: u64) -> Option<String> {
        self.symbols.table()?.place(address).map(|place| place.to_string())
    }

    /// An address with its name.
    fn named(&self, address: u64) -> String {
        self.name_of(address).map_or_else(|| format!("{address:#x}"), |name| format!("{address:#x} {name}"))
    }

    fn break_in(&mut self, space: Option<Space>, address: Option<u64>) -> Result<String, String> {
        if let Some(space) = space {
            let space = match space {
                Space::Any => None,
                Space::Cr3(cr3) => Some(AddressSpace::of_cr3(cr3)),
                Space::Here => {
                    let here = AddressSpace::of(self.timeline.cpu());
                    Some(here.ok_or("paging is off: there is no address space here")?)
                }
            };
            self.points.spaces.bind(address, space)?;
        }
        Ok(self.points.spaces.text())
    }

    fn go(&mut self, target: &Target<'_>) -> Result<Landing, String> {
        let link = self.link.clone();
        let mut supervisor = |_: Progress| !link.is_interrupted();
        let timeline = &mut *self.timeline;
        let position = match *target {
            Target::Position(position) => position,
            Target::Time(ns) => {
                return timeline.seek_time(ns, &mut supervisor).map_err(|error| failed(&error));
            }
            Target::Begin => timeline.begin(),
            Target::End => timeline.end(),
            Target::Mark(name) => {
                let known = timeline.marks().get(name).copied();
                known.ok_or_else(|| format!("there is no mark `{name}`: `monitor marks` lists them"))?
            }
            Target::Forward(steps) => return self.steps(steps, true),
            Target::Backward(steps) => return self.steps(steps, false),
        };
        timeline.seek(position, &mut supervisor).map_err(|error| failed(&error))
    }

    fn steps(&mut self, steps: u64, forward: bool) -> Result<Landing, String> {
        let mut landing = Landing { position: self.timeline.position(), reason: Reason::Reached };
        for step in 0..steps {
            let link = self.link.clone();
            let mut go_on = |_: Progress| !link.is_interrupted();
            landing = if forward {
                self.timeline.step_forward()
            } else {
                self.timeline.step_backward_supervised(&mut go_on)
            }
            .map_err(|error| failed(&error))?;
            if landing.reason != Reason::Reached {
                break;
            }
            // A step back looks by itself; a step forward costs next to nothing.
            if forward && step.is_multiple_of(512) && self.link.is_interrupted() {
                return Ok(Landing { reason: Reason::Interrupted, ..landing });
            }
        }
        Ok(landing)
    }
}

fn failed(error: &TimelineError) -> String {
    format!("replay failed: {}", chain(error))
}
