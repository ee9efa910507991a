//! Instructions around a place, disassembled in GNU syntax.

use std::collections::VecDeque;
use std::sync::Arc;

use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter, Instruction, SymbolResolver, SymbolResult};
use replayvm::symbols::Symbols;
use replayvm::timeline::Timeline;

use super::Names;

/// The longest instruction, in bytes.
const MAX_INSTRUCTION: usize = 15;
/// A function is decoded from its begin, if that is no farther away.
const FROM_BEGIN: u64 = 1 << 14;
/// Bytes that are read at once in a sweep.
const SWEEP: usize = 4096;

/// An instruction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CodeLine {
    /// Where it is, from the begin of the code segment.
    pub address: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What it is.
    pub text: String,
    /// The function that begins here.
    pub label: Option<String>,
    /// File and line of the source, where they differ from those of the line before.
    pub source: Option<String>,
    /// Whether a conditional branch will be taken: only of the next instruction.
    pub taken: Option<bool>,
}

/// Names of operands.
struct Resolver(Arc<Symbols>);

impl SymbolResolver for Resolver {
    fn symbol(
        &mut self,
        _: &Instruction,
        _: u32,
        _: Option<u32>,
        address: u64,
        _: u32,
    ) -> Option<SymbolResult<'_>> {
        let place = self.0.place(address)?;
        Some(SymbolResult::with_string(address.wrapping_sub(place.offset), place.name))
    }
}

fn formatter(names: Names<'_>) -> GasFormatter {
    let resolver = names.map(|names| Box::new(Resolver(Arc::clone(names))) as Box<dyn SymbolResolver>);
    let mut formatter = GasFormatter::with_options(resolver, None);
    formatter.options_mut().set_uppercase_hex(false);
    formatter.options_mut().set_space_after_operand_separator(true);
    formatter
}

/// The instruction at CS:RIP, with its address and bytes.
pub(super) fn instruction(timeline: &Timeline, names: Names<'_>) -> String {
    let cpu = timeline.cpu();
    let mut bytes = [0; MAX_INSTRUCTION];
    let there = timeline.read_linear(cpu.linear_rip(), &mut bytes);
    let bytes = bytes.get(..there).unwrap_or_default();
    disassemble(cpu.mode().bitness(), cpu.rip, bytes, names)
}

