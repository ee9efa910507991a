//! A guest of which every byte is known, so that what is drawn of its recording never changes: a counter, a console, a timer,
//! functions that call each other, and exits of many kinds.

use iced_x86::BlockEncoderOptions;
use iced_x86::code_asm::*;

/// Where it is loaded.
const BASE: u64 = 0x10_0000;
/// What LIDT reads.
const IDTR: u64 = BASE + 0x1000;
/// The interrupt descriptor table.
const IDT: u64 = BASE + 0x2000;
/// The counter, 8 bytes.
pub const COUNTER: u64 = BASE + 0x3000;
/// Bytes of all that.
const SIZE: usize = 0x4000;
/// Where the stack ends.
const STACK: u64 = 0x18_0000;
const TIMER: usize = 0x20;
const INVALID: usize = 6;

/// The guest: its image, and its symbols as a `System.map` has them.
pub struct Guest {
    pub image: Vec<u8>,
    pub map: String,
}

fn out(a: &mut CodeAssembler, port: u32, value: u32) {
    a.mov(edx, port).unwrap();
    a.mov(eax, value).unwrap();
    a.out(dx, al).unwrap();
}

/// Makes it.
pub fn guest() -> Guest {
    let mut a = CodeAssembler::new(64).unwrap();
    let names = ["start", "count", "print", "timer", "trap"];
    let mut labels = names.map(|_| a.create_label());
    let [mut start, mut count, mut print, mut timer, mut trap] = labels;
    let (mut again, mut wait, mut delay) = (a.create_label(), a.create_label(), a.create_label());

    a.set_label(&mut start).unwrap();
    a.mov(rsp, STACK).unwrap();
    a.xor(ebp, ebp).unwrap();
    a.lidt(ptr(IDTR)).unwrap();
    // The controller's vectors begin at 32, and only the timer is let through, 1,000 times a second.
    for (port, value) in [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0xfe)] {
        out(&mut a, port, value);
    }
    for (port, value) in [(0x43, 0x34), (0x40, 0xa9), (0x40, 0x04)] {
        out(&mut a, port, value);
    }
    a.mov(eax, 1).unwrap();
    a.cpuid().unwrap();
    a.rdtsc().unwrap();
    a.rdrand(rax).unwrap();
    a.mov(ecx, 0xc000_0080_u32).unwrap();
    a.rdmsr().unwrap();
    a.mov(eax, 0xfee0_0030_u32).unwrap();
    a.mov(eax, dword_ptr(rax)).unwrap();
    a.ud2().unwrap();
    a.xor(r12d, r12d).unwrap();
    a.set_label(&mut again).unwrap();
    a.call(count).unwrap();
    a.mov(rdi, r12).unwrap();
    a.call(print).unwrap();
    a.mov(ecx, 1000).unwrap();
    a.set_label(&mut delay).unwrap();
    a.loop_(delay).unwrap();
    a.inc(r12).unwrap();
    a.cmp(r12, 6).unwrap();
    a.jne(again).unwrap();
    a.sti().unwrap();
    a.set_label(&mut wait).unwrap();
    a.hlt().unwrap();
    a.cmp(qword_ptr(COUNTER), 8).unwrap();
    a.jb(wait).unwrap();
    a.cli().unwrap();
    out(&mut a, 0xf4, 0x10);
    a.hlt().unwrap();

    a.set_label(&mut count).unwrap();
    a.push(rbp).unwrap();
    a.mov(rbp, rsp).unwrap();
    a.mov(rax, qword_ptr(COUNTER)).unwrap();
    a.inc(rax).unwrap();
    a.mov(qword_ptr(COUNTER), rax).unwrap();
    a.pop(rbp).unwrap();
    a.ret().unwrap();

    // "line N"
    a.set_label(&mut print).unwrap();
    a.push(rbp).unwrap();
    a.mov(rbp, rsp).unwrap();
    for c in *b"line " {
        out(&mut a, 0x3f8, u32::from(c));
    }
    a.lea(eax, ptr(rdi + 0x30)).unwrap();
    a.out(dx, al).unwrap();
    out(&mut a, 0x3f8, 0x0a);
    a.pop(rbp).unwrap();
    a.ret().unwrap();

    a.set_label(&mut timer).unwrap();
    a.push(rax).unwrap();
    a.push(rdx).unwrap();
    a.call(count).unwrap();
    out(&mut a, 0x20, 0x20);
    a.pop(rdx).unwrap();
    a.pop(rax).unwrap();
    a.iretq().unwrap();

    a.set_label(&mut trap).unwrap();
    // On behind UD2.
    a.add(qword_ptr(rsp), 2).unwrap();
    a.iretq().unwrap();

    labels = [start, count, print, timer, trap];
    let options = BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS;
    let code = a.assemble_options(BASE, options).expect("assembles");
    let addresses = labels.map(|label| code.label_ip(&label).expect("a place"));
    let mut memory = code.inner.code_buffer;
    memory.resize(SIZE, 0);
    let mut put = |at: u64, bytes: &[u8]| {
        let at = (at - BASE) as usize;
        memory[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(IDTR, &[0xff, 0x0f]);
    put(IDTR + 2, &IDT.to_le_bytes());
    for (vector, handler) in [(TIMER, addresses[3]), (INVALID, addresses[4])] {
        // A 64-bit interrupt gate.
        let gate = handler & 0xffff | 0x08 << 16 | 0x8e00 << 32 | (handler >> 16 & 0xffff) << 48;
        put(IDT + 16 * vector as u64, &gate.to_le_bytes());
    }
    let data = ["D counter"].into_iter().zip([COUNTER]);
    let text = names.into_iter().zip(addresses).map(|(name, address)| format!("{address:016x} T {name}\n"));
    let map = text.chain(data.map(|(name, address)| format!("{address:016x} {name}\n"))).collect();
    Guest { image: elf64(&memory), map }
}

/// An ELF64 executable of one segment.
fn elf64(memory: &[u8]) -> Vec<u8> {
    let mut image = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    let size = memory.len() as u64;
    for word in [BASE, 64, 0] {
        image.extend(u64::to_le_bytes(word));
    }
    image.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 64, 0, 0] {
        image.extend(half.to_le_bytes());
    }
    image.extend([1_u32, 7].into_iter().flat_map(u32::to_le_bytes));
    for word in [0x1000, BASE, BASE, size, size, 0x1000] {
        image.extend(u64::to_le_bytes(word));
    }
    image.resize(0x1000, 0);
    image.extend(memory);
    image
}
