//! Bytes and instructions in memory, as it is under the cursor.

use std::sync::Arc;

use recorder::Position;
use replayvm::symbols::Symbols;
use replayvm::timeline::Progress;

use super::desk::{Desk, Done, GoOn};
use super::{Found, Of, Results};
use crate::machine::scan;

/// Places that one search lists.
const MAX_FOUND: usize = 1000;
/// Bytes of linear memory that are looked through.
const LINEAR_BYTES: u64 = 256 << 20;
/// Bytes of code that are looked through.
const CODE_BYTES: u64 = 16 << 20;
/// Bytes that are read at once.
const PIECE: usize = 1 << 16;
const PAGE: u64 = 0x1000;

impl Desk {
    /// Places in physical memory, or in linear memory from an address on, that hold these bytes.
    pub(super) fn find_bytes(&self, wanted: &[u8], physical: bool, from: u64, go_on: GoOn<'_>) -> Done {
        let of = if physical { Of::Physical } else { Of::Linear };
        let title = format!("bytes {}", wanted.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        let mut results = Results { title, list: Vec::new(), of, more: None };
        let (start, bytes) = match physical {
            true => (0, self.timeline.machine().platform.ram.bytes()),
            false => (from, LINEAR_BYTES),
        };
        let end = start.saturating_add(bytes);
        let mut piece = vec![0; PIECE + wanted.len()];
        let mut address = start;
        while address < end && !wanted.is_empty() {
            if !self.look_on(go_on, address, start, end) {
                results.more = Some(format!("stopped at {address:#x}"));
                break;
            }
            let there = match physical {
                true => self.timeline.read_physical(address, &mut piece),
                false => self.timeline.read_linear(address, &mut piece),
            };
            let held = piece.get(..there).unwrap_or_default();
            for (offset, bytes) in held.windows(wanted.len()).enumerate().take(PIECE) {
                if bytes == wanted {
                    let address = address.wrapping_add(offset as u64);
                    results.list.push(Found { at: None, address: Some(address), text: String::new() });
                }
            }
            if results.list.len() >= MAX_FOUND {
                results.list.truncate(MAX_FOUND);
                results.more = Some(format!("the first {MAX_FOUND}"));
                break;
            }
            address = match there {
                there if there >= piece.len() => address.saturating_add(PIECE as u64),
                // What is not mapped is passed page by page.
                there => (address.saturating_add(there as u64) & !(PAGE - 1)).saturating_add(PAGE),
            };
        }
        if results.more.is_none() && !physical {
            results.more = Some(format!("{start:#x} to {end:#x}"));
        }
        Done { results: Some(results), ..Done::default() }
    }

    /// Instructions from an address on whose text has this in it.
    pub(super) fn find_code(
        &self,
        wanted: &str,
        from: u64,
        names: Option<&Arc<Symbols>>,
        go_on: GoOn<'_>,
    ) -> Done {
        let end = from.saturating_add(CODE_BYTES);
        let mut list = Vec::new();
        let mut stopped = None;
        let found = &mut |address: u64, text: String| {
            let name = names.and_then(|names| names.place(address));
            let name = name.map_or_else(String::new, |place| format!("  {}+{:#x}", place.name, place.offset));
            list.push(Found { at: None, address: Some(address), text: format!("{text}{name}") });
            list.len() < MAX_FOUND
        };
        scan(&self.timeline, names, from, CODE_BYTES, wanted, found, &mut |address| {
            let goes_on = self.look_on(go_on, address, from, end);
            if !goes_on {
                stopped = Some(format!("stopped at {address:#x}"));
            }
            goes_on
        });
        let full = (list.len() >= MAX_FOUND).then(|| format!("the first {MAX_FOUND}"));
        let more = stopped.or(full).or_else(|| Some(format!("{from:#x} to {end:#x}")));
        let title = format!("instructions with `{wanted}`");
        Done { results: Some(Results { title, list, of: Of::Code, more }), ..Done::default() }
    }

    /// How far a search through memory is, told as if it were one through time.
    fn look_on(&self, go_on: GoOn<'_>, address: u64, start: u64, end: u64) -> bool {
        let goal = self.timeline.end();
        let part = u128::from(address - start) * u128::from(goal.tick) / u128::from((end - start).max(1));
        go_on(Progress { position: Position::new(u64::try_from(part).unwrap_or(0), 0), goal })
    }
}
