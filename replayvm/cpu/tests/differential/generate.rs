//! From a code to a case: random operands, then registers and memory such that whatever the instruction touches lies in
//! the arena.

use iced_x86::{
    Code, Decoder, DecoderOptions, Encoder, Instruction, InstructionInfoFactory, InstructionInfoOptions,
    MemorySize, Mnemonic as M, OpKind, Register,
};

use crate::catalogue;
use crate::common::{ARENA, CODE, CODE_LEN, USER_LEN, WINDOW, WINDOW_LEN};
use crate::maker::Maker;
use crate::native::Registers;
use crate::values::Dice;

/// The base of GS while native code runs.
pub const GS_BASE: u64 = 0x0123_4568;

/// One instruction and everything it starts from.
#[derive(Debug, Clone)]
pub struct Case {
    pub number: u64,
    pub insn: Instruction,
    pub bytes: Vec<u8>,
    pub input: Registers,
    /// Memory contents that differ from the window's background.
    pub patches: Vec<(u64, Vec<u8>)>,
    /// Where the memory operand lies.
    pub memory_address: Option<u64>,
    /// A LOCK prefix has been put before an instruction that does not take one.
    pub bad_lock: bool,
    /// A prefix has been put before an instruction that does without it; it may be another instruction now, or none.
    pub stray_prefix: bool,
}

/// Makes cases.
pub struct Generator {
    pub seed: u64,
    pub fs_base: u64,
    info: InstructionInfoFactory,
}

impl Generator {
    pub fn new(seed: u64, fs_base: u64) -> Self {
        Self { seed, fs_base, info: InstructionInfoFactory::new() }
    }

    /// The case of a number; `None` if no attempt gave a valid encoding.
    pub fn case(&mut self, code: Code, number: u64) -> Option<Case> {
        let mut dice = Dice::new(self.seed, number);
        (0..100).find_map(|_| self.attempt(&mut dice, code, number))
    }

    fn attempt(&mut self, dice: &mut Dice, code: Code, number: u64) -> Option<Case> {
        let mut maker = Maker {
            dice,
            fs_base: self.fs_base,
            input: Registers::new(),
            patches: Vec::new(),
            at: 0,
            target: 0,
        };
        maker.registers();
        maker.place();
        let mut insn = maker.instruction(code)?;
        let mut encoder = Encoder::new(64);
        encoder.encode(&insn, maker.at).ok()?;
        let mut bytes = encoder.take_buffer();
        let decoded = Decoder::with_ip(64, &bytes, maker.at, DecoderOptions::NONE)
            .iter()
            .next()
            .filter(|d| d.code() == code)?;
        if decoded.len() != bytes.len() {
            return None;
        }
        // A processor need not fetch all of UD1 before it refuses it.
        let crosses = maker.at + bytes.len() as u64 >= CODE + CODE_LEN as u64;
        if crosses && decoded.mnemonic() == M::Ud1 {
            return None;
        }
        insn = decoded;
        if catalogue::uses_fpu(code) {
            maker.x87();
            if catalogue::uses_mmx(code) && !maker.dice.one_in(4) {
                maker.mmx();
            }
        }
        maker.implicit(&insn);
        maker.contents(&insn);
        let memory_address = maker.memory_address(&insn);
        // AMD reads four bytes, Intel two.
        let at_end = memory_address.is_some_and(|a| a.wrapping_sub(WINDOW + WINDOW_LEN as u64 - 3) < 3);
        if code == Code::Movsxd_r16_rm16 && at_end {
            return None;
        }
        let mut bad_lock = false;
        if !insn.has_lock_prefix() && maker.dice.one_in(128) && takes_no_lock(code) {
            bytes.insert(0, 0xf0);
            bad_lock = true;
        }
        let mut stray_prefix = false;
        if !bad_lock && catalogue::takes_stray_prefixes(code) && maker.dice.one_in(16) {
            stray_prefix = true;
            // REX prefixes too, which count only at the end.
            let prefix = maker.dice.pick(&[0x66, 0xf2, 0xf3, 0x66, 0xf2, 0xf3, 0x3e, 0x2e, 0x40, 0x48, 0x4f]);
            let place = maker.dice.below(prefixes(&bytes) as u64 + 1) as usize;
            bytes.insert(place, prefix);
            let decoded = Decoder::with_ip(64, &bytes, maker.at, DecoderOptions::NONE).decode();
            if decoded.is_invalid() {
                // #UD, and nobody looks at operands.
                let (input, patches, at) = (maker.input, maker.patches, maker.at);
                let fits =
                    bytes.len() <= 14 && at >= CODE && at + bytes.len() as u64 <= CODE + CODE_LEN as u64;
                let memory_address = None;
                return fits.then_some(Case {
                    number,
                    insn,
                    bytes,
                    input,
                    patches,
                    memory_address,
                    bad_lock,
                    stray_prefix,
                });
            }
            let known = catalogue::is_supported(decoded.code())
                && catalogue::not_testable(decoded.code()).is_none()
                && decoded.len() == bytes.len();
            if !known {
                return None;
            }
            insn = decoded;
        }
        let memory_address = maker.memory_address(&insn);
        let (input, patches, at) = (maker.input, maker.patches, maker.at);
        // Everything must fit between the code's place and the end of its page, or cross into the unmapped one.
        let safe = bytes.len() <= 15 && at >= CODE && (bad_lock || self.is_safe(&insn, &input));
        safe.then_some(Case { number, insn, bytes, input, patches, memory_address, bad_lock, stray_prefix })
    }

