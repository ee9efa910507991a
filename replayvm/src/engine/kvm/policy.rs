//! When user code runs natively: only where that pays.
//!
//! A way into native execution and back costs some tens of microseconds, as much as the software CPU needs for thousands of
//! instructions. So there is an account, in instructions of the software CPU: what runs there earns a small share of itself, what runs
//! natively earns what it has saved, every way back costs. Without credit nothing runs natively, so that the whole is never much slower
//! than the software CPU alone; and whoever has lost more than it earned waits, each time longer.

/// What a way in and back costs.
const RETURN_COST: i64 = 7_000;
/// Of a thousand instructions of the software CPU, what is earned for trying.
const EARNED_PER_MILLE: i64 = 50;
/// Of a thousand native instructions, what is saved.
const SAVED_PER_MILLE: i64 = 900;
/// The most that can be saved up: a twentieth of a second.
const MOST: i64 = 10_000_000;
/// What it costs to have a virtual machine made for it, once.
const FIRST_COST: i64 = 400_000;
/// Ticks that user code must be able to go on for.
const LEAST_TICKS: u64 = 2_000;
/// Ticks that the software CPU runs before the question is asked again.
const QUANTUM: u64 = 64;
/// The longest wait, in ticks of the software CPU.
const LONGEST_WAIT: u64 = 1 << 16;

/// The account.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    credit: i64,
    /// Ticks of the software CPU before the next try, and what the next wait will be.
    wait: u64,
    next_wait: u64,
    rule: Rule,
}

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// The account.
    Account,
    /// Native execution is always tried: for tests.
    Always,
    /// It is not to be had.
    Never,
}

impl Policy {
    /// `always`: native execution is tried wherever it is possible.
    pub(super) fn new(always: bool) -> Self {
        let rule = if always { Rule::Always } else { Rule::Account };
        Self { credit: -FIRST_COST, wait: 0, next_wait: QUANTUM, rule }
    }

    /// Native execution is not to be had.
    pub(super) fn never() -> Self {
        Self { rule: Rule::Never, ..Self::new(false) }
    }

    /// Whether to try now.
    pub(super) fn allows(&self) -> bool {
        match self.rule {
            Rule::Account => self.wait == 0 && self.credit >= RETURN_COST,
            Rule::Always => true,
            Rule::Never => false,
        }
    }

    /// Ticks that user code must be able to go on for.
    pub(super) fn least_ticks(&self) -> u64 {
        if self.rule == Rule::Always { 1 } else { LEAST_TICKS }
    }

    /// Ticks that the software CPU runs before the question is asked again.
    pub(super) fn quantum(&self) -> u64 {
        match self.rule {
            Rule::Account => QUANTUM.max(self.wait),
            Rule::Always => 1,
            Rule::Never => u64::MAX,
        }
    }

    /// The software CPU has run.
    pub(super) fn soft(&mut self, instructions: u64, ticks: u64) {
        self.earn(instructions, EARNED_PER_MILLE);
        self.wait = self.wait.saturating_sub(ticks);
    }

    /// User code has run natively, with so many ways in and back.
    pub(super) fn native(&mut self, instructions: u64, returns: u64) {
        self.earn(instructions, SAVED_PER_MILLE);
        let cost = RETURN_COST.saturating_mul(i64::try_from(returns).unwrap_or(i64::MAX));
        self.credit = self.credit.saturating_sub(cost).max(-MOST);
        let saved = instructions.saturating_mul(SAVED_PER_MILLE as u64) / 1000;
        if saved >= cost as u64 {
            self.next_wait = QUANTUM;
            self.wait = 0;
        } else {
            self.wait = self.next_wait;
            self.next_wait = (self.next_wait * 2).min(LONGEST_WAIT);
        }
    }

    fn earn(&mut self, instructions: u64, per_mille: i64) {
        let instructions = i64::try_from(instructions).unwrap_or(MOST).min(MOST);
        self.credit = (self.credit + instructions * per_mille / 1000).min(MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a run costs on the account's own scale, against the software CPU alone.
    fn cost(native_per_try: u64) -> f64 {
        let mut policy = Policy::new(false);
        let (mut spent, mut done) = (0.0, 0.0);
        while done < 1e9 {
            if policy.allows() {
                spent += RETURN_COST as f64 + native_per_try as f64 / 10.0;
                done += native_per_try as f64;
                policy.native(native_per_try, 1);
            }
            policy.soft(1500, QUANTUM);
            spent += 1500.0;
            done += 1500.0;
        }
        spent / done
    }

    #[test]
    fn what_does_not_pay_costs_less_than_a_tenth_and_what_pays_is_done() {
        for native in [0, 10, 1000, 5000] {
            assert!(cost(native) < 1.1, "{native}: {}", cost(native));
        }
        assert!(cost(1_000_000) < 0.2, "{}", cost(1_000_000));
    }

    #[test]
    fn nothing_is_tried_without_credit() {
        let mut policy = Policy::new(false);
        assert!(!policy.allows());
        let missing = (RETURN_COST + FIRST_COST) as u64 * 1000 / EARNED_PER_MILLE as u64;
        policy.soft(missing - 100, 100);
        assert!(!policy.allows());
        policy.soft(100, 100);
        assert!(policy.allows());
        assert!(Policy::new(true).allows());
    }
}
