//! Execution addresses at which a run stops, and in which address space they do.

use replayvm_cpu::{CpuState, cr0};

/// An address space: where its page tables begin, bits 51 to 12 of CR3 (SDM vol. 3, 4.5). What CR3 says besides, cache control
/// or a PCID, makes no other space of it. PAE paging has its four pointers anywhere in such a page: two spaces that share the
/// page count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressSpace(u64);

impl AddressSpace {
    const ROOT: u64 = 0x000f_ffff_ffff_f000;

    /// The space of this value of CR3.
    #[must_use]
    pub const fn of_cr3(cr3: u64) -> Self {
        Self(cr3 & Self::ROOT)
    }

    /// The space in which a CPU runs; `None` without paging.
    #[inline]
    #[must_use]
    pub const fn of(state: &CpuState) -> Option<Self> {
        if state.cr0 & cr0::PG == 0 { None } else { Some(Self::of_cr3(state.cr3)) }
    }

    /// The guest-physical address of its first table.
    #[must_use]
    pub const fn root(self) -> u64 {
        self.0
    }
}

/// Execution addresses at which a run stops.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breakpoints {
    /// Linear addresses, sorted: where an engine has to look.
    addresses: Vec<u64>,
    /// Those of them that hold in some address spaces only, with one of these, sorted.
    bound: Vec<(u64, AddressSpace)>,
}

impl Breakpoints {
    /// Stops at these linear addresses.
    #[must_use]
    pub fn new(addresses: Vec<u64>) -> Self {
        Self::with_bound(addresses, Vec::new())
    }

    /// The same, and at others in one address space each. An address of both kinds stops everywhere.
    #[must_use]
    pub fn with_bound(mut addresses: Vec<u64>, mut bound: Vec<(u64, AddressSpace)>) -> Self {
        addresses.sort_unstable();
        bound.retain(|(linear, _)| addresses.binary_search(linear).is_err());
        bound.sort_unstable();
        addresses.extend(bound.iter().map(|(linear, _)| *linear));
        addresses.sort_unstable();
        addresses.dedup();
        Self { addresses, bound }
    }

    /// The addresses, sorted, whatever space they hold in.
    #[must_use]
    pub fn addresses(&self) -> &[u64] {
        &self.addresses
    }

    /// There are none.
    #[inline(always)]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Whether the instruction that this CPU is at is one.
    #[inline(always)]
    #[must_use]
    pub fn holds(&self, state: &CpuState) -> bool {
        let linear = state.linear_rip();
        let is_one = match self.addresses.as_slice() {
            [] => false,
            [one] => *one == linear,
            many => many.binary_search(&linear).is_ok(),
        };
        is_one && (self.bound.is_empty() || self.holds_in(linear, AddressSpace::of(state)))
    }

    /// Whether one of the addresses holds in a space.
    fn holds_in(&self, linear: u64, space: Option<AddressSpace>) -> bool {
        let first = self.bound.partition_point(|(address, _)| *address < linear);
        let mut here = self.bound[first..].iter().take_while(|(address, _)| *address == linear).peekable();
        here.peek().is_none() || here.any(|(_, bound)| Some(*bound) == space)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(rip: u64, cr3: u64) -> CpuState {
        let mut state = CpuState::power_on();
        state.segments = [Default::default(); 6];
        state.rip = rip;
        state.cr3 = cr3;
        state.cr0 |= cr0::PG;
        state
    }

    #[test]
    fn a_bound_breakpoint_holds_in_its_space_only() {
        let space = AddressSpace::of_cr3;
        let points = Breakpoints::with_bound(
            vec![0x30, 0x10],
            vec![(0x20, space(0x5000)), (0x20, space(0x3000)), (0x10, space(0x5000)), (0x40, space(0x3000))],
        );
        assert_eq!(points.addresses(), [0x10, 0x20, 0x30, 0x40]);
        assert!(points.holds(&at(0x10, 0x7000)), "an address of both kinds holds everywhere");
        assert!(points.holds(&at(0x30, 0x7000)));
        for (cr3, holds) in [(0x3000, true), (0x5000, true), (0x3018, true), (0x7000, false)] {
            assert_eq!(points.holds(&at(0x20, cr3)), holds, "{cr3:#x}");
        }
        assert!(!points.holds(&at(0x40, 0x5000)) && !points.holds(&at(0x41, 0x3000)));
        let mut unpaged = at(0x20, 0x3000);
        unpaged.cr0 &= !cr0::PG;
        assert!(!points.holds(&unpaged), "without paging there is no address space");
    }
}
