//! What an engine has to know that executes instructions beside this CPU, by the processor: which pages it may let the guest write
//! without this CPU, and which of those it depends on itself have been written.
//!
//! A page with page tables or decoded code is special: a store to it has consequences here. Every other page may be written by
//! anybody who keeps track of it.

use crate::blocks::usual;
use crate::bus::Bus;
use crate::state::{CpuState, cr0, cr4};
use crate::step::Cpu;

impl Cpu {
    /// From now on a store to the page of this physical address changes its [`Cpu::page_version`]. Returns the version.
    pub fn depend_on_page(&mut self, gpa: u64) -> u32 {
        self.tlb.pages.note_code(gpa)
    }

    /// Changes with the first store to a page after each [`Cpu::depend_on_page`], and with everything that may have changed it.
    #[must_use]
    pub fn page_version(&self, gpa: u64) -> u32 {
        self.tlb.pages.version(gpa)
    }

    /// Changes whenever the version of a page does.
    #[must_use]
    pub fn consequences(&self) -> u64 {
        self.tlb.pages.consequences()
    }

    /// Whether stores to the page of this physical address have to be made by this CPU.
    #[must_use]
    pub fn page_is_special(&self, gpa: u64) -> bool {
        self.tlb.pages.tags(gpa) != 0
    }

    /// Adds the numbers of the pages that have become special since the last call. They are listed from the first call on.
    pub fn take_special_pages(&mut self, into: &mut Vec<u32>) {
        self.tlb.pages.take_news(into);
    }

    /// Takes note of what others have written to memory, as each step does first.
    pub fn look_at_memory<B: Bus>(&mut self, bus: &B) {
        self.follow_memory(bus);
    }
}

impl CpuState {
    /// Whether the processor itself may execute what follows, as far as that depends on registers: user code in 64-bit mode with
    /// SSE, nothing pending, nothing traced, no alignment checked.
    #[must_use]
    pub fn is_plain_user(&self) -> bool {
        self.cpl() == 3
            && usual(self)
            && self.cr0 & (cr0::EM | cr0::TS) == 0
            && self.cr4 & (cr4::OSFXSR | cr4::OSXMMEXCPT) == cr4::OSFXSR | cr4::OSXMMEXCPT
            && self.idle_loop_jumps == 0
    }
}
