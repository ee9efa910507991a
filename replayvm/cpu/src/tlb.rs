//! Translations remembered: a cache that the guest cannot see.
//!
//! The machine behaves as if there were no TLB: every access sees the page tables as they are in memory. So each
//! physical page that a walk has read from is noted here, and a store to a noted page forgets every translation. The
//! state of the CPU is therefore a pure function of what the guest did, whether or not a checkpoint was taken between.

/// Entries; a power of two.
const ENTRIES: usize = 2048;
/// Bits in the filter of noted pages; a power of two. Pages that share a bit cost a needless flush, nothing else.
const NOTE_BITS: usize = 1 << 18;

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// Linear page number.
    page: u64,
    /// Physical address of the page.
    base: u64,
    /// Valid if equal to the TLB's own.
    generation: u32,
    /// One bit for each kind of access that needs no walk.
    permits: u16,
}

/// The software TLB.
#[derive(Debug)]
pub(crate) struct Tlb {
    entries: Box<[Entry]>,
    generation: u32,
    /// A bit for each physical page that a live translation was read from.
    noted: Box<[u64]>,
    /// Which words of `noted` are not zero.
    dirty_words: Vec<u16>,
}

impl Tlb {
    pub(crate) fn new() -> Self {
        Self {
            entries: vec![Entry::default(); ENTRIES].into_boxed_slice(),
            generation: 1,
            noted: vec![0; NOTE_BITS / 64].into_boxed_slice(),
            dirty_words: Vec::new(),
        }
    }

    /// Changes with each [`Tlb::flush`].
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Forgets every translation.
    pub(crate) fn flush(&mut self) {
        for word in self.dirty_words.drain(..) {
            self.noted[usize::from(word)] = 0;
        }
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 {
            self.entries.fill(Entry::default());
            self.generation = 1;
        }
    }

    /// The physical address, if the page is known and all of `wanted` is permitted.
    #[inline]
    pub(crate) fn look_up(&self, linear: u64, wanted: u16) -> Option<u64> {
        let page = linear >> 12;
        let entry = &self.entries[page as usize & (ENTRIES - 1)];
        (entry.page == page && entry.generation == self.generation && entry.permits & wanted != 0)
            .then_some(entry.base | (linear & 0xfff))
    }

    /// Remembers a translation.
    pub(crate) fn fill(&mut self, linear: u64, physical: u64, permits: u16) {
        let page = linear >> 12;
        self.entries[page as usize & (ENTRIES - 1)] =
            Entry { page, base: physical & !0xfff, generation: self.generation, permits };
    }

    /// Notes that a walk has read from the page of this physical address.
    pub(crate) fn note(&mut self, gpa: u64) {
        let bit = (gpa >> 12) as usize & (NOTE_BITS - 1);
        let word = &mut self.noted[bit / 64];
        if *word == 0 {
            self.dirty_words.push((bit / 64) as u16);
        }
        *word |= 1 << (bit % 64);
    }

    /// Whether a store to the page of this physical address forgets every translation.
    #[inline]
    pub(crate) fn is_noted(&self, gpa: u64) -> bool {
        let bit = (gpa >> 12) as usize & (NOTE_BITS - 1);
        self.noted[bit / 64] & (1 << (bit % 64)) != 0
    }

    /// To be called after every store to physical memory.
    #[inline]
    pub(crate) fn stored(&mut self, gpa: u64) {
        if self.is_noted(gpa) {
            self.flush();
        }
    }
}
