//! Of what in the guest an address space is made: which of the guest's tables, which pages of code.

use std::collections::{BTreeSet, HashMap};

use replayvm_cpu::Cpu;

use super::guest_page::{Chain, GuestPage};
use super::pool::PAGE;
use super::tables::leaf_number;
use crate::machine::{GuestRam, PAGE_BYTES};

/// Where a range of 2 MiB was taken from.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) chain: Chain,
    pub(super) table: Option<u64>,
}

/// A page from which code has been translated.
#[derive(Debug)]
struct CodePage {
    gpa: u64,
    bytes: Box<[u8; PAGE_BYTES]>,
}

/// A page of the guest that something here depends on.
#[derive(Debug, Default)]
pub(super) struct Dependence {
    version: u32,
    /// The leaves whose entries it holds, or that it leads to.
    leaves: BTreeSet<u64>,
    /// Code has been translated from it, at these linear addresses.
    code: BTreeSet<u64>,
    /// It leads to the range of the arena, or says that nothing is there.
    pub(super) range: bool,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Sources {
    origins: HashMap<u64, Origin>,
    code: HashMap<u64, CodePage>,
    dependences: HashMap<u64, Dependence>,
}

/// What hangs on pages that may have been written.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Leaves.
    pub(super) leaves: BTreeSet<u64>,
    /// Pages of code, by linear address.
    pub(super) code: BTreeSet<u64>,
}

impl Origin {
    /// Whether the tables lead there as they did.
    pub(super) fn holds(&self, ram: &GuestRam) -> bool {
        let entries = self.chain.iter().filter(|(gpa, value)| *gpa != 0 || *value != 0);
        entries.into_iter().all(|(gpa, value)| ram.load(*gpa).map(u64::from_le_bytes) == Some(*value))
    }
}

impl Sources {
    pub(super) fn depend(&mut self, cpu: &mut Cpu, gpa: u64) -> &mut Dependence {
        let page = gpa & !(PAGE - 1);
        let version = cpu.depend_on_page(page);
        // If it was there, its version is still that one, or it will be looked at by `settle`.
        self.dependences.entry(page).or_insert(Dependence { version, ..Dependence::default() })
    }

    /// Takes note of where a leaf comes from. `false`: another origin is noted, which is to be settled first.
    pub(super) fn adopt(&mut self, cpu: &mut Cpu, linear: u64, page: &GuestPage) -> bool {
        let number = leaf_number(linear);
        if let Some(origin) = self.origins.get(&number) {
            return origin.chain == page.chain && origin.table == page.table;
        }
        let slots = page.chain.iter().filter(|(gpa, value)| *gpa != 0 || *value != 0).map(|(gpa, _)| *gpa);
        for gpa in slots.chain(page.table) {
            self.depend(cpu, gpa).leaves.insert(number);
        }
        self.origins.insert(number, Origin { chain: page.chain, table: page.table });
        true
    }

    /// Where a leaf comes from.
    pub(super) fn origin(&self, number: u64) -> Option<&Origin> {
        self.origins.get(&number)
    }

    /// The pages of a leaf from which code has been translated: linear and physical address.
    pub(super) fn code_in_leaf(&self, number: u64) -> impl Iterator<Item = (u64, u64)> {
        let code = self.code.iter().filter(move |(linear, _)| leaf_number(**linear) == number);
        code.map(|(linear, code)| (*linear, code.gpa))
    }

    /// The physical address from which user code may fetch at a linear one without a bit being set in the guest's tables. Whatever is
    /// translated from there is forgotten when it changes.
    pub(super) fn fetch_from(&mut self, cpu: &mut Cpu, ram: &GuestRam, linear: u64) -> Option<u64> {
        let page = linear & !(PAGE - 1);
        if let Some(code) = self.code.get(&page) {
            return Some(code.gpa | linear & (PAGE - 1));
        }
        let found = GuestPage::at(&cpu.state, ram, linear).filter(|found| found.executable)?;
        if !self.adopt(cpu, page, &found) {
            return None;
        }
        let bytes = Box::new(*ram.page(found.gpa >> 12).ok()?);
        self.depend(cpu, found.gpa).code.insert(page);
        self.code.insert(page, CodePage { gpa: found.gpa, bytes });
        Some(found.gpa | linear & (PAGE - 1))
    }

    /// Whether a page from which code was translated is as it was.
    pub(super) fn is_same_code(&self, ram: &GuestRam, linear: u64) -> bool {
        let code = self.code.get(&linear);
        code.is_some_and(|code| ram.page(code.gpa >> 12).ok() == Some(&*code.bytes))
    }

    /// What hangs on pages that may have been written since it was last asked or noted.
    pub(super) fn changed(&mut self, cpu: &mut Cpu) -> Changed {
        let mut changed = Changed::default();
        for (page, dependence) in &mut self.dependences {
            let version = cpu.depend_on_page(*page);
            if version != dependence.version {
                dependence.version = version;
                changed.leaves.extend(&dependence.leaves);
                changed.code.extend(&dependence.code);
            }
        }
        changed
    }

    /// A leaf is not there any more.
    pub(super) fn forget_leaf(&mut self, number: u64) {
        self.origins.remove(&number);
        for dependence in self.dependences.values_mut() {
            dependence.leaves.remove(&number);
        }
    }

    /// Nothing is translated any more.
    pub(super) fn forget_code(&mut self) {
        self.code.clear();
        for dependence in self.dependences.values_mut() {
            dependence.code.clear();
        }
        self.dependences.retain(|_, dependence| dependence.range || !dependence.leaves.is_empty());
    }
}
