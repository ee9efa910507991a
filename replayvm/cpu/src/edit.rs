//! Changing the CPU from outside, as a debugger does: not into every state that could be, but into those that this CPU could
//! be brought into by its own instructions, with what follows from a register following.
//!
//! Not here: whether somebody may do that, and memory.

use crate::exec::control_registers::CR0_KEPT;
use crate::flags::Rflags;
use crate::segment::{Segment, SegmentName};
use crate::state::{CpuState, Shadow, cr0, efer};
use crate::validate::FLAGS;

impl CpuState {
    /// This state, changed. Bits that cannot be written keep what they always hold, as where the guest writes them.
    ///
    /// A CPU that is sent to another instruction is in no HLT any more, and what its last instruction held back or raised for
    /// the boundary is over.
    ///
    /// # Errors
    /// What of it the CPU could not hold, or only the guest itself can change, in words.
    pub fn edited(&self, edit: impl FnOnce(&mut Self)) -> Result<Self, &'static str> {
        let mut new = self.clone();
        edit(&mut new);
        if new == *self {
            return Ok(new);
        }
        if (new.fcw, new.fsw) != (self.fcw, self.fsw) {
            new.set_control(new.fcw);
        }
        new.rflags = new.rflags & FLAGS | Rflags::FIXED.bits();
        if new.cr0 >> 32 == 0 {
            new.cr0 = new.cr0 & CR0_KEPT | cr0::ET;
        }
        if new.rip != self.rip {
            new.halted = false;
            new.shadow = Shadow::None;
            new.pending_debug = 0;
        }
        // A loop that was seen to idle may be another one now.
        new.idle_loop_rip = 0;
        new.idle_loop_jumps = 0;
        self.may_become(&new)?;
        new.validate().map(|()| new)
    }

    /// Checks what takes more than a store to a register.
    fn may_become(&self, new: &Self) -> Result<(), &'static str> {
        let visible = |state: &Self| state.segments.map(|segment| Segment { base: 0, ..segment });
        let bases = |state: &Self| {
            [SegmentName::Es, SegmentName::Cs, SegmentName::Ss, SegmentName::Ds]
                .map(|name| state.segment(name).base)
        };
        let changed = |bits: u64, old: u64, new: u64| (old ^ new) & bits != 0;
        let far = [SegmentName::Fs, SegmentName::Gs].map(|name| new.segment(name).base >> 32 != 0);
        let rules = [
            (
                (self.now, self.instructions, self.shutdown) == (new.now, new.instructions, new.shutdown),
                "where the machine stands is changed by running it, not by writing",
            ),
            (
                visible(self) == visible(new)
                    && bases(self) == bases(new)
                    && (&self.ldtr, &self.tr) == (&new.ldtr, &new.tr),
                "a selector is loaded together with its descriptor: only the guest's own instructions do that",
            ),
            (
                !changed(efer::LMA, self.efer, new.efer),
                "long mode is entered and left by the guest's own instructions",
            ),
            (
                new.cr0 & cr0::PG == 0 || !changed(efer::LME, self.efer, new.efer),
                "EFER.LME cannot be changed while paging is on",
            ),
            (
                !changed(Rflags::VM.bits(), self.rflags, new.rflags),
                "virtual-8086 mode is entered and left by the guest's own instructions",
            ),
            (new.long_mode() || far == [false; 2], "outside of long mode a segment's base has 32 bits"),
        ];
        rules.into_iter().find(|(fine, _)| !fine).map_or(Ok(()), |(_, what)| Err(what))
    }
}
