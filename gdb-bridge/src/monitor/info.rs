//! What the machine looks like here: `info`.

use std::fmt::Write;

use replayvm::inspect::{Found, MappedRanges, Subject, walk_text};

use super::look::INTERRUPTED;
use super::parse::Tables;
use crate::target::ReplayTarget;

/// Mapped ranges that one command lists.
const RANGES_MAX: usize = 200;
/// Pages and holes that are looked at between two looks at the client.
const LOOKS_UNSEEN: u32 = 1 << 16;
/// The same for all of one command: tables that name each other could go on for hours.
const LOOKS_MAX: u32 = 1 << 24;

impl ReplayTarget<'_> {
    pub(super) fn info(&self, subject: Subject) -> String {
        subject.text(self.timeline.machine(), &|address| self.name_of(address))
    }

    pub(super) fn page_table(&self, tables: Tables) -> Result<String, String> {
        match tables {
            Tables::To(linear) => Ok(walk_text(self.timeline.machine(), linear)),
            Tables::From(linear) => self.mapped(linear),
        }
    }

    fn mapped(&self, from: u64) -> Result<String, String> {
        let mut ranges = MappedRanges::from(self.timeline.machine(), from);
        if ranges.next_address().is_none() {
            return Ok("paging is off: linear addresses are physical\n".to_owned());
        }
        let mut text = format!("CR3 {:#x}\n", self.timeline.cpu().cr3);
        let mut found = 0;
        let mut looks = 0_u32;
        loop {
            match ranges.next_within(LOOKS_UNSEEN) {
                Found::Range(range) if found == RANGES_MAX => {
                    let _ = writeln!(text, "and more: `info pagetable {:#x}..`", range.first);
                    return Ok(text);
                }
                Found::Range(range) => {
                    let _ = writeln!(text, "{range}");
                    found += 1;
                }
                Found::NotYet => {
                    if self.link.is_interrupted() {
                        return Err(INTERRUPTED.to_owned());
                    }
                    looks = looks.saturating_add(LOOKS_UNSEEN);
                    if looks >= LOOKS_MAX {
                        let next = ranges.next_address().unwrap_or_default();
                        let _ =
                            writeln!(text, "more is mapped than can be listed: `info pagetable {next:#x}..`");
                        return Ok(text);
                    }
                }
                Found::Nothing => {
                    let _ = writeln!(text, "{found} ranges from {from:#x}");
                    return Ok(text);
                }
            }
        }
    }
}

/// What there is to be asked for.
pub(super) fn subjects() -> String {
    let names: Vec<_> = Subject::ALL.iter().map(|subject| subject.name()).collect();
    format!("info {}, or pagetable [ADDR|ADDR..]\n", names.join("|"))
}
