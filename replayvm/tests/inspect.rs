//! What is told of CPU, tables and devices: against the tables' own words, without a trace, and bounded whatever they say.

#![allow(clippy::expect_used, clippy::panic, reason = "test code outside of test functions")]

/// Guests and recordings.
mod common;

use common::settings;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use recorder::BootKind;
use replayvm::inspect::{Found, MappedRange, MappedRanges, Subject, walk_text};
use replayvm::machine::Machine;
use replayvm::session::Settings;
use replayvm_cpu::{cr0, cr4, efer};

const PAGES: u64 = 16;

/// A machine with paging on and tables at 0x1000, of which nothing is set up.
fn machine(long: bool, pae: bool) -> Machine {
    let settings = Settings { memory_bytes: 16 << 20, ..settings() };
    let mut machine = Machine::bare(&settings.description("none", BootKind::Elf64)).expect("a machine");
    let state = &mut machine.cpu.state;
    state.cr0 |= cr0::PE | cr0::PG;
    state.cr3 = 0x1000;
    if pae {
        state.cr4 |= cr4::PAE;
    }
    if long {
        state.efer |= efer::LME | efer::LMA | efer::NXE;
    }
    machine
}

/// The first ranges from an address on, and whether there are no more.
fn ranges(machine: &Machine, from: u64, looks: u32) -> (Vec<MappedRange>, bool) {
    let mut search = MappedRanges::from(machine, from);
    let mut found = Vec::new();
    for _ in 0..looks {
        match search.next_within(64) {
            Found::Range(range) => found.push(range),
            Found::NotYet => {}
            Found::Nothing => return (found, true),
        }
    }
    (found, false)
}

/// What the walk to an address says of it: where it is, and the rights of all entries together.
fn truth(machine: &Machine, linear: u64) -> Option<(u64, bool, bool, bool)> {
    let walk = machine.walk_tables(linear);
    let state = &machine.cpu.state;
    let pae_pointer = usize::from(!state.long_mode() && state.cr4 & cr4::PAE != 0);
    let all = |bit: u64| walk.entries().iter().skip(pae_pointer).all(|entry| entry.value & bit != 0);
    let never = state.long_mode() && walk.entries().iter().any(|entry| entry.value >> 63 != 0);
    walk.end.ok().map(|gpa| (gpa, all(4), all(2), !never))
}

/// The edges of every range are edges for the walk, too.
fn check(machine: &Machine, found: &[MappedRange]) {
    let end = if machine.cpu.state.long_mode() { u64::MAX } else { 0xffff_ffff };
    for range in found {
        let rights = (range.rights.user, range.rights.writable, range.rights.executable);
        let [first, last] = [range.first, range.last].map(|at| truth(machine, at).expect("it is mapped"));
        for (_, user, writable, executable) in [first, last] {
            assert_eq!((user, writable, executable), rights, "{range}");
        }
        if let Some(gpa) = range.gpa {
            assert_eq!((first.0, last.0), (gpa, gpa + (range.last - range.first)), "{range}");
        }
        for outside in [range.first.checked_sub(1), range.last.checked_add(1).filter(|next| *next <= end)] {
            let beyond = outside.and_then(|at| truth(machine, at)).map(|(_, u, w, x)| (u, w, x));
            assert_ne!(beyond, Some(rights), "{range} goes on at {outside:x?}");
        }
    }
    for pair in found.windows(2) {
        assert!(pair[0].last < pair[1].first);
    }
}

#[test]
fn mapped_ranges_are_those_of_the_walk_in_every_kind_of_paging() {
    for (long, pae) in [(true, true), (false, true), (false, false)] {
        let mut complete = 0;
        for seed in 0..40 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut machine = machine(long, pae);
            // Few entries, which lead to some of a few tables, that of the begin among them, or are pages.
            for _ in 0..60 {
                let slot = 0x1000 + random.next_u64() % (PAGES * 512) * 8;
                let neighbours = 1 + random.next_u64() % 4;
                let entry = (random.next_u64() % PAGES + 1) << 12 | random.next_u64() & 0x87 | 1;
                let never = random.next_u64() & 1 << 63;
                for next in 0..neighbours {
                    let value = if pae { entry | never } else { entry | entry << 32 };
                    machine.platform.ram.store(slot + next * 8, (value + (next << 12)).to_le_bytes());
                }
            }
            let (found, all) = ranges(&machine, 0, 20_000);
            complete += u32::from(all && !found.is_empty());
            check(&machine, &found);
        }
        assert!(complete > 0, "no search came to its end: long {long}, PAE {pae}");
    }
}

