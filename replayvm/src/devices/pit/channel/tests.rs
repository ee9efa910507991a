//! The channel against a slow twin that is stepped clock by clock, as the datasheet tells it.

use proptest::prelude::*;

use super::*;

/// A counting element that is stepped. Binary, low byte only.
#[derive(Debug)]
struct Stepped {
    mode: u8,
    gate: bool,
    output: bool,
    count_register: i64,
    element: i64,
    load_next: bool,
    active: bool,
    /// Mode 3: the half period that runs, and whether its count is odd.
    high: bool,
    odd: bool,
}

impl Stepped {
    fn new(mode: u8, gate: bool) -> Self {
        let output = mode != 0;
        Self {
            mode,
            gate,
            output,
            count_register: 0,
            element: 0,
            load_next: false,
            active: false,
            high: true,
            odd: false,
        }
    }

    fn write(&mut self, count: u8) {
        self.count_register = if count == 0 { 65_536 } else { i64::from(count) };
        match self.mode {
            0 => {
                self.output = false;
                self.load_next = true;
            }
            4 => {
                self.output = true;
                self.load_next = true;
            }
            2 | 3 if !self.active => self.load_next = true,
            _ => {}
        }
    }

    fn set_gate(&mut self, high: bool) {
        if high && !self.gate && self.mode != 0 && self.mode != 4 && self.count_register != 0 {
            self.load_next = true;
        }
        self.gate = high;
        if !high && matches!(self.mode, 2 | 3) {
            self.output = true;
        }
    }

    fn step(&mut self) {
        if self.load_next {
            self.load_next = false;
            self.active = true;
            self.high = true;
            self.element = self.count_register;
            if self.mode == 3 {
                self.odd = self.element % 2 != 0;
                self.element &= !1;
            }
            self.output = matches!(self.mode, 2..=5);
            return;
        }
        if !self.active || !self.gate && !matches!(self.mode, 1 | 5) {
            return;
        }
        match self.mode {
            2 => {
                if self.element == 1 {
                    self.element = self.count_register;
                    self.output = true;
                } else {
                    self.element -= 1;
                    self.output = self.element != 1;
                }
            }
            3 => {
                // An odd count is one clock longer while high: down to zero, not to two.
                let last = if self.high && self.odd { 0 } else { 2 };
                if self.element == last {
                    self.high = !self.high;
                    self.output = self.high;
                    self.odd = self.count_register % 2 != 0;
                    self.element = self.count_register & !1;
                } else {
                    self.element -= 2;
                }
            }
            _ => {
                self.element -= 1;
                match self.mode {
                    0 | 1 if self.element == 0 => self.output = true,
                    4 | 5 => self.output = self.element != 0,
                    _ => {}
                }
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    Count(u8),
    Gate(bool),
}

fn ops() -> impl Strategy<Value = Vec<(i64, Op)>> {
    // A count of one is illegal in modes 2 and 3.
    let op = prop_oneof![(2u8..20).prop_map(Op::Count), Just(Op::Count(0)), any::<bool>().prop_map(Op::Gate)];
    prop::collection::vec((2i64..60, op), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_channel_equals_its_stepped_twin_at_each_clock(mode in 0u8..6, gate: bool, ops in ops()) {
        let mut channel = Channel::new(gate);
        channel.set_control(0, 0x10 | mode << 1);
        let mut twin = Stepped::new(mode, gate);
        let mut clock = 0;
        for (clocks, op) in ops {
            match op {
                Op::Count(count) => {
                    channel.sync(clock);
                    channel.write(clock, count);
                    twin.write(count);
                }
                Op::Gate(high) => {
                    channel.sync(clock);
                    channel.set_gate(clock, high);
                    twin.set_gate(high);
                }
            }
            for _ in 0..clocks {
                clock += 1;
                channel.sync(clock);
                twin.step();
                let value = u32::try_from(twin.element.rem_euclid(65_536)).unwrap();
                prop_assert_eq!((channel.value(clock), channel.output(clock)), (value, twin.output), "clock {}: {:?} {:?}", clock, channel, twin);
            }
        }
    }
}