/// The first instruction of `bytes`, which lies at `rip`.
#[must_use]
pub fn disassemble(bitness: u32, rip: u64, bytes: &[u8], names: Names<'_>) -> String {
    if bytes.is_empty() {
        return format!("{rip:#x}: not mapped");
    }
    let mut decoder = Decoder::with_ip(bitness, bytes, rip, DecoderOptions::NONE);
    let instruction = decoder.decode();
    let shown = bytes.get(..instruction.len()).unwrap_or(bytes);
    let hex: Vec<String> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{rip:#x}: {}  {}", hex.join(" "), text(&instruction, &mut formatter(names)))
}

fn text(instruction: &Instruction, formatter: &mut GasFormatter) -> String {
    let mut text = String::new();
    if instruction.is_invalid() {
        text.push_str("(bad)");
    } else {
        formatter.format(instruction, &mut text);
    }
    text
}

/// So many instructions before a place, and so many from there on.
pub(super) fn around(timeline: &Timeline, names: Names<'_>, center: u64, rows: usize) -> Vec<CodeLine> {
    let cpu = timeline.cpu();
    let base = cpu.linear_rip().wrapping_sub(cpu.rip);
    let bitness = cpu.mode().bitness();
    let start = begin(timeline, names, base, bitness, center, rows);
    let mut formatter = formatter(names);
    let mut lines = VecDeque::new();
    let mut address = start;
    let mut after = 0;
    let mut last_source = None;
    while after < rows {
        let linear = base.wrapping_add(address);
        let mut bytes = [0; MAX_INSTRUCTION];
        let there = timeline.read_linear(linear, &mut bytes);
        let bytes = bytes.get(..there).unwrap_or_default();
        let mut line = CodeLine { address, ..CodeLine::default() };
        if bytes.is_empty() {
            line.text = "not mapped".to_owned();
            lines.push_back(line);
            break;
        }
        let mut decoder = Decoder::with_ip(bitness, bytes, address, DecoderOptions::NONE);
        let instruction = decoder.decode();
        // What is no instruction is passed byte by byte.
        let length = if instruction.is_invalid() { 1 } else { instruction.len() };
        line.bytes = bytes.get(..length).unwrap_or(bytes).to_vec();
        line.text = text(&instruction, &mut formatter);
        if let Some(place) = names.and_then(|names| names.place(linear)) {
            line.label = (place.offset == 0).then_some(place.name);
            if place.line != last_source {
                line.source.clone_from(&place.line);
                last_source = place.line;
            }
        }
        if address == cpu.rip {
            line.taken = taken(&instruction, cpu.rflags, cpu.gpr[1]);
        }
        if address >= center {
            after += 1;
        } else if lines.len() >= rows {
            lines.pop_front();
        }
        lines.push_back(line);
        let Some(next) = address.checked_add(length as u64) else { break };
        address = next;
    }
    lines.into()
}

/// Where to begin to decode so that one comes by `center`.
fn begin(timeline: &Timeline, names: Names<'_>, base: u64, bitness: u32, center: u64, rows: usize) -> u64 {
    let linear = base.wrapping_add(center);
    if let Some(place) = names.and_then(|names| names.place(linear))
        && place.offset <= FROM_BEGIN
    {
        let mut bytes = vec![0; place.offset as usize + MAX_INSTRUCTION];
        let start = center.wrapping_sub(place.offset);
        let there = timeline.read_linear(base.wrapping_add(start), &mut bytes);
        bytes.truncate(there);
        if comes_by(bitness, &bytes, start, center) {
            return start;
        }
    }
    // The most that may be before it, then less and less, until what is decoded meets the place.
    let most = (rows as u64 * 4).min(center);
    for back in (1..=most).rev() {
        let start = center - back;
        let mut bytes = vec![0; back as usize + MAX_INSTRUCTION];
        let there = timeline.read_linear(base.wrapping_add(start), &mut bytes);
        bytes.truncate(there);
        if comes_by(bitness, &bytes, start, center) {
            return start;
        }
    }
    center
}

/// Whether the instructions from `start` on are all instructions, and one begins at `center`.
fn comes_by(bitness: u32, bytes: &[u8], start: u64, center: u64) -> bool {
    let mut decoder = Decoder::with_ip(bitness, bytes, start, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    while decoder.ip() < center {
        if !decoder.can_decode() {
            return false;
        }
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() {
            return false;
        }
    }
    decoder.ip() == center
}

/// Whether a conditional branch is taken.
fn taken(instruction: &Instruction, rflags: u64, rcx: u64) -> Option<bool> {
    use iced_x86::ConditionCode as C;
    if instruction.is_jcx_short() {
        return Some(rcx == 0);
    }
    if !instruction.is_jcc_short_or_near() {
        return None;
    }
    let flag = |bit: u32| rflags >> bit & 1 != 0;
    let (carry, parity, zero, sign, overflow) = (flag(0), flag(2), flag(6), flag(7), flag(11));
    Some(match instruction.condition_code() {
        C::o => overflow,
        C::no => !overflow,
        C::b => carry,
        C::ae => !carry,
        C::e => zero,
        C::ne => !zero,
        C::be => carry || zero,
        C::a => !carry && !zero,
        C::s => sign,
        C::ns => !sign,
        C::p => parity,
        C::np => !parity,
        C::l => sign != overflow,
        C::ge => sign == overflow,
        C::le => zero || sign != overflow,
        C::g => !zero && sign == overflow,
        C::None => return None,
    })
}

/// Looks for instructions whose text has `wanted` in it, from an address of the code segment on. `found` is told of each, `go_on`
/// of how far it is after each piece; what either says no to ends it.
pub fn scan(
    timeline: &Timeline,
    names: Names<'_>,
    from: u64,
    bytes: u64,
    wanted: &str,
    found: &mut dyn FnMut(u64, String) -> bool,
    go_on: &mut dyn FnMut(u64) -> bool,
) {
    let cpu = timeline.cpu();
    let base = cpu.linear_rip().wrapping_sub(cpu.rip);
    let bitness = cpu.mode().bitness();
    let mut formatter = formatter(names);
    let end = from.saturating_add(bytes);
    let mut address = from;
    let mut piece = [0; SWEEP + MAX_INSTRUCTION];
    while address < end {
        if !go_on(address) {
            return;
        }
        let there = timeline.read_linear(base.wrapping_add(address), &mut piece);
        let Some(bytes) = piece.get(..there).filter(|bytes| !bytes.is_empty()) else {
            // The next page may be mapped.
            address = (address & !0xfff).saturating_add(0x1000);
            continue;
        };
        let mut decoder = Decoder::with_ip(bitness, bytes, address, DecoderOptions::NONE);
        let stop = address.saturating_add(SWEEP.min(there) as u64);
        while decoder.ip() < stop && decoder.can_decode() {
            let at = decoder.ip();
            let instruction = decoder.decode();
            let text = text(&instruction, &mut formatter);
            if text.contains(wanted) && !found(at, text) {
                return;
            }
        }
        address = decoder.ip().max(address.saturating_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_is_written_in_gnu_syntax() {
        let text = |bitness, rip, bytes: &[u8]| disassemble(bitness, rip, bytes, None);
        assert_eq!(text(64, 0x1000, &[0x48, 0x89, 0xd8, 0x90]), "0x1000: 48 89 d8  mov %rbx, %rax");
        assert_eq!(text(32, 0x10, &[0xee]), "0x10: ee  out %al, %dx");
        assert_eq!(text(64, 0, &[0x06]), "0x0: 06  (bad)");
        assert_eq!(text(64, 0x2000, &[]), "0x2000: not mapped");
    }

    #[test]
    fn code_is_decoded_from_where_it_meets_the_place() {
        // mov $0x90909090, %eax; ret
        let bytes = [0xb8, 0x90, 0x90, 0x90, 0x90, 0xc3];
        assert!(comes_by(64, &bytes, 0x100, 0x105));
        assert!(!comes_by(64, &bytes, 0x100, 0x103));
        assert!(!comes_by(64, &bytes[..3], 0x100, 0x105));
    }

    #[test]
    fn it_is_known_whether_a_branch_is_taken() {
        let jump = |bytes: &[u8], rflags, rcx| {
            taken(&Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE).decode(), rflags, rcx)
        };
        assert_eq!(jump(&[0x74, 0x02], 0x40, 0), Some(true));
        assert_eq!(jump(&[0x75, 0x02], 0x40, 0), Some(false));
        assert_eq!(jump(&[0x7c, 0x02], 0x80, 0), Some(true));
        assert_eq!(jump(&[0x7c, 0x02], 0x880, 0), Some(false));
        assert_eq!(jump(&[0xe3, 0x02], 0, 0), Some(true));
        assert_eq!(jump(&[0xeb, 0x02], 0, 0), None);
    }
}
