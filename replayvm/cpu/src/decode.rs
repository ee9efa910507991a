//! Fetching and decoding.
//!
//! Instructions are decoded as a recent Intel processor without AVX does. The cache of decoded instructions needs no
//! invalidation: an entry is used only if the bytes in memory are still the ones it was decoded from. That is the
//! coherence rule for self-modifying code, and it holds whoever wrote the bytes.

use iced_x86::{Decoder, DecoderError, DecoderOptions, Instruction};

use crate::access::canonical;
use crate::bus::{Bus, Moment};
use crate::fault::Fault;
use crate::paging::{Privilege, Purpose};
use crate::segment::SegmentName;
use crate::state::Mode;
use crate::step::Cpu;

/// The longest instruction.
const MAX: usize = 15;
/// Entries of the cache; a power of two.
const ENTRIES: usize = 8192;

#[derive(Debug, Clone, Copy)]
struct Entry {
    gpa: u64,
    rip: u64,
    /// 0 if the entry is empty.
    len: u8,
    bitness: u8,
    /// The bytes, as two little-endian words; those beyond `len` are zero.
    words: [u64; 2],
    insn: Instruction,
}

/// Decoded instructions by physical address and mode, each checked against the bytes in memory before use.
#[derive(Debug)]
pub(crate) struct DecodeCache {
    entries: Box<[Entry]>,
}

impl DecodeCache {
    pub(crate) fn new() -> Self {
        let empty = Entry { gpa: 0, rip: 0, len: 0, bitness: 0, words: [0; 2], insn: Instruction::default() };
        Self { entries: vec![empty; ENTRIES].into_boxed_slice() }
    }
}

/// A mask of the low `len` bytes of a word.
const fn low_bytes(len: usize) -> u64 {
    if len >= 8 { u64::MAX } else { (1 << (8 * len)) - 1 }
}

const fn index(gpa: u64) -> usize {
    (gpa ^ gpa >> 13) as usize & (ENTRIES - 1)
}

impl Cpu {
    /// The instruction at CS:RIP.
    #[inline]
    pub(crate) fn fetch<B: Bus>(&mut self, bus: &mut B, at: Moment) -> Result<Instruction, Fault> {
        let state = &self.state;
        let rip = state.rip;
        let mode = state.mode();
        let bitness = mode.bitness() as u8;
        // How many bytes there are before the end of the segment.
        let (linear, room) = if mode == Mode::Long64 {
            if !canonical(rip) {
                return Err(Fault::gp(0));
            }
            (rip, 0x8000_0000_0000_u64.wrapping_sub(rip))
        } else {
            let code = state.segment(SegmentName::Cs);
            if rip > u64::from(code.limit) {
                return Err(Fault::gp(0));
            }
            (code.base.wrapping_add(rip) & 0xffff_ffff, u64::from(code.limit) - rip + 1)
        };
        let privilege = if state.cpl() == 3 { Privilege::User } else { Privilege::Supervisor };
        let gpa = self.translate(bus, at, linear, Purpose::Fetch, privilege)?;

        let in_page = 0x1000 - (linear & 0xfff) as usize;
        let entry = &self.decoded.entries[index(gpa)];
        let len = usize::from(entry.len);
        // Whole words are quick to compare; close to the end of a page there may be none, and then it is decoded anew.
        if entry.gpa == gpa
            && entry.rip == rip
            && entry.bitness == bitness
            && len != 0
            && len as u64 <= room
            && in_page >= if len > 8 { 16 } else { 8 }
        {
            let mut word = [0; 8];
            bus.fetch(at, gpa, &mut word);
            let mut same = u64::from_le_bytes(word) & low_bytes(len) == entry.words[0];
            if len > 8 {
                bus.fetch(at, gpa + 8, &mut word);
                same &= u64::from_le_bytes(word) & low_bytes(len - 8) == entry.words[1];
            }
            if same {
                return Ok(entry.insn);
            }
        }
        self.decode(bus, at, Place { linear, gpa, room, in_page, bitness, privilege })
    }

    #[inline(never)]
    fn decode<B: Bus>(&mut self, bus: &mut B, at: Moment, place: Place) -> Result<Instruction, Fault> {
        let rip = self.state.rip;
        let room = place.room.min(MAX as u64) as usize;
        let first = room.min(place.in_page);
        let mut bytes = [0; MAX];
        bus.fetch(at, place.gpa, &mut bytes[..first]);
        let mut result = decode(place.bitness, rip, &bytes[..first]);
        let crosses = result == Err(DecoderError::NoMoreBytes) && first < room;
        if crosses {
            // The instruction does need its second page.
            let next = self.state.wrap_linear((place.linear | 0xfff).wrapping_add(1));
            let gpa = self.translate(bus, at, next, Purpose::Fetch, place.privilege)?;
            bus.fetch(at, gpa, &mut bytes[first..room]);
            result = decode(place.bitness, rip, &bytes[..room]);
        }
        // With all 15 bytes before it the decoder does not say whether it wanted more.
        if room == MAX
            && result == Err(DecoderError::InvalidInstruction)
            && decode(place.bitness, rip, &bytes[..MAX - 1]) == Err(DecoderError::NoMoreBytes)
            && !is_whole(place.bitness, &bytes)
        {
            result = Err(DecoderError::NoMoreBytes);
        }
        match result {
            Ok(insn) => {
                if !crosses {
                    let mut words = [[0; 8]; 2];
                    for (i, &byte) in bytes.iter().take(insn.len()).enumerate() {
                        words[i / 8][i % 8] = byte;
                    }
                    self.decoded.entries[index(place.gpa)] = Entry {
                        gpa: place.gpa,
                        rip,
                        len: insn.len() as u8,
                        bitness: place.bitness,
                        words: words.map(u64::from_le_bytes),
                        insn,
                    };
                }
                Ok(insn)
            }
            // Too long, or beyond the end of the segment.
            Err(DecoderError::NoMoreBytes) => Err(Fault::gp(0)),
            Err(_) => Err(Fault::UD),
        }
    }
}

/// Where an instruction lies.
#[derive(Clone, Copy)]
struct Place {
    linear: u64,
    gpa: u64,
    /// Bytes before the end of the segment.
    room: u64,
    /// Bytes before the end of the page.
    in_page: usize,
    bitness: u8,
    privilege: Privilege,
}

/// Whether the bytes hold an instruction that is refused for what it is (a LOCK that it does not take), not for its
/// length.
fn is_whole(bitness: u8, bytes: &[u8]) -> bool {
    let mut decoder = Decoder::new(u32::from(bitness), bytes, DecoderOptions::NO_INVALID_CHECK);
    !decoder.decode().is_invalid()
}

fn decode(bitness: u8, rip: u64, bytes: &[u8]) -> Result<Instruction, DecoderError> {
    let mut decoder = Decoder::with_ip(u32::from(bitness), bytes, rip, DecoderOptions::NONE);
    let insn = decoder.decode();
    match decoder.last_error() {
        DecoderError::None => Ok(insn),
        error => Err(error),
    }
}
