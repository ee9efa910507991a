//! A checkpoint on its way into a recording.

use std::collections::HashSet;

use crate::page::{PAGE_BYTES, Page, PageHash};
use crate::{Digest, Position, Section};

/// A checkpoint on its way into a recording.
#[derive(Debug, Clone)]
pub struct CheckpointRecord {
    /// Where the machine stands, every input of the position applied.
    pub position: Position,
    /// Instructions retired since power-on, for display.
    pub instructions: u64,
    /// The state of everything but RAM.
    pub sections: Vec<Section>,
    /// Digests by component, RAM included.
    pub digests: Vec<(String, Digest)>,
    /// Every page that was written since the checkpoint before (since all zeros, for the first), be it with what it held
    /// before, in any order: guest frame number and content.
    pub pages: Vec<(u64, PageHash)>,
    /// The contents behind those hashes that the recording does not know yet.
    pub contents: PageContents,
}

impl CheckpointRecord {
    /// A checkpoint without state and pages.
    #[must_use]
    pub fn new(position: Position, instructions: u64) -> Self {
        Self {
            position,
            instructions,
            sections: Vec::new(),
            digests: Vec::new(),
            pages: Vec::new(),
            contents: PageContents::default(),
        }
    }
}

/// Contents of pages, each once, by hash.
#[derive(Debug, Clone, Default)]
pub struct PageContents {
    known: HashSet<PageHash>,
    hashes: Vec<PageHash>,
    /// One page after the other, in the order of `hashes`.
    bytes: Vec<u8>,
}

impl PageContents {
    /// Copies a page, unless it is here already or is the page of zeros. `hash` must be its [`PageHash::of`]; the writer
    /// checks.
    pub fn insert(&mut self, hash: PageHash, page: &Page) {
        if !hash.is_zero() && self.known.insert(hash) {
            self.hashes.push(hash);
            self.bytes.extend_from_slice(page);
        }
    }

    /// Whether a page of this hash is here.
    #[must_use]
    pub fn contains(&self, hash: PageHash) -> bool {
        self.known.contains(&hash)
    }

    /// How many pages.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Hashes and pages in the order of insertion.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PageHash, &Page)> {
        self.hashes.iter().copied().zip(self.bytes.as_chunks::<PAGE_BYTES>().0)
    }
}
