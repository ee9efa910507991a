//! Fetching and decoding.

use iced_x86::{Decoder, DecoderOptions, Instruction};

use crate::bus::{Bus, Moment};
use crate::fault::Fault;
use crate::step::Cpu;

/// Decoded instructions by physical address and mode, each checked against the bytes in memory before use.
#[derive(Debug)]
pub(crate) struct DecodeCache {}

impl DecodeCache {
    pub(crate) fn new() -> Self {
        Self {}
    }
}

impl Cpu {
    /// The instruction at CS:RIP.
    pub(crate) fn fetch<B: Bus>(&mut self, bus: &mut B, at: Moment) -> Result<Instruction, Fault> {
        let mut bytes = [0; 15];
        bus.fetch(at, self.state.linear_rip(), &mut bytes);
        let mut decoder =
            Decoder::with_ip(self.state.mode().bitness(), &bytes, self.state.rip, DecoderOptions::NONE);
        let insn = decoder.decode();
        if insn.is_invalid() { Err(Fault::UD) } else { Ok(insn) }
    }
}
