//! Breakpoints that belong to an address space: `break-in`.
//!
//! gdb knows nothing of it and sets its breakpoints anew for each run. What is bound is therefore kept by address, beside them.

use std::collections::BTreeMap;
use std::fmt::Write;

use replayvm::timeline::AddressSpace;

/// Addresses of which something is said.
const BOUND_MAX: usize = 1024;
/// The first address of the upper half, where kernels are mapped in every space (SDM vol. 1, 3.3.7.1).
const UPPER_HALF: u64 = 1 << 63;

/// Which breakpoints hold in which address space only.
#[derive(Debug, Default)]
pub(crate) struct Spaces {
    /// Those in the lower half of which nothing else is said.
    lower_half: Option<AddressSpace>,
    /// `None`: everywhere.
    at: BTreeMap<u64, Option<AddressSpace>>,
}

impl Spaces {
    /// The space in which a breakpoint holds; `None`: everywhere.
    pub(crate) fn of(&self, linear: u64) -> Option<AddressSpace> {
        let general = if linear < UPPER_HALF { self.lower_half } else { None };
        self.at.get(&linear).copied().unwrap_or(general)
    }

    /// Binds a breakpoint, or all in the lower half, or sets it free.
    pub(crate) fn bind(&mut self, address: Option<u64>, space: Option<AddressSpace>) -> Result<(), String> {
        match (address, space) {
            (None, None) => *self = Self::default(),
            (None, space) => self.lower_half = space,
            (Some(address), space) => {
                if self.at.len() >= BOUND_MAX && !self.at.contains_key(&address) {
                    return Err(format!(
                        "{BOUND_MAX} addresses are bound already: `monitor break-in any` frees them"
                    ));
                }
                self.at.insert(address, space);
            }
        }
        Ok(())
    }

    /// Tells of all.
    pub(crate) fn text(&self) -> String {
        let space = |space: &Option<AddressSpace>| match space {
            Some(space) => format!("in address space {:#x}", space.root()),
            None => "in every address space".to_owned(),
        };
        let mut text = format!("breakpoints in the lower half stop {}\n", space(&self.lower_half));
        for (address, bound) in &self.at {
            let _ = writeln!(text, "a breakpoint at {address:#x} stops {}", space(bound));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_an_address_goes_before_what_is_said_of_all() {
        let (one, two) = (AddressSpace::of_cr3(0x1000), AddressSpace::of_cr3(0x2000));
        let mut spaces = Spaces::default();
        spaces.bind(None, Some(one)).unwrap();
        spaces.bind(Some(0x40_0000), Some(two)).unwrap();
        spaces.bind(Some(0x50_0000), None).unwrap();
        assert_eq!(spaces.of(0x60_0000), Some(one));
        assert_eq!((spaces.of(0x40_0000), spaces.of(0x50_0000)), (Some(two), None));
        assert_eq!(spaces.of(0xffff_ffff_8100_0000), None, "kernels are everywhere");
        assert_eq!(
            spaces.text(),
            "breakpoints in the lower half stop in address space 0x1000\n\
             a breakpoint at 0x400000 stops in address space 0x2000\n\
             a breakpoint at 0x500000 stops in every address space\n"
        );
        spaces.bind(None, None).unwrap();
        assert_eq!((spaces.of(0x60_0000), spaces.of(0x40_0000)), (None, None));
        for address in 0..BOUND_MAX as u64 {
            spaces.bind(Some(address), Some(one)).unwrap();
        }
        assert!(spaces.bind(Some(u64::MAX), Some(one)).is_err());
        assert!(spaces.bind(Some(0), Some(two)).is_ok());
    }
}