    /// Whether every access lies in the arena or faults for sure.
    fn is_safe(&mut self, insn: &Instruction, input: &Registers) -> bool {
        let fs_base = self.fs_base;
        let count = if insn.has_rep_prefix() || insn.has_repne_prefix() {
            input.gpr[1] & if address_size(insn) == 4 { 0xffff_ffff } else { u64::MAX }
        } else {
            1
        };
        let down = input.rflags & 0x400 != 0;
        let string = insn.is_string_instruction();
        let info = self.info.info_options(insn, InstructionInfoOptions::NO_REGISTER_USAGE);
        info.used_memory().iter().all(|memory| {
            let address =
                memory.virtual_address(0, |register, _, _| Some(value_of(input, fs_base, register)));
            let Some(mut address) = address else { return false };
            let size = memory.memory_size().size().max(1) as u64;
            let mut length = if matches!(memory.memory_size(), MemorySize::Unknown) { 1024 } else { size };
            if string {
                if count > 256 {
                    return false;
                }
                if down {
                    address = address.wrapping_sub(size * count);
                }
                length = size * (count + 1);
            }
            if is_bit_string(insn) {
                let (offset, bits) = (insn.op1_register(), insn.op1_register().size() * 8);
                let value = (input.gpr[offset.number()] << (64 - bits)) as i64 >> (64 - bits);
                if !(-0x2000..0x2000).contains(&value) {
                    return false;
                }
                address = address.wrapping_sub(0x400);
                length = 0x808;
            }
            let end = address.wrapping_add(length);
            let outside_code = end <= CODE || address >= CODE + CODE_LEN as u64;
            !is_canonical(address) || (address >= ARENA && end <= ARENA + USER_LEN as u64 && outside_code)
        })
    }
}

/// How many prefixes there are, REX included.
fn prefixes(bytes: &[u8]) -> usize {
    let is_prefix =
        |b: &&u8| matches!(**b, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
    bytes.iter().take_while(is_prefix).count()
}

/// BT, BTS, BTR or BTC with a bit offset that reaches outside its operand.
pub fn is_bit_string(insn: &Instruction) -> bool {
    matches!(insn.mnemonic(), M::Bt | M::Bts | M::Btr | M::Btc)
        && insn.op0_kind() == OpKind::Memory
        && insn.op1_kind() == OpKind::Register
}

fn is_canonical(address: u64) -> bool {
    (address as i64) << 16 >> 16 == address as i64
}

pub fn address_size(insn: &Instruction) -> u32 {
    for i in 0..insn.op_count() {
        match insn.op_kind(i) {
            OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => return 4,
            _ => {}
        }
    }
    8
}

/// Whether LOCK before it is #UD. To AMD, LOCK MOV CR0 is MOV CR8.
fn takes_no_lock(code: Code) -> bool {
    !code.op_code().can_use_lock_prefix() && !matches!(code, Code::Mov_r64_cr | Code::Mov_cr_r64)
}

/// A register's value, or a segment's base.
pub fn value_of(input: &Registers, fs_base: u64, register: Register) -> u64 {
    match register {
        Register::FS => fs_base,
        Register::GS => GS_BASE,
        _ if register.is_segment_register() => 0,
        _ if register.is_gpr8() && (Register::AH..=Register::BH).contains(&register) => {
            input.gpr[register.number() - 4] >> 8 & 0xff
        }
        _ if register.is_gpr() => {
            let bits = register.size() * 8;
            input.gpr[register.number()] & (u64::MAX >> (64 - bits))
        }
        _ => 0,
    }
}
