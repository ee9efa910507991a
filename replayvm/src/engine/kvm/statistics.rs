//! What ran natively, what came back, and why.

use std::fmt;

use super::super::statistics::Row;

/// Why natively running user code came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Return {
    /// The ticks that it was given are used up.
    Ticks,
    /// The next code is not translated, and will be at once.
    Untranslated,
    /// A page was not mapped, and is now.
    Page,
    /// An instruction that the software CPU executes: a system call, one that reads the host, one that has no translation.
    Instruction,
    /// An access that the software CPU makes: a page fault of the guest's own, a device, a page with tables or code.
    Access,
    /// Another exception.
    Exception,
}

impl Return {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::Ticks, Self::Untranslated, Self::Page, Self::Instruction, Self::Access, Self::Exception];

    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Ticks => "ticks used up",
            Self::Untranslated => "code to translate",
            Self::Page => "page to map",
            Self::Instruction => "instruction for the software CPU",
            Self::Access => "access for the software CPU",
            Self::Exception => "exception",
        }
    }
}

/// Counts of engine `kvm`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NativeStatistics {
    /// How often user code was entered.
    pub stretches: u64,
    /// Instructions that it executed natively.
    pub native: u64,
    /// Instructions that the software CPU executed.
    pub soft: u64,
    /// Of those, in stretches that began and ended in user mode.
    pub soft_user: u64,
    returns: [u64; Return::ALL.len()],
}

impl NativeStatistics {
    pub(super) fn count(&mut self, why: Return) {
        self.returns[why as usize] += 1;
    }

    /// Returns by reason.
    pub fn returns(&self) -> impl Iterator<Item = (Return, u64)> {
        let counts = self.returns;
        Return::ALL.into_iter().map(move |why| (why, counts[why as usize]))
    }

    /// Each count with its name.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut rows = vec![
            Row { name: "instructions, natively".to_owned(), count: self.native },
            Row { name: "instructions, software CPU".to_owned(), count: self.soft },
            Row { name: "of those in user mode".to_owned(), count: self.soft_user },
            Row { name: "native stretches".to_owned(), count: self.stretches },
        ];
        rows.extend(
            self.returns().map(|(why, count)| Row { name: format!("back for: {}", why.words()), count }),
        );
        rows
    }
}

impl fmt::Display for NativeStatistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = self.native as f64 * 100.0 / (self.native + self.soft).max(1) as f64;
        write!(f, "{share:.1} % of the instructions natively, in {} stretches; back for:", self.stretches)?;
        for (index, (why, count)) in self.returns().enumerate() {
            write!(f, "{}{} {count}", if index == 0 { " " } else { ", " }, why.words())?;
        }
        Ok(())
    }
}
