//! Where the contents of pages are kept: in the recording's file, or in memory.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::Arc;

use recorder::{Page, PageHash, PageRef, ReadError, Recording};

use super::PageMap;
use crate::machine::{GuestRam, PAGE_BYTES, RamError};

/// Why RAM could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The recording does not have the page, or it is damaged there.
    #[error("page {gfn:#x} of guest memory cannot be read from the recording")]
    Read {
        /// Guest frame number.
        gfn: u64,
        /// Why.
        source: ReadError,
    },
    /// Nobody has the content.
    #[error("the recording refers to the content {hash} of guest page {gfn:#x}, but does not hold it")]
    Unknown {
        /// Guest frame number.
        gfn: u64,
        /// The content's hash.
        hash: PageHash,
    },
    /// RAM.
    #[error(transparent)]
    Ram(#[from] RamError),
}

/// Runs of pages that lie side by side in RAM and in the file are mapped instead of copied from this length on. Below it a
/// copy is cheaper than a mapping and the faults it brings.
const MAP_RUN_PAGES: u64 = 64;

/// Page contents by hash.
#[derive(Debug, Default)]
pub struct PageStore {
    /// Pages that the recording holds.
    stored: Arc<HashMap<PageHash, PageRef>>,
    /// Pages kept in memory, none of them among those.
    kept: HashMap<PageHash, Box<Page>>,
    recording: Option<Recording>,
    file: Option<Arc<File>>,
}

impl PageStore {
    /// Contents from a recording; `file` is the same recording's file, if it can be mapped.
    #[must_use]
    pub fn new(recording: Recording, file: Option<File>) -> Self {
        let (recording, file) = (Some(recording), file.map(Arc::new));
        Self { stored: Arc::default(), kept: HashMap::new(), recording, file }
    }

    /// Another store over the same recording, with nothing in memory.
    #[must_use]
    pub fn of_the_recording(&self) -> Self {
        let (stored, kept) = (Arc::clone(&self.stored), HashMap::new());
        Self { stored, kept, recording: self.recording.clone(), file: self.file.clone() }
    }

    /// The recording has this page.
    pub fn locate(&mut self, page: PageRef) {
        if !page.hash.is_zero() {
            Arc::make_mut(&mut self.stored).entry(page.hash).or_insert(page);
        }
    }

    /// Keeps a page in memory unless its content is known already.
    pub fn keep(&mut self, hash: PageHash, page: &Page) {
        if !self.knows(hash) {
            self.kept.insert(hash, Box::new(*page));
        }
    }

    /// Bytes of the pages kept in memory.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.kept.len() * PAGE_BYTES
    }

    /// Forgets the pages kept in memory that none of these maps names; maps that share much stand side by side. They may
    /// be had again only by who has the content: a machine whose map is not among these must not be asked to go on.
    pub fn forget_all_but<'m>(&mut self, maps: impl Iterator<Item = &'m PageMap>) {
        let named = self.kept_of(maps);
        self.kept.retain(|hash, _| named.contains(hash));
    }

    /// Bytes of the pages kept in memory that these maps name; maps that share much stand side by side.
    #[must_use]
    pub fn kept_bytes_of<'m>(&self, maps: impl Iterator<Item = &'m PageMap>) -> usize {
        self.kept_of(maps).len() * PAGE_BYTES
    }

    fn kept_of<'m>(&self, maps: impl Iterator<Item = &'m PageMap>) -> HashSet<PageHash> {
        let mut named = HashSet::new();
        let mut before = None;
        for map in maps {
            map.contents(before, |hash| {
                if self.kept.contains_key(&hash) {
                    named.insert(hash);
                }
            });
            before = Some(map);
        }
        named
    }

    /// Whether the content is to be had.
    #[must_use]
    pub fn knows(&self, hash: PageHash) -> bool {
        hash == PageHash::ZERO || self.stored.contains_key(&hash) || self.kept.contains_key(&hash)
    }

    /// Fills the pages of RAM with what `target` says of them.
    pub(super) fn fill(&self, ram: &mut GuestRam, pages: &[u64], target: &PageMap) -> Result<(), StoreError> {
        let mut index = 0;
        while index < pages.len() {
            let gfn = pages[index];
            let run = self.run_in_file(&pages[index..], target);
            if let (Some(file), Some((offset, count))) = (&self.file, run) {
                for gfn in gfn..gfn + count {
                    self.content(gfn, target.get(gfn))?;
                }
                ram.map_file_pages(gfn, count, file, offset)?;
                index += count as usize;
                continue;
            }
            let hash = target.get(gfn);
            if hash == PageHash::ZERO {
                ram.write_page(gfn, 0, &[0; PAGE_BYTES])?;
            } else {
                ram.write_page(gfn, 0, self.content(gfn, hash)?)?;
            }
            index += 1;
        }
        Ok(())
    }

    /// Offset and length of the run of pages at the front that lies in one piece in the file, if it is long enough.
    fn run_in_file(&self, pages: &[u64], target: &PageMap) -> Option<(u64, u64)> {
        self.file.as_ref()?;
        let recording = self.recording.as_ref()?;
        let offset_of = |gfn: u64| recording.page_file_offset(self.stored.get(&target.get(gfn))?);
        let first = *pages.first()?;
        let start = offset_of(first)?;
        let count = pages
            .iter()
            .zip(0_u64..)
            .take_while(|(gfn, n)| {
                **gfn == first + n && offset_of(**gfn) == Some(start + n * PAGE_BYTES as u64)
            })
            .count() as u64;
        (count >= MAP_RUN_PAGES).then_some((start, count))
    }

    /// The verified content of a page.
    fn content(&self, gfn: u64, hash: PageHash) -> Result<&Page, StoreError> {
        if let Some(page) = self.kept.get(&hash) {
            return Ok(page);
        }
        match (self.stored.get(&hash), &self.recording) {
            (Some(page), Some(recording)) => {
                recording.page(page).map_err(|source| StoreError::Read { gfn, source })
            }
            _ => Err(StoreError::Unknown { gfn, hash }),
        }
    }
}
