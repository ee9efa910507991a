//! The commands of `monitor`: what gdb has no command of its own for.
//!
//! gdb does not know that `monitor` may move the machine and shows the registers it has fetched before. What moves says so,
//! unless it is told `quiet`; the commands of [`crate::launch::GDB_COMMANDS`] do that and make gdb look again.

/// Branches: leaving the recording and coming back.
mod branches;
/// What the recording says of the time around here.
mod lists;
/// Looking elsewhere without moving.
mod look;
/// What a line asks for.
mod parse;
/// Who wrote to memory.
mod writes;

use std::error::Error;
use std::fmt::Write;

use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd};
use replayvm::timeline::{Landing, Progress, Reason, TimelineError};

use self::parse::{Command, HELP, Target, parse};
use crate::target::{ReplayTarget, TargetFailure};

const STALE: &str =
    "gdb does not know that the machine has moved: `maintenance flush register-cache` makes it look again\n";

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
        let answer = parse(&line).and_then(|command| self.command(command));
        let text = answer.unwrap_or_else(|error| format!("{error}\n"));
        out.write_raw(text.as_bytes());
        Ok(())
    }
}

impl ReplayTarget<'_> {
    fn command(&mut self, command: Command<'_>) -> Result<String, String> {
        Ok(match command {
            Command::Help => HELP.to_owned(),
            Command::When => self.when(),
            Command::Seek { target, quiet } => {
                let landing = self.go(target)?;
                let mut text = self.when();
                if landing.reason == Reason::Interrupted {
                    text.insert_str(0, "interrupted on the way\n");
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
                format!("addresses of memory reads are {what}\n")
            }
            Command::LastWrite { address, len } => self.last_write(address, len)?,
            Command::Writes { address, len, from, to } => self.writes(address, len, from, to)?,
            Command::Translate(linear) => self.translate(linear)?,
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

    fn when(&self) -> String {
        let timeline = &*self.timeline;
        let position = timeline.position();
        let whole = if timeline.branch().is_some() { "branch" } else { "recording" };
        let ends = timeline.branch().is_none_or(|branch| branch.over().is_some());
        let place = if position <= timeline.begin() {
            format!(", the begin of the {whole}")
        } else if ends && position >= timeline.end() {
            format!(", the end of the {whole}")
        } else {
            String::new()
        };
        format!(
            "position {position}{place}\n{}virtual time {} ns\ninstructions {}\n",
            self.branch_text(),
            timeline.virtual_ns(),
            timeline.instructions(),
        )
    }

    fn go(&mut self, target: Target<'_>) -> Result<Landing, String> {
        let link = self.link.clone();
        let mut supervisor = |_: Progress| !link.is_interrupted();
        let timeline = &mut *self.timeline;
        let position = match target {
            Target::Position(position) => position,
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