#[test]
fn tables_that_name_themselves_are_listed_in_pieces_and_never_at_once() {
    let mut machine = machine(true, true);
    for slot in 0..512 {
        // Every second page has other rights where the tables above are for user code.
        let rights = if slot % 2 == 0 { 3 } else { 7 };
        machine.platform.ram.store(0x1000 + slot * 8, (0x1000_u64 | rights).to_le_bytes());
    }
    // What is joined in one range has no end, either.
    assert_eq!(ranges(&machine, 0, 5_000), (vec![], false));
    let (found, all) = ranges(&machine, 1 << 39 | 1 << 30 | 1 << 21, 5_000);
    assert!(!all && found.len() > 500, "{}", found.len());
    check(&machine, &found[1..500]);
}

#[test]
fn whatever_tables_and_registers_say_the_text_is_bounded_and_nothing_changes() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    for round in 0..60 {
        let mut machine = machine(round % 3 == 0, round % 3 != 2);
        for _ in 0..20_000 {
            let slot = random.next_u64() % (PAGES * 512) * 8;
            machine.platform.ram.store(slot, random.next_u64().to_le_bytes());
        }
        let state = &mut machine.cpu.state;
        if round % 2 == 0 {
            state.cr0 &= !cr0::PG;
        }
        if round % 5 == 0 {
            state.cr0 &= !cr0::PE;
        }
        for table in [&mut state.gdtr, &mut state.idtr] {
            table.base = if round % 7 == 0 { u64::MAX - 20 } else { random.next_u64() % (PAGES << 12) };
            table.limit = random.next_u64() as u16;
        }
        for segment in [&mut state.ldtr, &mut state.tr] {
            segment.selector = random.next_u64() as u16;
            segment.base = if round % 7 == 1 { u64::MAX - 20 } else { random.next_u64() % (PAGES << 12) };
            segment.limit = random.next_u64() as u32;
            segment.attributes.0 = random.next_u64() as u16;
        }
        let before = machine.save();
        for subject in Subject::ALL {
            let text = subject.text(&machine, &|address| (address % 3 == 0).then(|| "a name".to_owned()));
            assert!(!text.is_empty() && text.ends_with('\n'), "{}", subject.name());
            assert!(text.lines().count() < 300 && text.len() < 40_000, "{}: {text}", subject.name());
        }
        for _ in 0..50 {
            assert!(walk_text(&machine, random.next_u64() >> (random.next_u32() % 64)).lines().count() <= 6);
        }
        assert_eq!(machine.save(), before);
    }
}

#[test]
fn the_walk_names_every_entry_with_its_flags() {
    let mut machine = machine(true, true);
    let mut store = |gpa: u64, value: u64| assert!(machine.platform.ram.store(gpa, value.to_le_bytes()));
    store(0x1000 + 8 * 511, 0x2027);
    store(0x2000 + 8 * 510, 0x8000_0000_0000_3067);
    store(0x3000, 0x4000_01e3);
    store(0x3008, 0x4000 | 1);
    store(0x4000, 0x10_0000_0000_5065);
    assert_eq!(
        walk_text(&machine, 0xffff_ffff_8000_1234),
        "CR3 0x1000\n\
         PML4E at 0x1ff8: 0x0000000000002027 P R/W U/S A\n\
         PDPTE at 0x2ff0: 0x8000000000003067 P R/W U/S A XD\n\
         PDE   at 0x3000: 0x00000000400001e3 P R/W A D G PS\n\
         0xffffffff80001234 is physical 0x40001234, in a page of 2 MiB\n"
    );
    let text = walk_text(&machine, 0xffff_ffff_8020_0001);
    assert!(text.contains("PTE   at 0x4000: 0x0010000000005065 P U/S A D\n"), "{text}");
    assert!(text.ends_with("0xffffffff80200001 is physical 0x5001, in a page of 4 KiB\n"), "{text}");
    let text = walk_text(&machine, 0xffff_ffff_8020_1000);
    assert!(text.contains("PTE   at 0x4008: 0x0000000000000000 not present\n"), "{text}");
    assert!(text.ends_with("is not mapped: the PTE at physical 0x4008 is 0x0: not present\n"), "{text}");
    // Bits above the 40 that an address has must not be set.
    assert!(machine.platform.ram.store(0x4000, (1_u64 << 45 | 0x5001).to_le_bytes()));
    let text = walk_text(&machine, 0xffff_ffff_8020_0001);
    assert!(text.contains("P, reserved bits set: 0x200000000000\n"), "{text}");
}
