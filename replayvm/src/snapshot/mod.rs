//! A snapshot: the machine at one position of a recording, as a file of its own from which it goes on live, on any engine and any
//! number of times. `docs/snapshots.md` describes the file, `recorder::Snapshot` reads it; what its contents must be is judged here.

/// From a file to a machine.
mod open;
/// From a cursor over a recording to a file.
mod save;

pub use open::OpenSnapshot;
pub use save::{SaveError, Saved, save};

use recorder::Section;

use crate::machine::RestoreError;

/// The section for the state of a hypervisor in the guest, where the host virtualizes that. No engine does yet: it is empty.
const NESTED: &str = "nested";
const NESTED_VERSION: u32 = 1;

fn nested() -> Section {
    Section { name: NESTED.to_owned(), version: NESTED_VERSION, bytes: Vec::new() }
}

/// The sections of the machine, without the one that only a snapshot has.
fn without_nested(sections: &[Section]) -> Result<Vec<Section>, RestoreError> {
    let nested = sections.iter().find(|section| section.name == NESTED);
    let nested = nested.ok_or(RestoreError::Missing(NESTED))?;
    if nested.version != NESTED_VERSION {
        let (version, known) = (nested.version, NESTED_VERSION);
        return Err(RestoreError::Version { name: NESTED, version, known });
    }
    if !nested.bytes.is_empty() {
        return Err(RestoreError::Unsupported { name: NESTED, bytes: nested.bytes.len() });
    }
    Ok(sections.iter().filter(|section| section.name != NESTED).cloned().collect())
}
