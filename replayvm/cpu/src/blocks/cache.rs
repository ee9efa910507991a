//! Blocks by address, and whether memory still has their bytes.
//!
//! A block belongs to an instruction pointer and a physical address. It keeps the bytes that it was decoded from; after a
//! store to its page they are compared before it is used again, so that a page that is written with what it had (a
//! restored checkpoint) costs no decoding.

use iced_x86::{Decoder, DecoderError, DecoderOptions, Instruction, Mnemonic};

use crate::blocks::build::{Ends, operation};
use crate::blocks::op::Op;
use crate::bus::{Bus, Moment};
use crate::step::Cpu;

/// The most operations of a block.
pub(crate) const MAX_OPS: usize = 32;
/// Operations that are kept before all are given up.
const CAPACITY: usize = 1 << 20;
/// Buckets of the table of blocks; a power of two.
const BUCKETS: usize = 1 << 16;
/// No block.
pub(crate) const NONE: u32 = u32::MAX;
/// The longest block.
const MAX_BYTES: usize = MAX_OPS * 15;

/// Where a block leads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    /// The block.
    pub(crate) target: u32,
    /// Of which translations it is true; [`ALWAYS`] if it lies in the same page.
    pub(crate) space: u64,
}

/// The link does not depend on translations.
pub(crate) const ALWAYS: u64 = u64::MAX;
const NO_LINK: Link = Link { target: NONE, space: 0 };

/// A run of instructions within a page.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) rip: u64,
    pub(crate) gpa: u64,
    /// The version of the page's code with which the bytes were last compared.
    pub(crate) version: u32,
    /// First operation, and how many.
    pub(crate) first: u32,
    pub(crate) len: u8,
    /// Blocks do not go on here: it begins at a breakpoint, or nothing could be decoded.
    pub(crate) stops: bool,
    /// Nothing in it but NOP, PAUSE, and a direct jump at the end: a part of a loop that does nothing.
    pub(crate) idle: bool,
    /// Memory has other bytes now.
    dead: bool,
    /// Bytes it was decoded from.
    bytes: u32,
    pub(crate) size: u16,
    /// The next block of the bucket.
    next: u32,
    /// Where a jump at its end leads, and where it leads without.
    pub(crate) links: [Link; 2],
}

/// Decoded blocks, for [`Blocks::run`]. Nothing of the guest's state is in here: they can be thrown away at any time.
pub struct Blocks<B> {
    pub(crate) blocks: Vec<Block>,
    pub(crate) ops: Vec<Op<B>>,
    /// The instructions that the operations stand for.
    pub(crate) insns: Vec<Instruction>,
    bytes: Vec<u8>,
    buckets: Box<[u32]>,
    /// Sorted.
    breakpoints: Vec<u64>,
    /// How often all blocks have been given up.
    pub(crate) clears: u64,
}

impl<B> std::fmt::Debug for Blocks<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks").field("blocks", &self.blocks.len()).finish_non_exhaustive()
    }
}

impl<B: Bus> Default for Blocks<B> {
    fn default() -> Self {
        Self::new()
    }
}

const fn bucket(rip: u64, gpa: u64) -> usize {
    let mixed = (rip ^ gpa >> 12 << 4).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 48) as usize & (BUCKETS - 1)
}

