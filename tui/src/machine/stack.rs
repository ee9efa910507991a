//! The stack, and who called whom: by frame pointers and by calls that name the function, then by guesses from what looks like a
//! return address.

use replayvm::timeline::Timeline;

use super::Names;

/// Words of the stack that are shown.
const SLOTS: usize = 256;
/// Words among which a call that names the function is looked for before a guess is taken.
const MATCH_SLOTS: usize = 64;
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
    /// By frame pointer, or by a return address behind a call that names the function.
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

/// Where a function was called from, as far as the call itself says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Callee {
    /// There is no call before the place.
    None,
    /// The call names this function.
    Direct(u64),
    /// It is through a register or memory.
    Indirect,
}

/// What a call that returns to `target` calls.
fn callee(timeline: &Timeline, target: u64) -> Callee {
    let sites = call_sites(timeline, target);
    let Some(site) = sites.iter().find(|site| target.wrapping_sub(**site) == 5).or(sites.first()) else {
        return Callee::None;
    };
    let mut bytes = [0; 5];
    if target.wrapping_sub(*site) != 5 || timeline.read_linear(*site, &mut bytes) < bytes.len() {
        return Callee::Indirect;
    }
    match bytes {
        [0xe8, displacement @ ..] => {
            let displacement = i64::from(i32::from_le_bytes(displacement));
            Callee::Direct(target.wrapping_add_signed(displacement))
        }
        _ => Callee::Indirect,
    }
}

/// How far the stack has been walked.
#[derive(Debug, Clone, Copy)]
struct Walk {
    /// The address of the first word that is not part of a frame yet.
    top: u64,
    /// The frame pointer.
    pointer: u64,
    /// The begin of the function whose caller is looked for.
    function: Option<u64>,
}

impl Walk {
    /// The return address of the function, and how it is known.
    fn next(&mut self, timeline: &Timeline, names: Names<'_>, size: u64) -> Option<(u64, FrameKind)> {
        let word = |address| word(timeline, address, size as usize);
        let Self { top, pointer, function } = *self;
        let framed =
            (pointer >= top && pointer - top < FRAME_BYTES).then(|| word(pointer.wrapping_add(size)));
        let framed = framed.flatten().filter(|target| *target > 0xff);
        let framed = framed.map(|target| (target, callee(timeline, target)));
        // A register that only happens to point into the stack is no frame pointer.
        let framed = framed.filter(|(_, callee)| *callee != Callee::None);
        let own = framed.is_some_and(|(_, callee)| match callee {
            Callee::Direct(begin) => function.is_none_or(|function| function == begin),
            _ => true,
        });
        if !own {
            // The function has no frame (yet): a call of it, further down than the frame of its caller.
            let slots = (0..SLOTS as u64).map(|number| top.wrapping_add(number * size));
            let slots = slots.take_while(|slot| framed.is_none() || *slot <= pointer);
            let mut guess = None;
            for (number, slot) in slots.enumerate() {
                if number >= MATCH_SLOTS && guess.is_some() {
                    break;
                }
                let Some(target) = word(slot).filter(|target| *target > 0xff) else { continue };
                let found = callee(timeline, target);
                if matches!(found, Callee::Direct(begin) if Some(begin) == function) {
                    self.top = slot.wrapping_add(size);
                    return Some((target, FrameKind::Known));
                }
                let is_named = names.is_some_and(|names| names.place(target).is_some());
                if guess.is_none() && found != Callee::None && is_named {
                    guess = Some((slot, target));
                }
            }
            if framed.is_none() {
                let (slot, target) = guess?;
                self.top = slot.wrapping_add(size);
                return Some((target, FrameKind::Guess));
            }
        }
        let (target, _) = framed?;
        self.top = pointer.wrapping_add(2 * size);
        self.pointer = word(pointer).unwrap_or(0);
        Some((target, FrameKind::Known))
    }
}

/// Who called whom.
pub(super) fn frames(timeline: &Timeline, names: Names<'_>) -> Vec<Frame> {
    let cpu = timeline.cpu();
    let here = cpu.linear_rip();
    let frame = |address, kind| Frame { address, name: name(names, address), kind };
    let mut frames = vec![frame(here, FrameKind::Here)];
    let size = word_bytes(timeline) as u64;
    if size == 2 {
        // Segments would have to be known.
        return frames;
    }
    let begin = |address: u64| {
        let place = names.and_then(|names| names.place(address))?;
        Some(address.wrapping_sub(place.offset))
    };
    let mut walk = Walk { top: cpu.linear_rsp(), pointer: cpu.gpr[5], function: begin(here) };
    while frames.len() < FRAMES
        && let Some((target, kind)) = walk.next(timeline, names, size)
    {
        frames.push(frame(target, kind));
        // A call may be the last thing in a function.
        walk.function = begin(target.wrapping_sub(1));
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
