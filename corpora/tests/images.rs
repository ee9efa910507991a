//! What a loader and a debugger rely on in every image.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use corpora::{Guest, all, find};
use object::{Object, ObjectSection, ObjectSymbol};

const MAGIC: u32 = 0x1bad_b002;
const ADDRESSES_VALID: u32 = 1 << 16;

/// The multiboot header: where it lies in the file, and its eight words.
fn header(guest: &Guest) -> (usize, [u32; 8]) {
    let word = |at: usize| u32::from_le_bytes(guest.image[at..at + 4].try_into().unwrap());
    let at = (0..8192).step_by(4).find(|at| word(*at) == MAGIC).expect("a header in the first 8 KiB");
    (at, std::array::from_fn(|index| word(at + 4 * index)))
}

/// Every image there is: the guests, their twins, the workloads.
fn images() -> impl Iterator<Item = &'static Guest> {
    let twins = all().iter().map(|guest| find(&format!("{}-fixed", guest.name)).unwrap());
    all().iter().chain(twins).chain(["workload", "dirty", "echo"].map(|name| find(name).unwrap()))
}

#[test]
fn at_least_eight_guests_with_distinct_names_can_be_found() {
    assert!(all().len() >= 8);
    for guest in all() {
        assert_eq!(find(guest.name).unwrap().image.as_ptr(), guest.image.as_ptr());
    }
    assert!(find("no-such-guest").is_none());
}

#[test]
fn every_guest_in_the_sources_is_in_the_catalogue() {
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/src/bin");
    let mut names: Vec<String> = std::fs::read_dir(sources)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    let mut listed: Vec<&str> = all().iter().map(|guest| guest.name).collect();
    listed.sort();
    assert_eq!(listed, names);
}

#[test]
fn a_guest_fails_for_some_seeds_and_passes_for_most() {
    for guest in all() {
        let failing = guest.failing_seeds.expect("measured");
        assert!((10..=200).contains(&failing), "{}: {failing}", guest.name);
    }
}

#[test]
fn a_twin_is_another_image_and_found_by_name() {
    for guest in all() {
        let twin = guest.fixed.expect("a twin");
        assert_ne!(guest.image, twin, "{}", guest.name);
        assert_eq!(find(&format!("{}-fixed", guest.name)).unwrap().image, twin);
    }
}

#[test]
fn the_workloads_are_no_bug_guests() {
    assert!(all().iter().all(|guest| guest.name != "workload" && guest.name != "dirty"));
    assert_eq!(find("workload").unwrap().image, corpora::workload());
    assert_eq!(find("dirty").unwrap().image, corpora::dirty_pages());
}

#[test]
fn the_multiboot_header_is_valid_and_describes_the_file() {
    for guest in images() {
        let (at, [magic, flags, checksum, own, load, load_end, bss_end, entry]) = header(guest);
        assert_eq!(magic.wrapping_add(flags).wrapping_add(checksum), 0, "{}", guest.name);
        assert_eq!(flags, ADDRESSES_VALID, "{}", guest.name);
        assert_eq!(load, 0x10_0000, "{}", guest.name);
        assert!(
            load <= own && own < load_end && load_end <= bss_end && bss_end < 0x100_0000,
            "{}",
            guest.name
        );
        assert!((load..load_end).contains(&entry), "{}", guest.name);
        let from = at - (own - load) as usize;
        assert!(from + (load_end - load) as usize <= guest.image.len(), "{}", guest.name);
    }
}

#[test]
fn the_header_and_the_elf_segment_load_the_same_bytes() {
    use object::read::elf::{FileHeader, ProgramHeader};
    for guest in images() {
        let (at, [_, _, _, own, load, load_end, bss_end, entry]) = header(guest);
        let elf = object::elf::FileHeader64::<object::LittleEndian>::parse(guest.image).unwrap();
        let endian = object::LittleEndian;
        let segments: Vec<_> = elf
            .program_headers(endian, guest.image)
            .unwrap()
            .iter()
            .filter(|segment| segment.p_type(endian) == object::elf::PT_LOAD)
            .collect();
        let [segment] = segments[..] else { panic!("{}: one segment expected", guest.name) };
        assert_eq!(segment.p_paddr(endian), u64::from(load), "{}", guest.name);
        assert_eq!(segment.p_offset(endian), (at - (own - load) as usize) as u64, "{}", guest.name);
        assert!(segment.p_filesz(endian) <= u64::from(load_end - load), "{}", guest.name);
        assert!(u64::from(load_end - load) - segment.p_filesz(endian) < 16, "{}", guest.name);
        assert!(segment.p_memsz(endian) <= u64::from(bss_end - load), "{}", guest.name);
        assert_eq!(elf.e_entry(endian), u64::from(entry), "{}", guest.name);
    }
}

#[test]
fn the_watched_symbol_lies_in_the_image_and_the_entry_is_named() {
    for guest in images() {
        let (_, [_, _, _, _, load, _, bss_end, entry]) = header(guest);
        let file = object::File::parse(guest.image).unwrap();
        let address = |name: &str| {
            let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name));
            symbol.unwrap_or_else(|| panic!("{} has no symbol {name}", guest.name)).address()
        };
        assert_eq!(address("_start"), u64::from(entry));
        if let Some(symbol) = guest.watch_symbol() {
            assert!((u64::from(load)..u64::from(bss_end)).contains(&address(symbol)), "{}", guest.name);
        }
    }
}

#[test]
fn debug_information_names_the_source_as_seen_from_the_root_of_the_repository() {
    for guest in images() {
        let file = object::File::parse(guest.image).unwrap();
        let strings = file.section_by_name(".debug_str").expect("debug information").data().unwrap();
        let holds = |text: &str| strings.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(holds("./corpora/guests"), "{}", guest.name);
        let source = guest.name.strip_suffix("-fixed").unwrap_or(guest.name);
        assert!(holds(&format!("{source}.rs")), "{}", guest.name);
    }
}

#[test]
fn no_path_of_the_build_machine_is_inside() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_str().unwrap();
    let mut paths = vec![root.to_owned(), env!("OUT_DIR").to_owned()];
    paths.extend(["HOME", "CARGO_HOME", "RUSTUP_HOME"].iter().filter_map(|name| std::env::var(name).ok()));
    for guest in images() {
        for path in paths.iter().filter(|path| path.len() > 4) {
            let inside = guest.image.windows(path.len()).any(|window| window == path.as_bytes());
            assert!(!inside, "{} holds {path}", guest.name);
        }
    }
}
