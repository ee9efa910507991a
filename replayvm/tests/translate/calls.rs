//! Random programs that are mostly calls and returns, direct and through registers and memory, over several pages: where they lead
//! changes while they run.

use iced_x86::code_asm::*;
use iced_x86::{Code as Opcode, Instruction, MemoryOperand, Register};
use replayvm_cpu::CpuState;

use crate::machine::{CODE, DATA};
use crate::place::{FAR, LAYOUT};
use crate::programs::Dice;
use crate::random::{Make, place, play};

/// Functions, one every so many bytes of the code, and as many jumps through the table behind them.
const FUNCTIONS: u64 = 20;
const FUNCTION: u64 = 0x500;
const STUBS: u64 = CODE + FUNCTIONS * FUNCTION;
/// The table of functions is where RDI points to.
pub const TABLE: u64 = DATA;

const VALUES: [AsmRegister64; 7] = [rax, rcx, rdx, rbx, r8, r9, r10];

fn function(number: u64) -> u64 {
    CODE + number * FUNCTION
}

fn stub(number: u64) -> u64 {
    STUBS + 16 * number
}

/// Writes one function: it calls none of a lower number.
struct Writer<'d> {
    a: CodeAssembler,
    dice: &'d mut Dice,
    number: u64,
}

impl Writer<'_> {
    fn value(&mut self) -> AsmRegister64 {
        self.dice.pick(&VALUES)
    }

    fn compute(&mut self) {
        let (left, right) = (self.value(), self.value());
        let count = self.dice.below(66) as u32;
        let a = &mut self.a;
        match self.dice.below(12) {
            0 => a.add(left, right),
            1 => a.sbb(left, right),
            2 => a.shl(left, count),
            3 => a.ror(left, count),
            4 => a.imul_2(left, right),
            5 => a.mul(right),
            6 => a.bsf(left, right),
            7 => a.adc(qword_ptr(rdi + 0x400), left),
            8 => a.xor(left, qword_ptr(rdi + 0x408)),
            9 => a.cmovb(left, right),
            10 => a.shrd(left, right, count),
            _ => a.cmp(left, right),
        }
        .unwrap();
    }

    /// Some other way to the function of a number, which is in the table too.
    fn call(&mut self) {
        let callee = self.number + 1 + self.dice.below(FUNCTIONS - self.number - 1);
        let through = self.value();
        let place = (8 * callee) as i32;
        let a = &mut self.a;
        match self.dice.below(8) {
            0 | 1 => a.call(function(callee)).unwrap(),
            2 => {
                a.mov(through, function(callee)).unwrap();
                a.call(through).unwrap();
            }
            3 => {
                a.mov(through, qword_ptr(rdi + place)).unwrap();
                a.lea(r11, qword_ptr(through + 1)).unwrap();
                a.call(through).unwrap();
            }
            4 => a.call(qword_ptr(rdi + place)).unwrap(),
            5 => {
                let operand = MemoryOperand::with_base_displ(Register::RIP, (TABLE + 8 * callee) as i64);
                a.add_instruction(Instruction::with1(Opcode::Call_rm64, operand).unwrap()).unwrap();
            }
            6 => {
                a.mov(rax, function(callee)).unwrap();
                a.push(rax).unwrap();
                a.mov(through, qword_ptr(rsp)).unwrap();
                a.call(through).unwrap();
                a.pop(r11).unwrap();
            }
            _ => a.call(stub(callee)).unwrap(),
        }
    }

    /// Another function is in a place of the table from now on.
    fn change(&mut self) {
        let place = self.dice.below(FUNCTIONS);
        let now = match self.dice.below(60) {
            0 => 0x8000_0000_0000_0000,
            1 => 0xffff_8000_0000_1000,
            _ => function(place + self.dice.below(FUNCTIONS - place)),
        };
        self.a.mov(r11, now).unwrap();
        self.a.mov(qword_ptr(rdi + 8 * place as i32), r11).unwrap();
    }

    fn statement(&mut self) {
        match self.dice.below(12) {
            0..=2 if self.number + 1 < FUNCTIONS => self.call(),
            3 if self.dice.one_in(3) => self.change(),
            4 | 5 => {
                let mut over = self.a.create_label();
                match self.dice.below(3) {
                    0 => self.a.jb(over).unwrap(),
                    1 => self.a.jne(over).unwrap(),
                    _ => self.a.jmp(over).unwrap(),
                }
                self.compute();
                self.a.set_label(&mut over).unwrap();
                self.a.nop().unwrap();
            }
            _ => self.compute(),
        }
    }

    fn body(&mut self) {
        for _ in 0..2 + self.dice.below(10) {
            self.statement();
        }
        match self.dice.below(120) {
            // Elsewhere, but not back: that could go on for ever without a tick.
            0 if self.number + 1 < FUNCTIONS => {
                let other = function(self.number + 1 + self.dice.below(FUNCTIONS - self.number - 1));
                self.a.mov(rax, other).unwrap();
                self.a.mov(qword_ptr(rsp), rax).unwrap();
                self.a.ret().unwrap();
            }
            1 => self.a.ret_1(8).unwrap(),
            2 => {
                self.a.push(8i32).unwrap();
                self.a.ret_1(8).unwrap();
            }
            _ => self.a.ret().unwrap(),
        }
    }

    /// Function 0 is a loop.
    fn main(&mut self) {
        let mut again = self.a.create_label();
        self.a.set_label(&mut again).unwrap();
        for _ in 0..6 {
            self.compute();
            self.call();
        }
        self.a.dec(r15d).unwrap();
        self.a.jne(again).unwrap();
        self.a.jmp(again).unwrap();
    }
}

fn program(dice: &mut Dice) -> Vec<u8> {
    let mut code = vec![0xcc; (FUNCTIONS * FUNCTION + 16 * FUNCTIONS) as usize];
    let mut put = |at: u64, a: &mut CodeAssembler, most: u64| {
        let bytes = a.assemble(at).unwrap();
        assert!(bytes.len() as u64 <= most, "{} bytes", bytes.len());
        code[(at - CODE) as usize..][..bytes.len()].copy_from_slice(&bytes);
    };
    for number in 0..FUNCTIONS {
        let mut writer = Writer { a: CodeAssembler::new(64).unwrap(), dice, number };
        if number == 0 {
            writer.main()
        } else {
            writer.body()
        }
        put(function(number), &mut writer.a, FUNCTION);
        let mut a = CodeAssembler::new(64).unwrap();
        let operand = MemoryOperand::with_base_displ(Register::RIP, (TABLE + 8 * number) as i64);
        a.add_instruction(Instruction::with1(Opcode::Jmp_rm64, operand).unwrap()).unwrap();
        put(stub(number), &mut a, 16);
    }
    code
}

/// Data with the table at its beginning.
fn data(dice: &mut Dice) -> Vec<u8> {
    let mut data: Vec<u8> = (0..FUNCTIONS).flat_map(|number| function(number).to_le_bytes()).collect();
    data.extend((data.len()..0x1000).map(|_| dice.bits() as u8));
    data
}

fn begin(dice: &mut Dice, code: usize, state: &mut CpuState) {
    place(dice, code, state);
    state.gpr[7] = TABLE;
    state.rip = function(if dice.one_in(4) { dice.below(FUNCTIONS) } else { 0 });
}

#[test]
fn calls() {
    play(3, LAYOUT, Make { program, data, begin });
}

#[test]
fn calls_out_of_reach() {
    play(4, FAR, Make { program, data, begin });
}