impl<B: Bus> Blocks<B> {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            blocks: Vec::new(),
            ops: Vec::new(),
            insns: Vec::new(),
            bytes: Vec::new(),
            buckets: vec![NONE; BUCKETS].into_boxed_slice(),
            breakpoints: Vec::new(),
            clears: 0,
        }
    }

    /// The linear addresses, sorted, at which a run stops.
    pub fn set_breakpoints(&mut self, addresses: &[u64]) {
        if self.breakpoints == addresses {
            return;
        }
        let old = std::mem::replace(&mut self.breakpoints, addresses.to_vec());
        let changed: Vec<u64> = old
            .iter()
            .filter(|address| addresses.binary_search(address).is_err())
            .chain(addresses.iter().filter(|address| old.binary_search(address).is_err()))
            .copied()
            .collect();
        for index in 0..self.blocks.len() {
            let block = &self.blocks[index];
            let touched = |address: &u64| address.wrapping_sub(block.rip) < u64::from(block.size.max(1));
            if !block.dead && changed.iter().any(touched) {
                self.kill(index as u32);
            }
        }
    }

    /// Whether a run stops at a linear address.
    pub(crate) fn stops_at(&self, linear: u64) -> bool {
        !self.breakpoints.is_empty() && self.breakpoints.binary_search(&linear).is_ok()
    }

    fn clear(&mut self) {
        self.clears += 1;
        self.blocks.clear();
        self.ops.clear();
        self.insns.clear();
        self.bytes.clear();
        self.buckets.fill(NONE);
    }

    /// A block that is never found again.
    fn kill(&mut self, index: u32) {
        let block = &mut self.blocks[index as usize];
        block.dead = true;
        // No page ever comes to this version with the block's bytes compared.
        block.version = block.version.wrapping_sub(1);
        let (next, place) = (block.next, bucket(block.rip, block.gpa));
        let mut at = self.buckets[place];
        if at == index {
            self.buckets[place] = next;
            return;
        }
        while at != NONE {
            let block = &mut self.blocks[at as usize];
            if block.next == index {
                block.next = next;
                return;
            }
            at = block.next;
        }
    }

    /// The block at an instruction pointer and its physical address, good for use.
    #[inline]
    pub(crate) fn find(&mut self, cpu: &mut Cpu, bus: &mut B, rip: u64, gpa: u64) -> u32 {
        let mut index = self.buckets[bucket(rip, gpa)];
        while index != NONE {
            let block = &self.blocks[index as usize];
            if block.rip == rip && block.gpa == gpa {
                if block.version == cpu.tlb.pages.version(gpa) || self.verify(cpu, bus, index) {
                    return index;
                }
                break;
            }
            index = block.next;
        }
        self.build(cpu, bus, rip, gpa)
    }

    /// Compares a block with memory. One that differs is never found again.
    #[cold]
    pub(crate) fn verify(&mut self, cpu: &mut Cpu, bus: &mut B, index: u32) -> bool {
        let block = &mut self.blocks[index as usize];
        if block.dead {
            return false;
        }
        let (from, size) = (block.bytes as usize, usize::from(block.size));
        let mut now = [0; MAX_BYTES];
        let now = &mut now[..size];
        bus.fetch(cpu.state.now, block.gpa, now);
        if self.bytes[from..from + size] == *now {
            block.version = cpu.tlb.pages.note_code(block.gpa);
            return true;
        }
        self.kill(index);
        false
    }

    /// Decodes a block.
    #[cold]
    fn build(&mut self, cpu: &mut Cpu, bus: &mut B, rip: u64, gpa: u64) -> u32 {
        if self.ops.len() + MAX_OPS > CAPACITY || self.blocks.len() >= CAPACITY {
            self.clear();
        }
        let at: Moment = cpu.state.now;
        let mut memory = [0; MAX_BYTES];
        let in_page = (0x1000 - (gpa & 0xfff) as usize).min(MAX_BYTES);
        let memory = &mut memory[..in_page];
        bus.fetch(at, gpa, memory);
        let mut decoder = Decoder::with_ip(64, memory, rip, DecoderOptions::NONE);
        let first = self.ops.len();
        let mut size = 0;
        let mut idle = true;
        while self.ops.len() < first + MAX_OPS && decoder.can_decode() {
            let insn = decoder.decode();
            if decoder.last_error() != DecoderError::None || insn.is_invalid() {
                break;
            }
            if size != 0 && self.stops_at(insn.ip()) {
                break;
            }
            let (mut op, ends) = operation::<B>(&insn);
            op.number = (self.ops.len() - first) as u8;
            op.at = size as u16;
            size += insn.len();
            op.end = size as u16;
            idle &= matches!(insn.mnemonic(), Mnemonic::Nop | Mnemonic::Pause)
                || insn.is_jmp_short_or_near() && ends == Ends::Yes;
            self.ops.push(op);
            self.insns.push(insn);
            if ends == Ends::Yes {
                break;
            }
        }
        let place = bucket(rip, gpa);
        let index = self.blocks.len() as u32;
        let bytes = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&memory[..size]);
        self.blocks.push(Block {
            rip,
            gpa,
            version: cpu.tlb.pages.note_code(gpa),
            first: first as u32,
            len: (self.ops.len() - first) as u8,
            stops: size == 0 || self.stops_at(rip),
            idle,
            dead: false,
            bytes,
            size: size as u16,
            next: self.buckets[place],
            links: [NO_LINK; 2],
        });
        self.buckets[place] = index;
        index
    }
}
