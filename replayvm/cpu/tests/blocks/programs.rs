//! Random programs: machine code by the byte, which ends in a jump back to its beginning.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::machine::{CODE, DATA, PT};

/// Bytes of code.
pub const LENGTH: usize = 0x1c00;

pub struct Dice(ChaCha8Rng);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.bits() % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// What a program may do besides computing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spice {
    /// Changes of its own code.
    pub code: bool,
    /// Changes of page tables, and reloads of CR3.
    pub tables: bool,
    /// Instructions that are the kernel's.
    pub system: bool,
}

struct Writer<'d> {
    dice: &'d mut Dice,
    code: Vec<u8>,
    spice: Spice,
}

/// RBX, RSI, RDI, R12 to R14 hold addresses and are seldom written; RSP is the stack.
const ADDRESSES: [u8; 3] = [3, 6, 7];
/// Registers to compute with.
const VALUES: [u8; 8] = [0, 1, 2, 5, 8, 9, 10, 11];

impl Writer<'_> {
    fn value(&mut self) -> u8 {
        if self.dice.one_in(40) { self.dice.below(16) as u8 } else { self.dice.pick(&VALUES) }
    }

    /// An operation with a ModRM byte: prefixes, REX, opcode, operand in a register or in memory.
    fn modrm(&mut self, wide: bool, opcode: &[u8], reg: u8, memory: bool) {
        let small = self.dice.one_in(8);
        self.modrm_sized(wide, small, opcode, reg, memory);
    }

    fn modrm_sized(&mut self, wide: bool, small: bool, opcode: &[u8], reg: u8, memory: bool) {
        if small {
            self.code.push(0x66);
        }
        if memory && self.dice.one_in(24) {
            let segment = self.dice.pick(&[0x64, 0x65, 0x36, 0x67]);
            self.code.push(segment);
        }
        let rex = 0x40 | u8::from(wide) << 3 | (reg >> 3) << 2;
        if !memory {
            let rm = self.value();
            let rex = rex | rm >> 3;
            if rex != 0x40 || self.dice.one_in(2) {
                self.code.push(rex);
            }
            self.code.extend_from_slice(opcode);
            self.code.push(0xc0 | (reg & 7) << 3 | rm & 7);
            return;
        }
        let base = self.dice.pick(&ADDRESSES);
        match self.dice.below(8) {
            // RIP-relative, to the program's data.
            0 => {
                self.code.push(rex);
                self.code.extend_from_slice(opcode);
                self.code.push(5 | (reg & 7) << 3);
                let next = CODE + self.code.len() as u64 + 4;
                let target = DATA + 0x800 + self.dice.below(0x400);
                self.code.extend_from_slice(&(target.wrapping_sub(next) as u32).to_le_bytes());
            }
            // With a scaled index, R12 to R15, which are small numbers.
            1 | 2 => {
                self.code.push(rex | 2);
                self.code.extend_from_slice(opcode);
                self.code.push(0x44 | (reg & 7) << 3);
                let (scale, index) = (self.dice.below(4) as u8, 4 + self.dice.below(4) as u8);
                self.code.push(scale << 6 | index << 3 | base);
                let displacement = self.dice.bits() as u8;
                self.code.push(displacement);
            }
            _ => {
                if rex != 0x40 || self.dice.one_in(2) {
                    self.code.push(rex);
                }
                self.code.extend_from_slice(opcode);
                self.code.push(0x40 | (reg & 7) << 3 | base);
                let displacement = self.dice.bits() as u8;
                self.code.push(displacement);
            }
        }
    }

    fn bytes(&mut self, n: usize) {
        for _ in 0..n {
            let byte = self.dice.bits() as u8;
            self.code.push(byte);
        }
    }

    /// MOV of 64 bits to a register.
    fn load(&mut self, register: u8, value: u64) {
        self.code.extend_from_slice(&[0x48 | register >> 3, 0xb8 | register & 7]);
        self.code.extend_from_slice(&value.to_le_bytes());
    }

    /// Registers to start from.
    fn registers(&mut self) {
        for register in ADDRESSES {
            let place = match self.dice.below(12) {
                // Over the end of a page.
                0 | 1 => DATA + 0xf80 + self.dice.below(0x80),
                // Into the page that is not there, or cannot be written.
                2 => DATA + 0x1f80 + self.dice.below(0x100),
                3 if self.spice.code => CODE + self.dice.below(LENGTH as u64),
                4 if self.spice.code => CODE + self.code.len() as u64 + self.dice.below(64),
                5 if self.spice.tables => PT + 8 * (DATA >> 12),
                6 if self.spice.tables => PT + 8 * (CODE >> 12) + self.dice.below(16),
                7 if self.dice.one_in(8) => 0x7fff_ffff_ffc0 + self.dice.below(0x80),
                8 if self.dice.one_in(8) => self.dice.bits(),
                _ => DATA + 0x100 + self.dice.below(0xd00),
            };
            self.load(register, place);
        }
        for register in 12..16 {
            let small = self.dice.below(32);
            self.load(register, small);
        }
        let register = self.value();
        let value = self.dice.bits() >> self.dice.below(64);
        if register != 4 {
            self.load(register, value);
        }
    }

    fn compute(&mut self) {
        let wide = self.dice.one_in(2);
        let memory = self.dice.one_in(3);
        let reg = self.value();
        match self.dice.below(30) {
            0..=6 => {
                let opcode = (self.dice.below(8) as u8) << 3 | self.dice.below(4) as u8;
                self.modrm(wide, &[opcode], reg, memory);
            }
            7 | 8 => {
                let small = self.dice.one_in(8);
                let (opcode, kind) = (self.dice.pick(&[0x80, 0x81, 0x83]), self.dice.below(8) as u8);
                self.modrm_sized(wide, small && !wide, &[opcode], kind, memory);
                self.bytes(if opcode != 0x81 {
                    1
                } else if small && !wide {
                    2
                } else {
                    4
                });
            }
            9..=11 => {
                let opcode = self.dice.pick(&[0x88, 0x89, 0x8a, 0x8b]);
                self.modrm(wide, &[opcode], reg, memory);
            }
            12 => {
                let opcode = self.dice.pick(&[0xb6, 0xb7, 0xbe, 0xbf]);
                self.modrm(wide, &[0x0f, opcode], reg, memory);
            }
            13 => self.modrm(wide, &[0x8d], reg, true),
            14 => {
                let kind = self.dice.below(8) as u8;
                let opcode = self.dice.pick(&[0xc0, 0xc1, 0xd0, 0xd1, 0xd2, 0xd3]);
                self.modrm(wide, &[opcode], kind, memory);
                if opcode < 0xd0 {
                    self.bytes(1);
                }
            }
            15 => {
                let opcode = self.dice.pick(&[0xfe, 0xff]);
                let kind = self.dice.below(2) as u8;
                self.modrm(wide, &[opcode], kind, memory);
            }
            16 => {
                let opcode = self.dice.pick(&[0xf6, 0xf7]);
                let kind = 2 + self.dice.below(6) as u8;
                self.modrm(wide, &[opcode], kind, memory);
            }
            17 => {
                let opcode = self.dice.pick(&[0x84, 0x85, 0x86, 0x87]);
                self.modrm(wide, &[opcode], reg, memory);
            }
            18 => {
                let opcode = 0x90 | self.dice.below(16) as u8;
                self.modrm(wide, &[0x0f, opcode], 0, memory);
            }
            19 => {
                let opcode = 0x40 | self.dice.below(16) as u8;
                self.modrm(wide, &[0x0f, opcode], reg, memory);
            }
            20 => {
                let kind = 4 + self.dice.below(4) as u8;
                self.modrm(wide, &[0x0f, 0xba], kind, memory);
                self.bytes(1);
            }
            21 => {
                // Of the bits in registers only: those in memory lie anywhere.
                let opcode = self.dice.pick(&[0xa3, 0xab, 0xb3, 0xbb]);
                self.modrm(wide, &[0x0f, opcode], reg, false);
            }
            22 => {
                let opcode = self.dice.pick(&[0xbc, 0xbd, 0xaf]);
                self.modrm(wide, &[0x0f, opcode], reg, memory);
            }
            23 => {
                let opcode = self.dice.pick(&[0x6b, 0x69]);
                self.modrm_sized(wide, false, &[opcode], reg, memory);
                self.bytes(if opcode == 0x6b { 1 } else { 4 });
            }
            24 => {
                let opcode = self.dice.pick(&[0xb0, 0xb1, 0xc0, 0xc1]);
                if memory && self.dice.one_in(2) {
                    self.code.push(0xf0);
                }
                self.modrm(wide, &[0x0f, opcode], reg, memory);
            }
            25 => {
                let byte = self.dice.pick(&[0x98, 0x99, 0x90, 0xf5, 0xf8, 0xf9, 0x9f, 0x9e]);
                if self.dice.one_in(2) && byte != 0x90 {
                    self.code.push(0x48);
                }
                self.code.push(byte);
            }
            26 => {
                let opcode = self.dice.pick(&[0xa4, 0xa5, 0xac, 0xad]);
                self.modrm(wide, &[0x0f, opcode], reg, memory);
                if opcode & 1 == 0 {
                    self.bytes(1);
                }
            }
            27 => {
                // SSE: moves and logic.
                let prefix = self.dice.pick(&[None, Some(0x66), Some(0xf3)]);
                let opcode = self.dice.pick(&[0x10, 0x11, 0x6f, 0x7f, 0xef, 0x58, 0xd4, 0x2e, 0x7e, 0xd6]);
                self.code.extend(prefix);
                let small = false;
                self.modrm_sized(false, small, &[0x0f, opcode], reg & 7, memory);
            }
            28 => {
                self.code.extend_from_slice(&[0x48 | reg >> 3, 0x0f, 0xc8 | reg & 7]);
            }
            _ => {
                let opcode = self.dice.pick(&[0xc6, 0xc7]);
                self.modrm_sized(wide, false, &[opcode], 0, memory);
                self.bytes(if opcode == 0xc6 { 1 } else { 4 });
            }
        }
    }

    fn stack(&mut self) {
        let register = self.value();
        match self.dice.below(8) {
            0..=2 => self.code.extend_from_slice(&[0x40 | register >> 3, 0x50 | register & 7]),
            3 | 4 => self.code.extend_from_slice(&[0x40 | register >> 3, 0x58 | register & 7]),
            5 => {
                self.code.push(0x6a);
                self.bytes(1);
            }
            6 => {
                let kind = self.dice.pick(&[0, 6]);
                let opcode = if kind == 6 { 0xff } else { 0x8f };
                self.modrm_sized(false, false, &[opcode], kind, true);
            }
            _ => {
                let byte = self.dice.pick(&[0x9c, 0xc9]);
                self.code.push(byte);
            }
        }
    }

    /// Forward, over a few bytes or a few instructions; or a short loop; or a call.
    fn branch(&mut self) {
        match self.dice.below(10) {
            0..=4 => {
                let opcode = 0x70 | self.dice.below(16) as u8;
                let over = self.dice.below(20) as u8;
                self.code.extend_from_slice(&[opcode, over]);
            }
            5 => {
                let over = self.dice.below(24) as u8;
                let opcode = self.dice.pick(&[0xeb, 0xe0, 0xe1, 0xe2, 0xe3]);
                self.code.extend_from_slice(&[opcode, over]);
            }
            6 => {
                let opcode = 0x80 | self.dice.below(16) as u8;
                let over = self.dice.below(40) as u32;
                self.code.extend_from_slice(&[0x0f, opcode]);
                self.code.extend_from_slice(&over.to_le_bytes());
            }
            7 => {
                // A loop by RCX, of a few rounds.
                let rounds = 1 + self.dice.below(20) as u8;
                self.code.extend_from_slice(&[0x6a, rounds, 0x59]);
                let top = self.code.len();
                for _ in 0..1 + self.dice.below(4) {
                    self.compute();
                }
                let back = top as i64 - (self.code.len() as i64 + 2);
                if back >= -128 {
                    self.code.extend_from_slice(&[0xe2, back as i8 as u8]);
                }
            }
            8 => {
                // CALL over a RET, which is jumped over: CALL +3; JMP +2; nop; RET.
                self.code.extend_from_slice(&[0xe8, 2, 0, 0, 0, 0xeb, 2, 0x90, 0xc3]);
            }
            _ => {
                // By an address that is computed: LEA RAX, [RIP + n]; JMP or CALL RAX; then n bytes.
                let over = 2 + self.dice.below(12) as u32;
                self.code.extend_from_slice(&[0x48, 0x8d, 0x05]);
                self.code.extend_from_slice(&over.to_le_bytes());
                let kind = self.dice.pick(&[0xe0, 0xd0]);
                self.code.extend_from_slice(&[0xff, kind]);
                for _ in 2..over {
                    self.code.push(0x90);
                }
            }
        }
    }

    fn string(&mut self) {
        let count = self.dice.below(40) as u8;
        self.code.extend_from_slice(&[0x6a, count, 0x59]);
        if self.dice.one_in(6) {
            self.code.push(0xfd);
        }
        let repeat = self.dice.pick(&[None, Some(0xf3), Some(0xf3), Some(0xf2)]);
        self.code.extend(repeat);
        if self.dice.one_in(3) {
            self.code.push(0x48);
        }
        let opcode = self.dice.pick(&[0xa4, 0xa5, 0xaa, 0xab, 0xa6, 0xa7, 0xac, 0xad, 0xae, 0xaf]);
        self.code.push(opcode);
        self.code.push(0xfc);
    }

    fn system(&mut self) {
        let kernel: [&[u8]; 20] = [
            &[0xfa],
            &[0xfb],
            &[0x9d],
            &[0x0f, 0xa2],
            &[0x0f, 0x31],
            &[0xe4, 0x71],
            &[0xe6, 0x72],
            &[0xee],
            &[0x0f, 0x01, 0x3b],
            &[0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8],
            &[0xcc],
            &[0xcd, 0x40],
            &[0x0f, 0x0b],
            &[0x8e, 0xd8],
            &[0x8c, 0xd8],
            &[0x0f, 0x06],
            &[0x9c, 0x9d],
            &[0xf4],
            &[0x0f, 0x01, 0xf8],
            &[0x0f, 0x09],
        ];
        let bytes = self.dice.pick(&kernel);
        self.code.extend_from_slice(bytes);
    }
}

/// A program for [`CODE`], which runs in circles.
pub fn program(dice: &mut Dice, spice: Spice) -> Vec<u8> {
    let length = 0x200 + dice.below(LENGTH as u64 - 0x300) as usize;
    let mut writer = Writer { dice, code: Vec::new(), spice };
    writer.registers();
    while writer.code.len() < length {
        match writer.dice.below(100) {
            0..=69 => writer.compute(),
            70..=77 => writer.stack(),
            78..=89 => writer.branch(),
            90..=92 => writer.registers(),
            93..=95 => writer.string(),
            96 | 97 if spice.system => writer.system(),
            98 if writer.dice.one_in(4) => writer.bytes(3),
            _ => writer.compute(),
        }
    }
    // Landing place of what jumps over the end, and back.
    writer.code.extend_from_slice(&[0x90; 48]);
    let back = -(writer.code.len() as i64 + 5);
    writer.code.push(0xe9);
    writer.code.extend_from_slice(&(back as i32).to_le_bytes());
    writer.code
}
