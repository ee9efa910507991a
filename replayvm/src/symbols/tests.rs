//! Symbols of every origin, and what pretends to be some.

use object::{Object, ObjectSection, ObjectSymbol};

use super::{Kind, Origin, Symbols, kallsyms, text};

const BASE: u64 = 0xffff_ffff_8100_0000;
const COUNT: usize = 1000;

fn parse(bytes: &[u8]) -> Option<Symbols> {
    Symbols::parse(bytes, Origin::Memory)
}

/// How a kernel lays out its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Addresses before the names.
    Old,
    /// The same, and a number for each name after the markers.
    Numbered,
    /// Addresses after the tokens.
    New,
}

fn align(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}

/// The names of the made-up kernel, each with its type letter, by address.
fn names() -> Vec<String> {
    let mut names: Vec<String> = (0..COUNT).map(|n| format!("t vfs_read_{n}")).collect();
    names[0] = "A per_cpu_start".to_owned();
    names[1] = "T _text".to_owned();
    names[700] = "D linux_banner".to_owned();
    names[701] = format!("D {}", "x".repeat(200));
    names
}

/// Memory with the tables of a kernel, as `scripts/kallsyms.c` writes them.
fn memory(layout: Layout) -> Vec<u8> {
    let mut tokens: Vec<String> = (0..256_u32)
        .map(|code| char::from_u32(code).filter(char::is_ascii_graphic).map(String::from).unwrap_or_default())
        .collect();
    tokens[1] = "vfs_".to_owned();
    tokens[200] = "read_".to_owned();
    let mut packed = Vec::new();
    let mut markers = Vec::new();
    for (number, name) in names().iter().enumerate() {
        if number % 256 == 0 {
            markers.extend((packed.len() as u32).to_le_bytes());
        }
        let text = name.replace(' ', "").replace("vfs_", "\u{1}").replace("read_", "\u{c8}");
        let codes: Vec<u8> = text.chars().map(|c| c as u8).collect();
        match codes.len() {
            0..128 => packed.push(codes.len() as u8),
            length => packed.extend([0x80 | (length & 0x7f) as u8, (length >> 7) as u8]),
        }
        packed.extend(codes);
    }
    // The first symbol is per-CPU data, the others count down from the base.
    let mut addresses = Vec::new();
    for number in 0..COUNT as i32 {
        let offset = if number == 0 { 64 } else { -1 - 16 * (number - 1) };
        addresses.extend(offset.to_le_bytes());
    }
    align(&mut addresses);
    addresses.extend(BASE.to_le_bytes());

    let mut bytes = vec![0xee; 4096];
    if layout != Layout::New {
        bytes.extend(&addresses);
    }
    bytes.extend((COUNT as u64).to_le_bytes());
    bytes.extend(packed);
    align(&mut bytes);
    bytes.extend(markers);
    align(&mut bytes);
    if layout == Layout::Numbered {
        bytes.extend((0..COUNT as u32).rev().flat_map(|n| n.to_be_bytes()[1..].to_vec()));
        align(&mut bytes);
    }
    let mut index = Vec::new();
    let start = bytes.len();
    for token in &tokens {
        index.extend(((bytes.len() - start) as u16).to_le_bytes());
        bytes.extend(token.as_bytes());
        bytes.push(0);
    }
    align(&mut bytes);
    bytes.extend(index);
    if layout == Layout::New {
        bytes.extend(&addresses);
    }
    bytes.extend([0; 64]);
    bytes
}

#[test]
fn a_kernel_s_own_tables_are_found_however_it_lays_them_out() {
    for layout in [Layout::Old, Layout::Numbered, Layout::New] {
        let symbols = Symbols::of_kernel_memory(&memory(layout), |_| None).expect("tables");
        assert_eq!(symbols.count(), COUNT, "{layout:?}");
        assert_eq!(symbols.address("_text"), Some(BASE));
        assert_eq!(symbols.address("per_cpu_start"), Some(64));
        assert_eq!(symbols.address("vfs_read_5"), Some(BASE + 64));
        assert_eq!(symbols.place(BASE + 67).unwrap().to_string(), "vfs_read_5+0x3");
        assert_eq!(symbols.place(BASE + 16 * 700).unwrap().name.len(), 200);
        assert_eq!(symbols.place(0x40_1000), None, "far from per-CPU data is none of it");
    }
}

#[test]
fn tables_of_a_kernel_that_runs_elsewhere_are_left_alone() {
    let mut ram = memory(Layout::Old);
    let banner = BASE + 16 * 699;
    let mapped = |address| (address == banner).then_some(100);
    assert!(Symbols::of_kernel_memory(&ram, mapped).is_none());
    ram[100..114].copy_from_slice(b"Linux version ");
    assert!(Symbols::of_kernel_memory(&ram, mapped).is_some());
    assert!(Symbols::of_kernel_memory(&ram, |address| (address == banner).then_some(u64::MAX)).is_none());
}

#[test]
fn damaged_tables_are_no_tables_and_no_accident() {
    let mut random = 1_u64;
    let mut number = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    for layout in [Layout::Old, Layout::Numbered, Layout::New] {
        let whole = memory(layout);
        for _ in 0..300 {
            let mut ram = whole.clone();
            for _ in 0..=number(4) {
                let at = 4000 + number(ram.len() - 4000);
                ram[at] = [0, 1, 0x7f, 0x80, 0xff, number(256) as u8][number(6)];
            }
            ram.truncate(if number(3) == 0 { number(ram.len()) } else { ram.len() });
            // Whatever comes of it has every name at an address.
            if let Some(table) = kallsyms::find(&ram, |_| None) {
                assert!(table.iter().all(|symbol| !symbol.name.is_empty()));
            }
        }
        assert!(kallsyms::find(&whole[..whole.len() / 2], |_| None).is_none());
    }
    assert!(kallsyms::find(b"", |_| None).is_none());
}

