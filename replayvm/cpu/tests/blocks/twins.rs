//! Two machines that begin alike, one for each form.

use replayvm_cpu::{Blocks, Limits, Moment, Step};

use crate::machine::{Machine, TestBus};

pub struct Twins {
    pub plain: Machine,
    pub fast: Machine,
    pub blocks: Blocks<TestBus>,
    breakpoints: Vec<u64>,
    /// Runs end where user code begins or ends; how often they have.
    pub one_privilege: bool,
    pub changes: u64,
}

impl Twins {
    pub fn new(make: impl Fn() -> Machine) -> Self {
        let (mut plain, mut fast) = (make(), make());
        plain.cpu.state_changed();
        fast.cpu.state_changed();
        Self { plain, fast, blocks: Blocks::new(), breakpoints: Vec::new(), one_privilege: false, changes: 0 }
    }

    pub fn break_at(&mut self, mut addresses: Vec<u64>) {
        addresses.sort_unstable();
        addresses.dedup();
        self.blocks.set_breakpoints(&addresses);
        self.breakpoints = addresses;
    }

    /// Does the same to both.
    pub fn both(&mut self, f: impl Fn(&mut Machine)) {
        f(&mut self.plain);
        f(&mut self.fast);
    }

    fn stops(machine: &Machine, breakpoints: &[u64]) -> bool {
        let cpu = &machine.cpu;
        breakpoints.binary_search(&cpu.state.linear_rip()).is_ok()
            && !cpu.state.halted
            && !cpu.delivers_next(&machine.bus)
    }

    /// Runs both until a moment is reached, a tick is due or a breakpoint is next, or the CPU idles; says what the last
    /// step came to. They must then be alike.
    pub fn run(&mut self, due_tick: u64, until: Moment) -> Step {
        let steps = self.plain.cpu.state.instructions;
        let one_privilege = self.one_privilege;
        let came_to = loop {
            let was_user = self.plain.cpu.state.cpl() == 3;
            let step = self.plain.cpu.step(&mut self.plain.bus);
            let now = self.plain.cpu.state.now;
            if one_privilege && was_user != (self.plain.cpu.state.cpl() == 3) {
                self.changes += 1;
                break step;
            }
            if step != Step::Done
                || now.offset == 0 && now.tick >= due_tick
                || now >= until
                || Self::stops(&self.plain, &self.breakpoints)
            {
                break step;
            }
        };
        let fast = loop {
            let Machine { cpu, bus } = &mut self.fast;
            let step = self.blocks.run(cpu, bus, Limits { due_tick, until, one_privilege });
            let now = cpu.state.now;
            if step != Step::Done
                || one_privilege && now == self.plain.cpu.state.now
                || now.offset == 0 && now.tick >= due_tick
                || now >= until
                || Self::stops(&self.fast, &self.breakpoints)
            {
                break step;
            }
        };
        let from = steps;
        assert_eq!(fast, came_to, "after instruction {from}");
        assert_eq!(self.fast.cpu.state, self.plain.cpu.state, "after instruction {from}");
        assert_eq!(self.fast.bus.log, self.plain.bus.log, "after instruction {from}");
        assert_eq!(self.fast.bus.out, self.plain.bus.out, "after instruction {from}");
        if self.fast.bus.ram != self.plain.bus.ram {
            let at = (0..self.fast.bus.ram.len()).find(|i| self.fast.bus.ram[*i] != self.plain.bus.ram[*i]);
            let words = [&self.plain, &self.fast].map(|machine| machine.bus.get64(at.unwrap() as u64 & !7));
            panic!(
                "memory differs at {at:x?} ({words:x?}) after instruction {from}, now {:x?}",
                self.plain.cpu.state
            );
        }
        self.both(|machine| {
            machine.bus.log.clear();
            machine.bus.out.clear();
        });
        came_to
    }

    /// Runs both by so many steps at the most.
    pub fn steps(&mut self, n: u32) -> Step {
        let now = self.plain.cpu.state.now;
        self.run(u64::MAX, Moment { tick: now.tick, offset: now.offset + n })
    }

    /// Runs both by so many ticks.
    pub fn ticks(&mut self, n: u64) -> Step {
        let now = self.plain.cpu.state.now;
        self.run(u64::MAX, Moment { tick: now.tick + n, offset: 0 })
    }
}
