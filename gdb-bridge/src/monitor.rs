//! The commands of `monitor`: what gdb has no command of its own for.
//!
//! gdb does not know that `monitor` may move the machine and shows the registers it has fetched before. What moves says so,
//! unless it is told `quiet`; the commands of [`crate::launch::GDB_COMMANDS`] do that and make gdb look again.

use std::error::Error;
use std::fmt::Write;

use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd};
use recorder::Position;
use replayvm::timeline::{Landing, Progress, Reason, TimelineError};

use crate::target::{ReplayTarget, TargetFailure};

const HELP: &str = "\
monitor when               where in the recording the machine stands
monitor seek POSITION      go there: TICK or TICK+OFFSET, as `when` prints it
monitor seek begin|end     go to the begin or the end of the recording
monitor seek +N|-N         go N steps forwards or backwards
monitor mark NAME          give this place a name
monitor marks              list the names
monitor back NAME          go to the place with that name
monitor phys on|off        take addresses of memory reads as physical; by the guest's page tables
Registers and memory can be read but not changed. Breakpoints and watchpoints are linear addresses in any case.
";

const STALE: &str =
    "gdb does not know that the machine has moved: `maintenance flush register-cache` makes it look again\n";

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Command<'a> {
    Help,
    When,
    Seek { target: Target<'a>, quiet: bool },
    Mark(&'a str),
    Marks,
    Physical(Option<bool>),
}

/// Where to go.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target<'a> {
    Position(Position),
    Begin,
    End,
    Forward(u64),
    Backward(u64),
    Mark(&'a str),
}

fn parse(line: &str) -> Result<Command<'_>, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (words, quiet) = match words.as_slice() {
        [rest @ .., "quiet"] if rest.len() > 1 => (rest, true),
        all => (all, false),
    };
    Ok(match words {
        [] | ["help"] => Command::Help,
        ["when"] => Command::When,
        ["seek", target] => Command::Seek { target: parse_target(target)?, quiet },
        ["back", name] => Command::Seek { target: Target::Mark(name), quiet },
        ["mark", name] => Command::Mark(name),
        ["marks"] => Command::Marks,
        ["phys"] => Command::Physical(None),
        ["phys", "on"] => Command::Physical(Some(true)),
        ["phys", "off"] => Command::Physical(Some(false)),
        [command @ ("seek" | "back" | "mark" | "phys"), ..] => {
            return Err(format!("`{command}` is used otherwise: see `monitor help`"));
        }
        [command, ..] => return Err(format!("there is no command `{command}`: see `monitor help`")),
    })
}

fn parse_target(text: &str) -> Result<Target<'_>, String> {
    let steps = |digits: &str| {
        digits.parse().map_err(|_| format!("`{text}` is not a number of steps: write +N or -N"))
    };
    Ok(match text {
        "begin" | "start" => Target::Begin,
        "end" => Target::End,
        _ => match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(digits), _) => Target::Forward(steps(digits)?),
            (_, Some(digits)) => Target::Backward(steps(digits)?),
            _ => Target::Position(
                text.parse().map_err(|error: recorder::ParsePositionError| error.to_string())?,
            ),
        },
    })
}

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
        })
    }

    fn when(&self) -> String {
        let timeline = &*self.timeline;
        let position = timeline.position();
        let place = if position <= timeline.begin() {
            ", the begin of the recording"
        } else if position >= timeline.end() {
            ", the end of the recording"
        } else {
            ""
        };
        format!(
            "position {position}{place}\nvirtual time {} ns\ninstructions {}\n",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_positions_ends_steps_and_marks() {
        let seek = |target| Ok(Command::Seek { target, quiet: false });
        assert_eq!(parse("seek 12+3"), seek(Target::Position(Position::new(12, 3))));
        assert_eq!(parse(" seek  12 "), seek(Target::Position(Position::new(12, 0))));
        assert_eq!(parse("seek end"), seek(Target::End));
        assert_eq!(parse("seek +7"), seek(Target::Forward(7)));
        assert_eq!(parse("seek -7"), seek(Target::Backward(7)));
        assert_eq!(parse("back here"), seek(Target::Mark("here")));
        assert_eq!(parse("seek begin quiet"), Ok(Command::Seek { target: Target::Begin, quiet: true }));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(parse("seek x").is_err_and(|error| error.contains("TICK+OFFSET")));
        assert!(parse("seek +x").is_err_and(|error| error.contains("number of steps")));
        assert!(parse("seek").is_err_and(|error| error.contains("`seek`")));
        assert!(parse("reboot now").is_err_and(|error| error.contains("no command `reboot`")));
        assert_eq!(parse(""), Ok(Command::Help));
    }

    #[test]
    fn every_command_is_in_the_help() {
        for command in ["when", "seek", "mark", "marks", "back", "phys"] {
            assert!(HELP.contains(&format!("monitor {command}")), "{command}");
        }
    }
}
