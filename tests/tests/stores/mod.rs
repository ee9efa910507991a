//! Guests that the scenarios need and the corpora have not: boot sectors.

use iced_x86::IcedError;
use iced_x86::code_asm::{
    CodeAssembler, al, ax, bx, byte_ptr, cx, di, ds, dword_ptr, ecx, es, qword_ptr, si, sp, ss, word_ptr,
};

/// The image of that name, if there is one.
pub fn image(name: &str) -> Option<Vec<u8>> {
    let write = match name {
        "stores" => stores,
        "countdown" => countdown,
        _ => return None,
    };
    let mut code = CodeAssembler::new(16).expect("16-bit code");
    write(&mut code).expect("assembles");
    let mut image = code.assemble(0x7c00).expect("assembles");
    assert!(image.len() <= 510, "{} bytes are no boot sector", image.len());
    image.resize(510, 0);
    image.extend([0x55, 0xaa]);
    Some(image)
}

/// Stores of every kind, five rounds of them; `bx` is the round.
///
/// | where | what |
/// |---|---|
/// | 0x8000, 0x8010, 0x8020 | increments of 1, 2, 4 bytes |
/// | 0x8028 | 8 bytes |
/// | 0x8ffe | 4 bytes over a page border, 0x10001 more each time |
/// | 0x8040 | is read only |
/// | 0x9100 to 0x911f | REP STOSW |
/// | 0x9200 to 0x920f | REP MOVSB from 0x9100 |
/// | 0x7bfa to 0x7bff | flags, CS and IP, pushed by INT |
fn stores(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut again, mut start, mut handler) = (a.create_label(), a.create_label(), a.create_label());
    a.jmp(start)?;
    a.set_label(&mut handler)?;
    a.iret()?;
    a.set_label(&mut start)?;
    a.cli()?;
    a.xor(ax, ax)?;
    a.mov(ds, ax)?;
    a.mov(es, ax)?;
    a.mov(ss, ax)?;
    a.mov(sp, 0x7c00)?;
    // The jump at the start is two bytes long.
    a.mov(word_ptr(4 * 0x40), 0x7c02)?;
    a.mov(word_ptr(4 * 0x40 + 2), ax)?;
    a.fninit()?;
    a.xor(bx, bx)?;
    a.set_label(&mut again)?;
    a.inc(bx)?;
    a.inc(byte_ptr(0x8000))?;
    a.inc(word_ptr(0x8010))?;
    a.inc(dword_ptr(0x8020))?;
    a.fild(qword_ptr(0x8020))?;
    a.fistp(qword_ptr(0x8028))?;
    a.mov(al, byte_ptr(0x8040))?;
    a.add(dword_ptr(0x8ffe), 0x1_0001)?;
    a.mov(di, 0x9100)?;
    a.mov(cx, 16)?;
    a.mov(ax, bx)?;
    a.cld()?;
    a.rep().stosw()?;
    a.mov(si, 0x9100)?;
    a.mov(di, 0x9200)?;
    a.mov(cx, 16)?;
    a.rep().movsb()?;
    a.int(0x40)?;
    a.cmp(bx, 5)?;
    a.jne(again)?;
    a.hlt()
}

/// Counts down for longer than anybody waits.
fn countdown(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.mov(ecx, 0x7f00_0000)?;
    a.set_label(&mut again)?;
    a.inc(dword_ptr(0x8000))?;
    a.dec(ecx)?;
    a.jne(again)?;
    a.hlt()
}
