//! Who called a function: `calls`.
//!
//! A call is an arrival at the function's first instruction, whatever led there. An instruction that raises an exception, or
//! repeats, stands at its address more than once: that is one call.

use std::fmt::Write;

use recorder::{ExitKind, Position};
use replayvm::machine::ExitFilter;
use replayvm::timeline::{Collected, Extent, Hit, Progress, Reason, Stops};

use super::failed;
use super::look::INTERRUPTED;
use super::parse::{Place, number};
use crate::target::ReplayTarget;

/// Calls that one command lists.
const CALLS_MAX: usize = 100;
const RDX: usize = 2;
const RSP: usize = 4;
const RSI: usize = 6;
const RDI: usize = 7;

/// A call, as it is seen at the function's first instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Call {
    at: Position,
    /// Where it returns to, if that can be read.
    caller: Option<u64>,
    /// RDI, RSI, RDX, in 64-bit code.
    arguments: Option<[u64; 3]>,
}

/// What tells a call from the next one, as far as the CPU knows: the stack that it has.
type Frame = (u64, u64);

impl ReplayTarget<'_> {
    pub(super) fn calls(&mut self, function: &str, from: Place, to: Place) -> Result<String, String> {
        let address = self.function(function)?;
        let (from, to) = (self.position_of(from), self.position_of(to));
        if from > to {
            return Err(format!("{from} is not before {to}"));
        }
        let mut calls = self.looking(|target| target.calls_between(address, from, to))?;
        let next = calls.get(CALLS_MAX).map(|call| call.at);
        calls.truncate(CALLS_MAX);
        let mut text = String::new();
        for call in &calls {
            let caller = call.caller.map_or_else(|| "?".to_owned(), |address| self.named(address));
            let _ = write!(text, "{:<16} from {caller}", call.at.to_string());
            if let Some([rdi, rsi, rdx]) = call.arguments {
                let _ = write!(text, " rdi={rdi:#x} rsi={rsi:#x} rdx={rdx:#x}");
            }
            text.push('\n');
        }
        let name = self.named(address);
        let _ = match next {
            Some(next) => writeln!(text, "the first {CALLS_MAX} calls of {name}; the next one is at {next}"),
            None => writeln!(text, "{} calls of {name} from {from} to {to}", calls.len()),
        };
        Ok(text)
    }

    /// The address of a function by its name, or as it is written.
    fn function(&self, text: &str) -> Result<u64, String> {
        if let Some(address) = number(text) {
            return Ok(address);
        }
        let table = self.symbols.table();
        let table = table.ok_or("this guest has no symbols: write an address as 0x1234")?;
        table.address(text).ok_or_else(|| format!("there is no symbol `{text}` in {}", table.origin()))
    }

    /// The calls between two positions, one more than are listed.
    fn calls_between(&mut self, address: u64, from: Position, to: Position) -> Result<Vec<Call>, String> {
        let stops = Stops { addresses: vec![address], ..Stops::default() };
        let mut calls = Vec::new();
        let mut begun: Option<Frame> = None;
        let mut next = from;
        loop {
            let link = self.link.clone();
            let mut supervisor = |_: Progress| !link.is_interrupted();
            let found = self.timeline.collect(&stops, next, to, CALLS_MAX + 1, &mut supervisor);
            let Collected { hits, extent } = found.map_err(|error| failed(&error))?;
            if let Extent::UpTo(at) = extent {
                let count = calls.len() + hits.len();
                return Err(format!("{INTERRUPTED} at {at}: {count} arrivals from {from} until there"));
            }
            for Hit { position, .. } in hits {
                self.go_to_call(position)?;
                let frame = self.frame();
                if begun != Some(frame) {
                    calls.push(self.call());
                }
                if calls.len() > CALLS_MAX {
                    return Ok(calls);
                }
                begun = self.step_begins_again(address)?.then_some(frame);
                next = Position::new(position.tick, position.offset.saturating_add(1));
            }
            if extent == Extent::Whole {
                return Ok(calls);
            }
        }
    }

    /// To a place that is ahead, or in another stretch of the recording.
    fn go_to_call(&mut self, position: Position) -> Result<(), String> {
        let opened = self.timeline.opened();
        let stretch = |position| opened.checkpoint_at_or_before(position);
        let here = self.timeline.position();
        if here > position || stretch(here) != stretch(position) {
            return self.visit(position);
        }
        let link = self.link.clone();
        let mut supervisor = |_: Progress| !link.is_interrupted();
        let landing = self.timeline.run_to(position, &mut supervisor).map_err(|error| failed(&error))?;
        if landing.reason == Reason::Interrupted { Err(INTERRUPTED.to_owned()) } else { Ok(()) }
    }

    fn frame(&self) -> Frame {
        let cpu = self.timeline.cpu();
        (cpu.gpr[RSP], cpu.cr3)
    }

    fn call(&self) -> Call {
        let cpu = self.timeline.cpu();
        let bytes = (cpu.mode().bitness() / 8) as usize;
        let stack = cpu.linear_rsp();
        let mut caller = [0; 8];
        let read = self.timeline.read_linear(stack, &mut caller[..bytes]);
        let is_64_bit = bytes == caller.len();
        Call {
            at: self.timeline.position(),
            caller: (read == bytes).then(|| u64::from_le_bytes(caller)),
            arguments: is_64_bit.then(|| [cpu.gpr[RDI], cpu.gpr[RSI], cpu.gpr[RDX]]),
        }
    }

    /// Takes a step from a function's first instruction; says whether the CPU is to come back to the same one.
    fn step_begins_again(&mut self, address: u64) -> Result<bool, String> {
        let faults = Stops { exits: ExitFilter::NONE.with(ExitKind::Exception), ..Stops::default() };
        let landing = self.timeline.step_forward_watching(&faults).map_err(|error| failed(&error))?;
        Ok(matches!(landing.reason, Reason::Exit(..)) || self.timeline.cpu().linear_rip() == address)
    }
}