#[test]
fn a_system_map_and_kallsyms_are_read() {
    let map = b"ffffffff81000000 T _text\nffffffff81000040 t helper\n0000000000001000 A cpu\nffffffff82000000 D jiffies\n";
    let symbols = parse(map).unwrap();
    assert_eq!(symbols.address("jiffies"), Some(0xffff_ffff_8200_0000));
    assert_eq!(symbols.place(0xffff_ffff_8100_0041).unwrap().to_string(), "helper+0x1");
    let with_modules = b"ffffffffc0000000 t init_module\t[virtio_blk]\n";
    assert_eq!(parse(with_modules).unwrap().address("init_module"), Some(0xffff_ffff_c000_0000));
}

#[test]
fn what_is_no_list_of_symbols_has_none() {
    // As Debian packages it, and as the kernel shows it to those who may not see it.
    let stub = b"ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n";
    assert!(parse(stub).is_none());
    assert!(parse(b"0000000000000000 T _text\n0000000000000000 t helper\n").is_none());
    assert!(parse(b"").is_none());
    assert!(parse(b"hello world\n").is_none());
    assert!(parse(b"\xff\xfe\n").is_none());
    assert!(parse(b"\x7fELF\x02\x01\x01 and then nothing").is_none());
    // Names end up on terminals.
    assert!(text::symbols("ffffffff81000000 T a\u{1b}[2Jb\n".as_bytes()).unwrap().is_empty());
}

#[test]
fn a_guest_s_image_gives_names_and_lines() {
    let symbols = parse(corpora::find("lost-update").unwrap().image).unwrap();
    let address = symbols.address("lost_update::count").unwrap();
    let place = symbols.place(address + 1).unwrap();
    assert_eq!((place.name.as_str(), place.offset), ("lost_update::count", 1));
    assert!(place.line.as_ref().is_some_and(|line| line.contains("lost-update.rs:")), "{place}");
    assert!(symbols.place(0).is_none());
}

#[test]
fn the_elf_file_for_a_debugger_says_the_same() {
    let symbols = Symbols::of_kernel_memory(&memory(Layout::Old), |_| None).unwrap();
    let bytes = symbols.to_elf();
    let file = object::File::parse(&*bytes).unwrap();
    let written: Vec<_> = file
        .symbols()
        .filter(|s| !s.name().unwrap().is_empty())
        .map(|s| (s.address(), s.name().unwrap().to_owned()))
        .collect();
    assert_eq!(written.len(), COUNT);
    for symbol in symbols.iter() {
        assert!(written.contains(&(symbol.address, symbol.name.to_owned())), "{symbol:?}");
    }
    // Every symbol lies in its section, and no two sections overlap.
    let mut sections: Vec<_> =
        file.sections().filter(|s| s.address() != 0).map(|s| (s.address(), s.address() + s.size())).collect();
    sections.sort();
    assert!(sections.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{sections:x?}");
    let absolute = |s: &object::Symbol<'_, '_>| s.section() == object::SymbolSection::Absolute;
    for symbol in file.symbols().filter(|s| !s.name().unwrap().is_empty() && !absolute(s)) {
        let section = file.section_by_index(symbol.section_index().unwrap()).unwrap();
        let range = section.address()..section.address() + section.size();
        assert!(range.contains(&symbol.address()), "{:?} {range:x?}", symbol.name());
    }
    let read = parse(&bytes).unwrap();
    assert_eq!(read.address("vfs_read_5"), symbols.address("vfs_read_5"));
    let banner = read.iter().find(|symbol| symbol.name == "linux_banner").unwrap();
    assert_eq!((banner.kind, banner.global), (Kind::Data, true));
}

#[test]
fn an_absolute_symbol_has_a_value_and_is_at_no_address() {
    let map =
        b"0000000000000000 A fixed_percpu_data\n000000000001fbc0 A current_task\nffffffff81000000 T _text\n";
    let mut symbols = parse(map).unwrap();
    assert_eq!(symbols.address("current_task"), Some(0x1fbc0));
    assert!(symbols.place(0).is_none() && symbols.place(0x1fbc8).is_none());
    symbols.slide_to("_text", 0xffff_ffff_8120_0000);
    assert_eq!(symbols.address("current_task"), Some(0x1fbc0), "what is moved is the program");
    let read = parse(&symbols.to_elf()).unwrap();
    assert_eq!(read.address("current_task"), Some(0x1fbc0));
    assert!(read.place(0x1fbc8).is_none());
    assert_eq!(read.address("_text"), Some(0xffff_ffff_8120_0000));
}

#[test]
fn symbols_follow_a_kernel_that_was_moved() {
    let map = b"ffffffff81000000 T _text\nffffffff81a00080 T entry_SYSCALL_64\n";
    let mut symbols = parse(map).unwrap();
    symbols.slide_to("entry_SYSCALL_64", 0xffff_ffff_95a0_0080);
    assert_ne!(symbols.slide(), 0);
    assert_eq!(symbols.address("_text"), Some(0xffff_ffff_9500_0000));
    assert_eq!(symbols.place(0xffff_ffff_9500_0004).unwrap().to_string(), "_text+0x4");
    // Registers of another program say nothing.
    let mut symbols = parse(map).unwrap();
    symbols.slide_to("entry_SYSCALL_64", 0);
    symbols.slide_to("entry_SYSCALL_64", 0xffff_ffff_95a0_0081);
    symbols.slide_to("nowhere", 0x1000);
    assert_eq!(symbols.slide(), 0);
}
