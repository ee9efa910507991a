//! How far to run between two looks at whoever may want to stop. No clock says so: work done does.

use recorder::Position;

use crate::machine::Machine;

/// Instructions and exits between two looks: some ten milliseconds.
const WORK: u64 = 1 << 19;

/// How many instructions that run natively take as long as one of the software CPU.
const LIGHTER: u64 = 16;
/// How many may go by between two looks as one: they stop at each look, which costs something.
const LIGHTER_BETWEEN_LOOKS: u64 = 64;
/// Instructions of the software CPU that a page costs that was written natively: it is found, hashed, kept, and written to once more
/// under protection. Twenty times as much work has to lie between two checkpoints.
const WORK_FOR_A_PAGE: u64 = 60_000;

/// The first stretch, before anything is known: ticks may have 65,536 steps each.
const FIRST_TICKS: u64 = 16;

/// Instructions retired, of which those that ran natively count as a fraction.
fn weighed(machine: &Machine, lighter: u64) -> u64 {
    let light = machine.platform.light_instructions;
    machine.instructions().wrapping_sub(light).wrapping_add(light / lighter)
}

/// When the next checkpoint of a recording is due: after so many ticks, of which those that passed natively count as a fraction, and not
/// before the last one has been paid for by work.
#[derive(Debug)]
pub(super) struct CheckpointPace {
    every: u64,
    /// At the last one.
    last: Passed,
    /// Pages that it found written.
    pages: u64,
    next: u64,
}

/// Where a machine is, in what counts.
#[derive(Debug, Clone, Copy)]
struct Passed {
    tick: u64,
    instructions: u64,
    light: u64,
    weighed: u64,
}

impl Passed {
    fn of(machine: &Machine) -> Self {
        Self {
            tick: machine.position().tick,
            instructions: machine.instructions(),
            light: machine.platform.light_instructions,
            weighed: weighed(machine, LIGHTER),
        }
    }
}

impl CheckpointPace {
    pub(super) fn new(every: u64, machine: &Machine) -> Self {
        let last = Passed::of(machine);
        let every = every.max(1);
        Self { every, last, pages: 0, next: last.tick.saturating_add(every) }
    }

    /// The tick at which to ask again.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// A checkpoint has been written, which has found so many pages written.
    pub(super) fn done(&mut self, machine: &Machine, pages: u64) {
        *self = Self { pages, ..Self::new(self.every, machine) };
    }

    /// Whether one is due now; if not, there is another tick at which to ask.
    pub(super) fn is_due(&mut self, machine: &Machine) -> bool {
        let now = Passed::of(machine);
        if now.tick < self.next {
            return false;
        }
        // An idle CPU lets ticks pass and retires nothing.
        let all = now.instructions.wrapping_sub(self.last.instructions).saturating_add(1);
        let work = now.weighed.wrapping_sub(self.last.weighed).saturating_add(1);
        let light = now.light.wrapping_sub(self.last.light);
        let of_work = |ticks: u64, part: u64| (u128::from(ticks) * u128::from(part) / u128::from(all)) as u64;
        let passed = of_work(now.tick - self.last.tick, work.min(all));
        let owed = of_work(self.pages.saturating_mul(WORK_FOR_A_PAGE), light.min(all)).saturating_sub(work);
        let missing = self.every.saturating_sub(passed);
        // To ask ends a native stretch. It is asked again when the rest will have been paid, if work goes on as it has.
        let paid_in = u128::from(owed) * u128::from(now.tick - self.last.tick) / u128::from(work);
        let (least, most) = if owed == 0 { (1, 1) } else { (self.every, self.every.saturating_mul(LIGHTER)) };
        let paid_in = u64::try_from(paid_in).unwrap_or(most).clamp(least, most);
        self.next = now.tick.saturating_add(missing.max(paid_in));
        missing == 0 && owed == 0
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
        let work = weighed(machine, LIGHTER_BETWEEN_LOOKS).wrapping_add(machine.platform.exits_made);
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

    fn machine_at(tick: u64, instructions: u64, light: u64) -> Machine {
        let description = Settings::default().description("none", recorder::BootKind::Elf64);
        let mut machine = Machine::bare(&description).unwrap();
        machine.cpu.state.now.tick = tick;
        machine.cpu.state.instructions = instructions;
        machine.platform.light_instructions = light;
        machine
    }

    #[test]
    fn checkpoints_come_by_ticks_in_the_software_cpu_and_by_work_natively() {
        let mut pace = CheckpointPace::new(1_000, &machine_at(0, 0, 0));
        assert!(!pace.is_due(&machine_at(999, 9_990, 0)));
        assert!(pace.is_due(&machine_at(1_000, 10_000, 0)));
        pace.done(&machine_at(1_000, 10_000, 0), 1 << 40);
        // Pages cost nothing more where nothing ran natively.
        assert_eq!(pace.next(), 2_000);
        assert!(pace.is_due(&machine_at(2_000, 20_000, 0)));
        // Nothing retires while the CPU is idle.
        pace.done(&machine_at(2_000, 20_000, 0), 0);
        assert!(pace.is_due(&machine_at(3_000, 20_000, 0)));
        // A sixteenth counts natively.
        pace.done(&machine_at(3_000, 20_000, 0), 0);
        assert!(!pace.is_due(&machine_at(4_000, 180_000, 160_000)));
        assert!((4_900..5_000).contains(&pace.next()), "{}", pace.next());
        assert!(pace.is_due(&machine_at(19_500, 180_000, 160_000)));
        // And pages have to be paid for.
        pace.done(&machine_at(20_000, 180_000, 160_000), 10);
        let after = |work| machine_at(1 << 40, 180_000 + 16 * work, 160_000 + 16 * work);
        assert!(!pace.is_due(&after(10 * WORK_FOR_A_PAGE - 10)));
        // It is asked again when they will be: half of it has been done in 4,000 ticks.
        let half = 180_000 + 16 * 5 * WORK_FOR_A_PAGE;
        pace.done(&machine_at(1_000_000, 180_000, 160_000), 10);
        assert!(!pace.is_due(&machine_at(1_004_000, half, half - 20_000)));
        assert!((4_900..=5_000).contains(&(pace.next() - 1_003_000)), "{}", pace.next());
        // But no later than in sixteen times the ticks of the software CPU.
        pace.done(&machine_at(1_000_000, 180_000, 160_000), 10);
        assert!(!pace.is_due(&machine_at(1_016_000, 340_000, 320_000)));
        assert_eq!(pace.next(), 1_032_000);
        pace.done(&machine_at(20_000, 180_000, 160_000), 10);
        assert!(pace.is_due(&machine_at(
            2 << 40,
            after(10 * WORK_FOR_A_PAGE + 10).instructions(),
            160_000 + 160 * WORK_FOR_A_PAGE + 160
        )));
    }

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
