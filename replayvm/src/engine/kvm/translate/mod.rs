//! Guest user code becomes code that counts: ticks, instructions and steps since the last tick, and that stops when a budget of
//! ticks is used up.
//!
//! Registers stay where they are and instructions are copied one to one, so that data is accessed at its own addresses by
//! the processor's own means. Flags that the manuals leave undefined are made those of the profile. Wherever native execution
//! comes to an end, at a trap of ours (`ud2`) or in a fault of a copied instruction, `Translator::recover` says what the
//! guest's state is there, bit for bit what [`replayvm_cpu::Cpu::step`] comes to.
//!
//! This part is pure: bytes in, bytes and tables out. What a caller has to see to: no RF, TF, AC or pending #DB when it
//! begins, no interrupt shadow, SSE enabled (CR0.EM and TS clear, CR4.OSFXSR set), DR7 clear, and that
//! the code translated is what is in memory: if that or a translation of addresses may have changed, `Translator::clear`.
#![forbid(unsafe_code)]

/// Guest code, block by block.
mod block;
/// From a block to code.
mod compile;
/// Machine code by the byte.
mod emit;
/// Flags by the profile.
mod flags;
/// Where branches through registers and memory most likely lead.
mod guess;
/// Shared memory.
mod layout;
/// From block to block.
mod links;
/// From a place in the code to the guest's state.
mod recover;
/// Which way a block takes through branches.
mod way;

pub use block::Idling;
pub use layout::{Area, Layout, Slots, TABLE_BYTES};
pub use recover::{Recovered, Why};

use block::{Block, PAGE, Reader};
use compile::Compiler;
use emit::{Buffer, Ends};
use layout::{MAX_TICKS, STEP, TICK};
use links::{Key, Known, Links};
use recover::{Sites, What};

/// Room in each section for the largest block.
const RESERVE: usize = 32 << 10;
/// Blocks that are translated at once at the most.
const BATCH: usize = 32;

/// Where guest code comes from.
pub trait Code {
    /// What can be fetched at `rip` without the guest noticing, as many bytes as there is place for at the most; how many there are.
    fn bytes(&mut self, rip: u64, bytes: &mut [u8]) -> usize;

    /// What a general register holds now: to guess by, where a call leads.
    fn register(&mut self, number: usize) -> u64;

    /// What memory holds now, as far as it can be read without the guest noticing: to guess by.
    fn memory(&mut self, linear: u64) -> Option<u64>;
}

/// Why there is no translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The instruction is for the software CPU.
    #[error("the instruction is for the software CPU")]
    Unknown,
    /// The code area is full: clear it and try again.
    #[error("the code area is full")]
    Full,
}

/// What has been translated.
pub struct Translator {
    layout: Layout,
    reader: Reader,
    links: Links,
    sites: Sites,
    ends: Ends,
}

