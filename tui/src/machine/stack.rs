//! The stack, and who called whom: by frame pointers as far as they lead, then by guesses from what looks like a return address.

use replayvm::timeline::Timeline;

use super::Names;

/// Words of the stack that are shown.
const SLOTS: usize = 256;
/// Frames that are shown.
const FRAMES: usize = 64;
/// A frame is no larger.
const FRAME_BYTES: u64 = 1 << 20;
/// Lengths of calls: near by displacement, and through a register or memory.
const CALL_LENGTHS: std::ops::RangeInclusive<u64> = 2..=7;

/// A word of the stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its linear address.
    pub address: u64,
    /// What it holds.
    pub value: u64,
    /// The symbol that it may mean.
    pub name: Option<String>,
    /// It may be a return address: there is a call before the place.
    pub returns: bool,
}

/// How a frame is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// The CPU is there.
    Here,
    /// By frame pointer, or the function has just been called.
    Known,
    /// By a word of the stack that looks like a return address: it may be a leftover.
    Guess,
}

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Where in the code.
    pub address: u64,
    /// What is there.
    pub name: Option<String>,
    /// How that is known.
    pub kind: FrameKind,
}

fn word(timeline: &Timeline, linear: u64, bytes: usize) -> Option<u64> {
    let mut word = [0; 8];
    let there = timeline.read_linear(linear, word.get_mut(..bytes)?);
    (there == bytes).then(|| u64::from_le_bytes(word))
}

/// Bytes of a word of this code.
fn word_bytes(timeline: &Timeline) -> usize {
    (timeline.cpu().mode().bitness() / 8) as usize
}

/// The addresses from which a call may have been made that returns to `target`.
#[must_use]
pub fn call_sites(timeline: &Timeline, target: u64) -> Vec<u64> {
    let mut found = Vec::new();
    for length in CALL_LENGTHS {
        let mut bytes = [0; 7];
        let start = target.wrapping_sub(length);
        let Some(bytes) = bytes.get_mut(..length as usize) else { continue };
        if timeline.read_linear(start, bytes) < bytes.len() {
            continue;
        }
        let bytes = &*bytes;
        let bitness = timeline.cpu().mode().bitness();
        let opcode = match bytes {
            // A REX prefix.
            [0x40..=0x4f, rest @ ..] if bitness == 64 => rest,
            all => all,
        };
        let is_call = match opcode {
            [0xe8, ..] => bytes.len() == if bitness == 16 { 3 } else { 5 },
            [0xff, modrm, rest @ ..] if modrm >> 3 & 7 == 2 => indirect_bytes(*modrm, rest) == rest.len(),
            _ => false,
        };
        if is_call {
            found.push(start);
        }
    }
    found
}

/// Bytes that follow the ModRM byte.
fn indirect_bytes(modrm: u8, rest: &[u8]) -> usize {
    let (mode, rm) = (modrm >> 6, modrm & 7);
    let sib = usize::from(mode != 3 && rm == 4);
    let base_is_none = mode == 0 && (rm == 5 || rm == 4 && rest.first().is_some_and(|sib| sib & 7 == 5));
    let displacement = match mode {
        0 if base_is_none => 4,
        1 => 1,
        2 => 4,
        _ => 0,
    };
    sib + displacement
}

/// Whether there is a call before an address.
#[must_use]
pub fn looks_called(timeline: &Timeline, target: u64) -> bool {
    target > 0xff && !call_sites(timeline, target).is_empty()
}

fn name(names: Names<'_>, address: u64) -> Option<String> {
    names.and_then(|names| names.place(address)).map(|place| format!("{}+{:#x}", place.name, place.offset))
}

/// The words from the top of the stack on.
pub(super) fn slots(timeline: &Timeline, names: Names<'_>) -> Vec<Slot> {
    let bytes = word_bytes(timeline);
    let top = timeline.cpu().linear_rsp();
    let addresses = (0..SLOTS as u64).map(|number| top.wrapping_add(number * bytes as u64));
    addresses
        .map_while(|address| word(timeline, address, bytes).map(|value| (address, value)))
        .map(|(address, value)| {
            let returns = bytes > 2 && looks_called(timeline, value);
            Slot { address, value, name: name(names, value), returns }
        })
        .collect()
}

/// Who called whom.
pub(super) fn frames(timeline: &Timeline, names: Names<'_>) -> Vec<Frame> {
    let cpu = timeline.cpu();
    let here = cpu.linear_rip();
    let frame = |address, kind| Frame { address, name: name(names, address), kind };
    let mut frames = vec![frame(here, FrameKind::Here)];
    let bytes = word_bytes(timeline);
    if bytes == 2 {
        // Segments would have to be known.
        return frames;
    }
    let size = bytes as u64;
    let mut top = cpu.linear_rsp();
    let at_begin = names.and_then(|names| names.place(here)).is_some_and(|place| place.offset == 0);
    if at_begin && let Some(target) = word(timeline, top, bytes).filter(|t| looks_called(timeline, *t)) {
        frames.push(frame(target, FrameKind::Known));
        top = top.wrapping_add(size);
    }
    let mut pointer = cpu.gpr[5];
    while frames.len() < FRAMES && pointer >= top && pointer - top < FRAME_BYTES {
        let target = word(timeline, pointer.wrapping_add(size), bytes);
        let Some(target) = target.filter(|target| looks_called(timeline, *target)) else { break };
        frames.push(frame(target, FrameKind::Known));
        top = pointer.wrapping_add(2 * size);
        match word(timeline, pointer, bytes) {
            Some(next) if next > pointer => pointer = next,
            _ => break,
        }
    }
    for number in 0..SLOTS as u64 {
        let Some(target) = word(timeline, top.wrapping_add(number * size), bytes) else { break };
        // Without symbols too much looks like code.
        if frames.len() < FRAMES && names.is_some() && looks_called(timeline, target) {
            let guess = frame(target, FrameKind::Guess);
            if guess.name.is_some() {
                frames.push(guess);
            }
        }
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_an_indirect_call_is_known() {
        assert_eq!(indirect_bytes(0xd0, &[]), 0); // call *%rax
        assert_eq!(indirect_bytes(0x10, &[]), 0); // call *(%rax)
        assert_eq!(indirect_bytes(0x50, &[8]), 1); // call *8(%rax)
        assert_eq!(indirect_bytes(0x90, &[0; 4]), 4); // call *disp32(%rax)
        assert_eq!(indirect_bytes(0x15, &[0; 4]), 4); // call *disp32(%rip)
        assert_eq!(indirect_bytes(0x54, &[0x24, 8]), 2); // call *8(%rsp)
        assert_eq!(indirect_bytes(0x14, &[0xc5, 0, 0, 0, 0]), 5); // call *disp32(,%rax,8)
    }
}
