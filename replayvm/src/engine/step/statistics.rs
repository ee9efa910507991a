//! Who executed how many steps, and why.

use std::fmt;

use crate::engine::statistics::Row;

/// Why a step was left to the software CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Reason {
    /// An interrupt or another event is delivered, or the CPU is halted.
    Event,
    /// TF, RF, a debug register or an interrupt shadow is in use.
    Debugging,
    /// A mode in which this host does not step (virtual-8086 mode).
    Mode,
    /// The instruction is not on the list of those that depend on registers and memory alone.
    NotPlain,
    /// A flag or a result that the manual leaves undefined, on a processor other than the profile's.
    Undefined,
    /// The instruction raises an exception.
    Faults,
    /// An accessed or dirty bit has to be set first.
    MarksTables,
    /// Code or an operand is not in RAM.
    NotRam,
    /// A repeated string instruction with many iterations, or one that overwrites itself.
    TooLong,
    /// KVM does not have the instruction, or its emulator has it otherwise than the processor.
    NotInKvm,
    /// KVM does not take the system registers.
    RefusedState,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::Event,
        Self::Debugging,
        Self::Mode,
        Self::NotPlain,
        Self::Undefined,
        Self::Faults,
        Self::MarksTables,
        Self::NotRam,
        Self::TooLong,
        Self::NotInKvm,
        Self::RefusedState,
    ];

    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Event => "event delivery or halt",
            Self::Debugging => "trap flag, debug registers or shadow",
            Self::Mode => "mode",
            Self::NotPlain => "system or host-dependent instruction",
            Self::Undefined => "undefined flags or result",
            Self::Faults => "exception",
            Self::MarksTables => "accessed or dirty bit",
            Self::NotRam => "not RAM",
            Self::TooLong => "long repeat",
            Self::NotInKvm => "not in KVM",
            Self::RefusedState => "state not accepted by KVM",
        }
    }
}

/// Steps by who executed them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SteppingStatistics {
    /// Steps whose outcome KVM gave (engine `lockstep`: was compared with).
    pub by_kvm: u64,
    /// Of those, executed natively at CPL 3 and not by KVM's instruction emulator, on a host with PVM.
    pub native: u64,
    /// Faults that both raised (engine `lockstep`).
    pub faults_compared: u64,
    by_soft: [u64; Reason::ALL.len()],
}

impl SteppingStatistics {
    pub(crate) fn count(&mut self, why: Reason) {
        self.by_soft[why as usize] += 1;
    }

    /// Steps that the software CPU executed alone, for each reason that occurred.
    pub fn by_soft(&self) -> impl Iterator<Item = (Reason, u64)> {
        let counts = self.by_soft;
        Reason::ALL.into_iter().map(move |why| (why, counts[why as usize])).filter(|(_, count)| *count != 0)
    }

    /// Each count with its name.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut rows = vec![
            Row { name: "steps by KVM".to_owned(), count: self.by_kvm },
            Row { name: "of those natively".to_owned(), count: self.native },
        ];
        rows.extend(
            self.by_soft().map(|(why, count)| Row { name: format!("software CPU: {}", why.words()), count }),
        );
        rows
    }

    /// Steps that the software CPU executed alone.
    #[must_use]
    pub fn soft_total(&self) -> u64 {
        self.by_soft.iter().sum()
    }
}

impl fmt::Display for SteppingStatistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} steps by KVM ({} natively), {} by the software CPU",
            self.by_kvm,
            self.native,
            self.soft_total()
        )?;
        for (index, (why, count)) in self.by_soft().enumerate() {
            write!(f, "{}{} {count}", if index == 0 { ": " } else { ", " }, why.words())?;
        }
        Ok(())
    }
}