impl Translator {
    /// Nothing translated yet; call [`Self::clear`] before all else.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            reader: Reader::new(layout),
            links: Links::default(),
            sites: Sites::default(),
            ends: Ends::default(),
        }
    }

    /// Forgets all.
    pub fn clear(&mut self, area: &mut Area<'_>) {
        self.links.clear();
        self.sites.clear();
        self.ends = Ends { hot: 0, cold: Buffer::middle(area.code.len()) };
        let mut buffer = Buffer::new(area.code, self.layout, self.ends);
        let missed = buffer.address(buffer.here());
        compile::missed(&mut buffer, &mut self.sites);
        self.ends = buffer.ends;
        for entry in area.table.chunks_exact_mut(8) {
            entry.copy_from_slice(&missed.to_le_bytes());
        }
    }

    /// Bytes of the code area that are in use.
    #[must_use]
    pub fn used(&self, area: &Area<'_>) -> usize {
        (self.ends.hot + self.ends.cold - Buffer::middle(area.code.len())) as usize
    }

    /// Where the translation of the block at `rip` begins. `None` too if some of what leads there does not find it yet.
    #[must_use]
    pub fn entry(&self, rip: u64) -> Option<u64> {
        if self.links.wanted(rip).is_empty() { self.address(rip) } else { None }
    }

    fn address(&self, rip: u64) -> Option<u64> {
        // Whether something that only jumps idles depends on how it was come to.
        let known = self.links.get(Key::at(rip)).filter(|known| !known.idles)?;
        Some(self.layout.code.wrapping_add(u64::from(known.at)))
    }

    /// Translates the block at `rip`, which is about to be executed, and what follows it in its page. Where it begins.
    ///
    /// # Errors
    /// The instruction at `rip` is to be left to the software CPU, or there is no more room.
    pub fn translate(&mut self, area: &mut Area<'_>, rip: u64, code: &mut dyn Code) -> Result<u64, Refused> {
        let mut buffer = Buffer::new(area.code, self.layout, self.ends);
        let mut work = self.links.wanted(rip);
        work.push(Key::at(rip));
        let mut batch = Batch { rip, work, backs: vec![rip], left: BATCH };
        let mut result = Ok(());
        let mut first = true;
        while let Some(key) = batch.work.pop() {
            let chained = self.chain(key, first, &mut batch, &mut buffer, code);
            if first {
                result = chained;
            }
            if chained == Err(Refused::Full) {
                break;
            }
            first = false;
        }
        for rip in std::mem::take(&mut batch.backs) {
            if buffer.room() >= RESERVE {
                self.enter(rip, &mut buffer, area.table);
            }
        }
        self.ends = buffer.ends;
        if buffer.overflow {
            return Err(Refused::Full);
        }
        result?;
        self.address(rip).ok_or(Refused::Unknown)
    }

    /// Translates a block and those that it falls into.
    fn chain(
        &mut self,
        key: Key,
        first: bool,
        batch: &mut Batch,
        buffer: &mut Buffer<'_>,
        code: &mut dyn Code,
    ) -> Result<(), Refused> {
        let (mut key, page) = (key, key.rip & !(PAGE - 1));
        if self.links.get(key).is_some() {
            return Ok(());
        }
        if buffer.room() < RESERVE {
            return Err(Refused::Full);
        }
        let Some(mut block) = self.reader.read(key.rip, first, code) else { return Err(Refused::Unknown) };
        if batch.puts_off(&block, key) {
            return Ok(());
        }
        loop {
            batch.left = batch.left.saturating_sub(1);
            let idles = block.ops.iter().all(block::Op::idles);
            self.links.add(key, Known { at: buffer.here(), idles }, buffer);
            for back in block.backs().filter(|back| back & !(PAGE - 1) == page) {
                batch.backs.push(back);
                batch.work.push(Key::at(back));
            }
            let mut edges = Vec::new();
            let next =
                Compiler::new(buffer, &mut self.sites, &self.links, &mut edges, self.layout, &block, key)
                    .compile();
            for edge in edges {
                if edge.key.rip & !(PAGE - 1) == page && batch.left > 0 {
                    batch.work.push(edge.key);
                }
                self.links.connect(edge, buffer);
            }
            let Some(mut edge) = next else { return Ok(()) };
            let follows = edge.key.rip & !(PAGE - 1) == page
                && batch.left > 0
                && !edge.jumped
                && buffer.room() >= RESERVE
                && self.links.get(edge.key).is_none();
            let next = if follows { self.reader.read(edge.key.rip, false, code) } else { None };
            if let Some(next) = next.filter(|next| !batch.puts_off(next, edge.key)) {
                (key, block) = (edge.key, next);
                continue;
            }
            edge.at = buffer.jump(edge.stub);
            self.links.connect(edge, buffer);
            return Ok(());
        }
    }

    /// Makes indirect branches find the block at `rip`.
    fn enter(&mut self, rip: u64, buffer: &mut Buffer<'_>, table: &mut [u8]) {
        let Some(known) = self.links.get(Key::at(rip)) else { return };
        if self.links.entries.contains_key(&rip) {
            return;
        }
        let index = (rip as u16 as usize) * 8;
        let Some(place) = table.get_mut(index..index + 8) else { return };
        let mut before = [0; 8];
        before.copy_from_slice(place);
        let other = u64::from_le_bytes(before).wrapping_sub(self.layout.code) as u32;
        let here = buffer.here();
        compile::prologue(buffer, rip, other);
        buffer.jump(known.at);
        place.copy_from_slice(&buffer.address(here).to_le_bytes());
        self.links.entries.insert(rip, here);
    }

    /// Native execution begins, at an [`Self::entry`], `offset` steps after the last tick, which are less than a quarter of
    /// what counts as stalled. It passes `ticks` ticks at the most, at least one.
    pub fn begin(&self, area: &mut Area<'_>, ticks: u64, offset: u32) {
        let ticks = ticks.clamp(1, MAX_TICKS);
        area.slots.ticks = ticks;
        area.slots.left = ticks * TICK;
        area.slots.instructions = 0;
        area.slots.offset = u64::from(offset) * u64::from(STEP);
    }

    /// The guest's state where native execution has stopped, from the processor's, which is changed to be the guest's.
    /// `None`, and nothing changed: that is no place of ours.
    pub fn recover(
        &self,
        area: &Area<'_>,
        native_rip: u64,
        gpr: &mut [u64; 16],
        rflags: &mut u64,
    ) -> Option<Recovered> {
        let at = u32::try_from(native_rip.checked_sub(self.layout.code)?).ok()?;
        let site = self.sites.find(at)?;
        let mut recovered = self.sites.recover(site, area.slots, gpr, rflags)?;
        let jumps_to_jump = matches!(site.what, What::Ends(Why::Untranslated))
            && site.idling.jumps != 0
            && self.links.get(Key::at(recovered.rip)).is_some_and(|known| known.idles);
        if jumps_to_jump {
            recovered.why = Why::Leave;
        }
        Some(recovered)
    }
}

/// What one call translates.
struct Batch {
    /// Where it begins.
    rip: u64,
    work: Vec<Key>,
    /// Addresses that indirect branches should find.
    backs: Vec<u64>,
    left: usize,
}

impl Batch {
    /// Whether a block is put off until it is about to be executed.
    fn puts_off(&self, block: &Block, key: Key) -> bool {
        block.waits && key.rip != self.rip
    }
}
