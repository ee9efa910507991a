//! From a place in translated code back to the guest's state there.

use super::block::Idling;
use super::flags::{AF, CF, OF, Turn};
use super::layout::{STEP, Slots, TICK};

/// Where native execution has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// The instruction that comes next.
    pub rip: u64,
    /// Ticks since [`begin`](super::Translator::begin).
    pub ticks: u64,
    /// Instructions retired since then.
    pub instructions: u64,
    /// Steps since the last tick.
    pub offset: u32,
    /// What the CPU remembers of jumps.
    pub idling: Idling,
    /// Why native execution is left.
    pub why: Why,
}

/// Why native execution is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A copied instruction has raised an exception. Nothing of it has been done; it may be gone on with where it is.
    Fault,
    /// The budget of ticks is used up, and this is where to go on.
    Budget,
    /// There is no translation of what comes next.
    Untranslated,
    /// The next instruction is for the software CPU.
    Leave,
    /// So many steps have passed without a tick that the software CPU has to go on to the next one.
    Stalling,
}

/// What is known of a place: how to get the guest's state from the processor's.
#[derive(Debug, Clone)]
pub(super) struct Site {
    /// From the beginning of the code area.
    pub(super) at: u32,
    pub(super) rip: u64,
    pub(super) place: Place,
    /// Registers that are to be had from slots.
    pub(super) restore: [Option<(u8, Spilled)>; 2],
    pub(super) owed: Owed,
    pub(super) late: Option<Late>,
    pub(super) idling: Idling,
    pub(super) what: What,
}

/// What the guest's instruction at a site has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// It ends here, for this reason.
    Ends(Why),
    /// An indirect branch has not found its target.
    Missed,
}

/// Which slot holds a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spilled {
    Number(u8),
    Count,
}

/// The position of a site, relative to what has been counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The block began at a tick; else the offset it began with is in its slot.
    pub(super) fresh: bool,
    pub(super) ticks: i64,
    pub(super) instructions: i64,
    pub(super) offset: i64,
}

/// Flags that are not what the processor says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Owed {
    pub(super) ones: u16,
    pub(super) zeros: u16,
    /// In [`Slots::flags`].
    pub(super) saved: u16,
}

impl Owed {
    pub(super) fn all(self) -> u16 {
        self.ones | self.zeros | self.saved
    }

    pub(super) fn kill(&mut self, flags: u16) {
        self.ones &= !flags;
        self.zeros &= !flags;
        self.saved &= !flags;
    }

    fn apply(self, rflags: u64, slots: &Slots) -> u64 {
        let saved = (slots.flags >> 8 & 0xff) | (slots.flags & 1) << 11;
        rflags & !u64::from(self.all()) | u64::from(self.ones) | saved & u64::from(self.saved)
    }
}

/// A shift or rotation whose result is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Late {
    pub(super) turn: Turn,
    /// Of the result.
    pub(super) register: u8,
    /// The result is in the second byte of the register.
    pub(super) high: bool,
    /// The count is in CL; AF is set if it is not 0 and this says so.
    pub(super) by_cl: Option<bool>,
}

impl Late {
    fn apply(self, rflags: u64, gpr: &[u64; 16]) -> u64 {
        let mut rflags = rflags;
        if let Some(shifts) = self.by_cl {
            if self.turn.masked(gpr[1]) == 0 {
                return rflags;
            }
            if shifts {
                rflags |= u64::from(AF);
            }
        }
        let value = gpr.get(usize::from(self.register)).copied().unwrap_or(0);
        let result = if self.high { value >> 8 } else { value };
        if self.turn.overflow(result, rflags & u64::from(CF) != 0) {
            rflags | u64::from(OF)
        } else {
            rflags & !u64::from(OF)
        }
    }
}

/// An indirect branch that may not find its target.
#[derive(Debug, Clone, Copy)]
pub(super) struct Branch {
    pub(super) rip: u64,
    /// What RET has taken from the stack.
    pub(super) released: u64,
}

/// The sites of the code area, by section, in the order of their addresses.
#[derive(Debug, Default)]
pub(super) struct Sites {
    pub(super) hot: Vec<Site>,
    pub(super) cold: Vec<Site>,
    pub(super) branches: Vec<Branch>,
}

impl Sites {
    pub(super) fn clear(&mut self) {
        self.hot.clear();
        self.cold.clear();
        self.branches.clear();
    }

    pub(super) fn find(&self, at: u32) -> Option<&Site> {
        [&self.hot, &self.cold].into_iter().find_map(|sites| {
            let found = sites.binary_search_by_key(&at, |site| site.at).ok()?;
            sites.get(found)
        })
    }

    /// The state at a site.
    pub(super) fn recover(
        &self,
        site: &Site,
        slots: &Slots,
        gpr: &mut [u64; 16],
        rflags: &mut u64,
    ) -> Option<Recovered> {
        for (register, from) in site.restore.iter().flatten() {
            let value = match from {
                Spilled::Number(number) => slots.spill.get(usize::from(*number)).copied()?,
                Spilled::Count => slots.count,
            };
            *gpr.get_mut(usize::from(*register))? = value;
        }
        *rflags = site.owed.apply(*rflags, slots);
        if let Some(late) = site.late {
            *rflags = late.apply(*rflags, gpr);
        }
        let passed = slots.ticks.wrapping_mul(TICK).wrapping_sub(slots.left);
        let counted = slots.instructions.wrapping_add(passed % TICK);
        let begun = if site.place.fresh { 0 } else { slots.offset / u64::from(STEP) };
        let mut recovered = Recovered {
            rip: site.rip,
            ticks: (passed / TICK).wrapping_add_signed(site.place.ticks),
            instructions: counted.wrapping_add_signed(site.place.instructions),
            offset: begun.wrapping_add_signed(site.place.offset) as u32,
            idling: site.idling,
            why: Why::Leave,
        };
        match site.what {
            What::Ends(why) => recovered.why = why,
            What::Missed => self.missed(slots, gpr, &mut recovered)?,
        }
        Some(recovered)
    }

    /// Of an indirect branch: it is done if its target may be one.
    fn missed(&self, slots: &Slots, gpr: &mut [u64; 16], recovered: &mut Recovered) -> Option<()> {
        let target = slots.target;
        if (target as i64) << 16 >> 16 == target as i64 {
            recovered.rip = target;
            recovered.why = Why::Untranslated;
            return Some(());
        }
        let branch = self.branches.get(usize::try_from(slots.branch).ok()?)?;
        gpr[4] = gpr[4].wrapping_sub(branch.released);
        recovered.rip = branch.rip;
        recovered.instructions = recovered.instructions.wrapping_sub(1);
        recovered.offset = recovered.offset.wrapping_sub(1);
        Some(())
    }
}
