//! How far to run between two looks at whoever may want to stop. No clock says so: work done does.

use recorder::Position;

use crate::machine::Machine;

/// Instructions and exits between two looks: some ten milliseconds.
const WORK: u64 = 1 << 19;

/// How many instructions that run natively count as one.
const LIGHTER: u64 = 16;

/// The first stretch, before anything is known: ticks may have 65,536 steps each.
const FIRST_TICKS: u64 = 16;

/// Instructions retired, by the time that they take: those that ran natively count as a fraction.
pub(super) fn instructions_by_weight(machine: &Machine) -> u64 {
    let light = machine.platform.light_instructions;
    machine.instructions().wrapping_sub(light).wrapping_add(light / LIGHTER)
}

/// When the next checkpoint of a recording is due: after so many ticks, of which those that passed natively count as a fraction.
#[derive(Debug)]
pub(super) struct CheckpointPace {
    every: u64,
    /// Tick, instructions, and instructions by weight at the last one.
    last: (u64, u64, u64),
    next: u64,
}

impl CheckpointPace {
    pub(super) fn new(every: u64, machine: &Machine) -> Self {
        let mut pace = Self { every: every.max(1), last: (0, 0, 0), next: 0 };
        pace.done(machine);
        pace
    }

    /// The tick at which to ask again.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// A checkpoint has been written.
    pub(super) fn done(&mut self, machine: &Machine) {
        let tick = machine.position().tick;
        self.last = (tick, machine.instructions(), instructions_by_weight(machine));
        self.next = tick.saturating_add(self.every);
    }

    /// Whether one is due now; if not, there is another tick at which to ask.
    pub(super) fn is_due(&mut self, machine: &Machine) -> bool {
        let tick = machine.position().tick;
        if tick < self.next {
            return false;
        }
        let (since, instructions, weight) = self.last;
        // An idle CPU lets ticks pass and retires nothing.
        let all = machine.instructions().wrapping_sub(instructions).saturating_add(1);
        let heavy = instructions_by_weight(machine).wrapping_sub(weight).saturating_add(1);
        let passed = u128::from(tick - since) * u128::from(heavy) / u128::from(all);
        let missing = u128::from(self.every).saturating_sub(passed) as u64;
        self.next = tick.saturating_add(missing.max(1));
        missing == 0
    }
}

/// Follows how much work a tick is: a guest may execute a few instructions a tick or, in a loop without a branch, millions.
#[derive(Debug)]
pub(crate) struct Pace {
    /// 0: less than a tick.
    ticks: u64,
    most: u64,
    /// Where the stretch before ended, and the work done when it began.
    before: Option<(Position, u64)>,
}

impl Pace {
    /// Stretches of at most so many ticks.
    pub(crate) fn new(most: u64) -> Self {
        let most = most.max(1);
        Self { ticks: most.min(FIRST_TICKS), most, before: None }
    }

    /// Where the next stretch of the machine's run ends at the latest.
    pub(crate) fn next(&mut self, machine: &Machine) -> Position {
        // Faults retire no instruction.
        let work = instructions_by_weight(machine).wrapping_add(machine.platform.exits_made);
        let now = machine.position();
        if let Some((end, start)) = self.before {
            let done = work.wrapping_sub(start);
            if done > 2 * WORK {
                self.ticks = (u128::from(self.ticks) * u128::from(WORK) / u128::from(done)) as u64;
            } else if done < WORK / 2 && now >= end {
                self.ticks = self.ticks.saturating_mul(2).clamp(1, self.most);
            }
        }
        let end = match self.ticks {
            0 => Position::new(now.tick, now.offset.saturating_add(WORK as u32)),
            ticks => Position::new(now.tick.saturating_add(ticks), 0),
        };
        self.before = Some((end, work));
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Settings;

    #[test]
    fn stretches_get_shorter_where_ticks_are_rare_and_long_again() {
        let description = Settings::default().description("none", recorder::BootKind::Elf64);
        let mut machine = Machine::bare(&description).unwrap();
        let mut pace = Pace::new(50_000);
        let mut run = |machine: &mut Machine, instructions_a_tick: u64| {
            let end = pace.next(machine);
            let ticks = (end.tick - machine.position().tick).max(1);
            machine.cpu.state.now.tick += ticks;
            machine.cpu.state.now.offset = 0;
            machine.cpu.state.instructions += ticks * instructions_a_tick;
            ticks
        };
        for _ in 0..16 {
            run(&mut machine, 5);
        }
        assert_eq!(run(&mut machine, 65_536), 50_000);
        for _ in 0..3 {
            run(&mut machine, 65_536);
        }
        assert!(run(&mut machine, 65_536) <= 32);
        for _ in 0..20 {
            run(&mut machine, 5);
        }
        assert_eq!(run(&mut machine, 5), 50_000);
    }
}
