//! `monitor`: places, calls, address spaces, the state of the machine, on recordings of corpora guests and against what a plain
//! walk over them finds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod client;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::OnceLock;

use client::{Client, Made, record, recording, talk, talk_named};
use recorder::Position;
use replayvm::symbols::{Origin, Symbols};
use replayvm::timeline::{AddressSpace, Reason, Stops, Timeline, unsupervised};

const RIP: usize = 16;
const HERE: Position = Position::new(200_000, 2);

fn image(guest: &str) -> Vec<u8> {
    corpora::find(guest).unwrap().image.to_vec()
}

fn symbols(guest: &str) -> Symbols {
    Symbols::parse(&image(guest), Origin::Image(guest.to_owned())).unwrap()
}

/// Two processes in address spaces of their own, some turns of each.
fn processes() -> PathBuf {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| record(image("process-race"), 120_000)).1.clone()
}

fn open(path: &std::path::Path, at: Position) -> Timeline {
    let mut timeline = Timeline::open(path).unwrap();
    timeline.seek(at, &mut unsupervised()).unwrap();
    timeline
}

/// Every position between two that is at an address, by single steps.
fn arrivals(path: &std::path::Path, address: u64, from: Position, to: Position) -> Vec<Position> {
    let stops = Stops { addresses: vec![address], ..Stops::default() };
    let mut timeline = open(path, from);
    let mut found = Vec::new();
    while timeline.position() < to {
        if timeline.stops_here(&stops) {
            found.push(timeline.position());
        }
        if timeline.step_forward().unwrap().reason == Reason::End {
            break;
        }
    }
    found
}

#[test]
fn when_names_the_place_in_the_program() {
    talk_named(&recording(), image("lost-update"), |client| {
        client.monitor(&format!("seek {HERE}"));
        let timeline = open(&recording(), HERE);
        let rip = timeline.cpu().linear_rip();
        let place = symbols("lost-update").place(rip).unwrap();
        assert_eq!(
            client.said("when"),
            format!(
                "position {HERE}\nvirtual time {} ns\ninstructions {}\nat {rip:#x} {place}\n",
                HERE.tick * 10,
                timeline.instructions()
            )
        );
    });
    // A guest without symbols has addresses, and no names.
    talk(|client| {
        let rip = client.register(RIP);
        assert!(client.said("when").ends_with(&format!("\nat {rip:#x}\n")));
    });
}

#[test]
fn a_time_is_a_place_to_go_to() {
    talk(|client| {
        let said = client.said("seek 2ms");
        assert!(said.starts_with("position 200000+0\nvirtual time 2000000 ns\n"), "{said}");
        assert!(client.said("seek 0.0000301s quiet").starts_with("position 3010+0\n"));
        assert!(client.said("seek 1999999ns quiet").starts_with("position 200000+0\n"));
        let said = client.said("seek 3600s quiet");
        let end = Timeline::open(&recording()).unwrap().end();
        let late = format!("the recording ends before that time\nposition {end}, the end of the recording\n");
        assert!(said.starts_with(&late), "{said}");
        assert!(client.said("seek 1.5h").starts_with("`1.5h` is not a position"));
        assert!(client.said("seek 1.5xs").starts_with("`1.5xs` is not a time"));
        assert!(client.said("when").starts_with(&format!("position {end}")));
    });
}

#[test]
fn places_are_kept_and_given_up() {
    talk(|client| {
        client.monitor(&format!("seek {HERE}"));
        assert_eq!(client.said("checkpoint"), format!("{HERE} is kept in memory\n"));
        client.monitor("seek 100000");
        assert_eq!(client.said("checkpoint"), "100000+0 is kept in memory\n");
        let text = client.said("checkpoints");
        let (list, counts) = text.split_at(text.find("2 kept").unwrap());
        assert_eq!(list, format!("100000+0\n{HERE}\n"));
        assert!(counts.ends_with(" in the recording\n"), "{counts}");
        // Coming back replays nothing.
        let before = replayed(client);
        assert!(client.said(&format!("seek {HERE} quiet")).starts_with(&format!("position {HERE}\n")));
        assert_eq!(replayed(client), before);
        assert_eq!(client.said("checkpoint drop 100000"), "1 given up\n");
        assert!(client.said("checkpoint drop 100000").contains("is not kept"));
        assert_eq!(client.said("checkpoint drop all"), "1 given up\n");
        assert!(client.said("checkpoints").starts_with("0 kept, "));
    });
}

/// Ticks and instructions, as `stats` has them.
fn replayed(client: &mut Client) -> (u64, u64) {
    let text = client.said("stats");
    let line = text.lines().find_map(|line| line.strip_prefix("replayed ")).unwrap().trim().to_owned();
    let numbers: Vec<u64> = line.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    (numbers[0], numbers[1])
}

#[test]
fn stats_count_what_is_replayed() {
    talk(|client| {
        let before = replayed(client);
        client.monitor("seek 30000");
        client.monitor("seek begin");
        client.monitor("seek 5000");
        let after = replayed(client);
        // The begin is a checkpoint of the recording; what is left on the way to a place makes the next way shorter.
        let ticks = after.0 - before.0;
        assert!((30_000..=35_000).contains(&ticks), "{ticks}");
        assert!(after.1 - before.1 > 2 * ticks);
        let text = client.said("stats");
        let heads: Vec<&str> = text.lines().map(|line| line[..20].trim_end()).collect();
        assert_eq!(
            heads,
            [
                "replayed",
                "seeks",
                "checkpoints",
                "in memory",
                "pages in memory",
                "in the recording",
                "engine",
                "the last command"
            ]
        );
        // Which engine it is, the host decides.
        let engine =
            ["kvm", "soft"].iter().any(|name| text.contains(&format!("\nengine               {name}\n")));
        assert!(text.contains("\nseeks                3\n") && engine, "{text}");
        assert!(text.contains("\nthe last command     monitor stats, "), "{text}");
        client.ask("s");
        assert!(client.said("stats").contains("\nthe last command     stepi, "));
    });
}

#[test]
fn calls_are_the_arrivals_of_a_plain_walk_with_callers_and_arguments() {
    let (from, to) = (Position::new(8_000, 0), Position::new(60_000, 3));
    let names = symbols("process-race");
    let name = "process_race::syscall_entry";
    let address = names.address(name).unwrap();
    let truth = arrivals(&processes(), address, from, to);
    assert!(truth.len() > 5, "{truth:?}");
    let mut timeline = Timeline::open(&processes()).unwrap();
    let mut expected = String::new();
    for at in &truth {
        timeline.seek(*at, &mut unsupervised()).unwrap();
        let cpu = timeline.cpu();
        let [rdi, rsi, rdx] = [7, 6, 2].map(|number| cpu.gpr[number]);
        let mut top = [0; 8];
        assert_eq!(timeline.read_linear(cpu.gpr[4], &mut top), 8);
        let caller = u64::from_le_bytes(top);
        let place = names.place(caller).map(|place| format!(" {place}")).unwrap_or_default();
        expected.push_str(&format!(
            "{:<16} from {caller:#x}{place} rdi={rdi:#x} rsi={rsi:#x} rdx={rdx:#x}\n",
            at.to_string()
        ));
    }
    expected.push_str(&format!(
        "{} calls of {address:#x} {} from {from} to {to}\n",
        truth.len(),
        names.place(address).unwrap()
    ));
    talk_named(&processes(), image("process-race"), |client| {
        client.monitor("seek 30000");
        assert_eq!(client.said(&format!("calls {name} {from}..{to}")), expected);
        assert_eq!(client.said(&format!("calls {address:#x} {from}..{to}")), expected);
        assert!(client.said("when").starts_with("position 30000+0\n"), "it stays where it stood");
        // From a call to the next: the first belongs to the range, the last does not.
        let said = client.said(&format!("calls {name} {}..{}", truth[0], truth[2]));
        assert!(said.contains("\n2 calls of "), "{said}");
        assert!(
            client.said("calls no_such_function").starts_with("there is no symbol `no_such_function` in ")
        );
        assert!(client.said(&format!("calls {name} 7..6")).contains("not before"));
    });
    talk(|client| assert!(client.said("calls main").starts_with("this guest has no symbols")));
}

#[test]
fn a_call_whose_first_instruction_repeats_is_one_and_long_lists_are_cut() {
    // A boot sector that calls a function 150 times; the function begins with a REP that takes several steps at a time.
    let mut code = vec![
        0xfc, // cld
        0xbb, 150, 0, // mov bx, 150
        0xbf, 0, 0x80, // again: mov di, 0x8000
        0xb9, 0, 0x20, // mov cx, 0x2000
        0xe8, 5, 0,    // call fill
        0x4b, // dec bx
        0x75, 0xf4, // jnz again
        0xeb, 0xfe, // jmp $
        0xf3, 0xaa, // fill: rep stosb
        0xc3, // ret
    ];
    code.resize(510, 0x90);
    code.extend([0x55, 0xaa]);
    let (_folder, path) = record(code, 2_000);
    let fill = 0x7c00 + 0x12;
    let mut timeline = Timeline::open(&path).unwrap();
    let mut seen = BTreeSet::new();
    let mut steps = 0;
    while timeline.step_forward().unwrap().reason != Reason::End {
        if timeline.cpu().linear_rip() == fill {
            steps += 1;
            seen.insert(timeline.cpu().gpr[3] & 0xffff);
        }
    }
    assert!(seen.len() == 150 && steps >= 150, "{} calls in {steps} steps", seen.len());
    client::talk_about(&path, |client| {
        let said = client.said(&format!("calls {fill:#x} begin..end"));
        assert_eq!(said.lines().count(), 101, "{said}");
        // In 16-bit code there are no argument registers.
        assert!(said.lines().take(100).all(|line| line.ends_with(" from 0x7c0d")), "{said}");
        assert!(
            said.lines().last().unwrap().starts_with("the first 100 calls of 0x7c12; the next one is at ")
        );
        let next: Position = said.trim().rsplit(' ').next().unwrap().parse().unwrap();
        let rest = client.said(&format!("calls {fill:#x} {next}.."));
        assert!(rest.contains(&format!("\n50 calls of {fill:#x} from {next} to ")), "{rest}");
    })
    .unwrap();
}

/// Where each stop at an address is, and in which space.
fn visits(address: u64) -> Vec<(Position, AddressSpace)> {
    let stops = Stops { addresses: vec![address], ..Stops::default() };
    let mut timeline = Timeline::open(&processes()).unwrap();
    let mut visits = Vec::new();
    while timeline.run_forward(&stops, &mut unsupervised()).unwrap().reason != Reason::End {
        visits.push((timeline.position(), AddressSpace::of(timeline.cpu()).unwrap()));
    }
    visits
}

fn stands_at(client: &mut Client) -> Position {
    let said = client.said("when");
    let position = said.lines().next().unwrap().strip_prefix("position ").unwrap();
    position.split(',').next().unwrap().parse().unwrap()
}

#[test]
fn a_breakpoint_bound_to_an_address_space_is_passed_in_others_both_ways() {
    let names = symbols("process-race");
    // The timer's handler runs in both processes.
    let address = names.iter().find(|symbol| symbol.name.contains("dispatch")).unwrap().address;
    let all = visits(address);
    let space = all[0].1;
    let mine: Vec<Position> = all.iter().filter(|(_, other)| *other == space).map(|(at, _)| *at).collect();
    assert!(mine.len() > 3 && all.len() - mine.len() > 3, "{all:x?}");
    client::talk_about(&processes(), |client| {
        assert_eq!(client.said("break-in"), "breakpoints in the lower half stop in every address space\n");
        client.monitor(&format!("seek {}", mine[0]));
        let bound = format!("breakpoints in the lower half stop in address space {:#x}\n", space.root());
        assert_eq!(client.said("break-in here"), bound);
        client.monitor("seek begin");
        let point = |set: char| format!("{set}0,{address:x},1");
        for at in &mine {
            // gdb takes its breakpoints back at each stop, and sets them again.
            assert_eq!(client.ask(&point('Z')), "OK");
            assert!(client.ask("c").contains("swbreak:"));
            assert_eq!(client.ask(&point('z')), "OK");
            assert_eq!(stands_at(client), *at);
        }
        assert_eq!(client.ask(&point('Z')), "OK");
        assert!(client.ask("c").contains("replaylog:end"));
        for at in mine.iter().rev() {
            assert!(client.ask("bc").contains("swbreak:"));
            assert_eq!(stands_at(client), *at);
        }
        assert!(client.ask("bc").contains("replaylog:begin"));

        // What is said of the address goes before what is said of all.
        assert!(client.said(&format!("break-in any {address:#x}")).starts_with(&bound));
        for (at, _) in &all {
            assert!(client.ask("c").contains("swbreak:"));
            assert_eq!(stands_at(client), *at);
        }
        client.monitor("seek begin");
        client.monitor("break-in any");
        client.monitor(&format!(
            "break-in {:#x} {address:#x}",
            all.iter().find(|v| v.1 != space).unwrap().1.root()
        ));
        assert!(client.ask("c").contains("swbreak:"));
        assert_eq!(stands_at(client), all.iter().find(|visit| visit.1 != space).unwrap().0);
    })
    .unwrap();
}

#[test]
fn a_step_over_a_range_passes_a_breakpoint_of_another_address_space() {
    talk(|client| {
        client.monitor(&format!("seek {HERE}"));
        let rip = client.register(RIP);
        client.ask("s");
        let inside = client.register(RIP);
        assert!(inside > rip && inside < rip + 16, "the test wants a plain instruction at {rip:#x}");
        client.monitor("seek -1");
        let range = format!("vCont;r{rip:x},{:x}:p1.1", inside + 1);
        assert!(client.ask(&format!("Z0,{inside:x},1")) == "OK");
        client.monitor("break-in 0x7777000");
        client.ask(&range);
        let passed = client.register(RIP);
        assert_ne!(passed, inside);
        client.monitor(&format!("seek {HERE}"));
        client.monitor("break-in any");
        assert!(client.ask(&range).contains("swbreak:"));
        assert_eq!(client.register(RIP), inside);
        client.monitor(&format!("seek {HERE}"));
        client.monitor("break-in here");
        assert!(client.ask(&range).contains("swbreak:"));
    });
}

#[test]
fn descriptor_tables_are_told_as_they_are_in_memory() {
    let at = Position::new(50_000, 1);
    let timeline = open(&processes(), at);
    let word = |linear: u64| {
        let mut bytes = [0; 8];
        assert_eq!(timeline.read_linear(linear, &mut bytes), 8);
        u64::from_le_bytes(bytes)
    };
    let (gdt, idt, task) = (timeline.cpu().gdtr, timeline.cpu().idtr, timeline.cpu().tr);
    talk_named(&processes(), image("process-race"), |client| {
        client.monitor(&format!("seek {at}"));
        let said = client.said("info gdt");
        assert!(said.starts_with(&format!("GDT at {:#x}, limit {:#x}\n", gdt.base, gdt.limit)), "{said}");
        // What the kit sets up: flat segments, and the task state.
        for (selector, kind) in [(0x08, "code64 execute/read"), (0x10, "data32 read/write")] {
            let low = word(gdt.base + selector);
            let limit = (low & 0xffff | low >> 32 & 0xf_0000) << 12 | 0xfff;
            assert_eq!(low >> 55 & 1, 1, "the limit is in pages");
            let accessed = if low >> 40 & 1 != 0 { " accessed" } else { "" };
            let line = format!("  {selector:#06x} base 0x0 limit {limit:#x} {kind}{accessed} DPL=0\n");
            assert!(said.contains(&line), "{line}{said}");
        }
        let low = word(gdt.base + u64::from(task.selector));
        let base = low >> 16 & 0xff_ffff | low >> 32 & 0xff00_0000;
        let line =
            format!("  {:#06x} base {base:#x} limit {:#x} TSS64 busy DPL=0\n", task.selector, low & 0xffff);
        assert!(said.contains(&line), "{line}{said}");

        let said = client.said("info idt");
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], format!("IDT at {:#x}, limit {:#x}", idt.base, idt.limit));
        let names = symbols("process-race");
        let mut gates = 0;
        for vector in 0..(u64::from(idt.limit) + 1) / 16 {
            let (low, high) = (word(idt.base + vector * 16), word(idt.base + vector * 16 + 8));
            if low == 0 && high == 0 {
                continue;
            }
            gates += 1;
            let offset = low & 0xffff | low >> 32 & 0xffff_0000 | high << 32;
            let place = names.place(offset).unwrap();
            let kind = if low >> 40 & 1 == 0 { "interrupt" } else { "trap" };
            let dpl = low >> 45 & 3;
            let selector = low >> 16 & 0xffff;
            let line = format!("  {vector:#04x} {kind} gate64 DPL={dpl} {selector:#06x}:{offset:#x} {place}");
            assert_eq!(lines[gates], line);
        }
        assert!(gates >= 48 && gates + 1 == lines.len(), "{said}");

        let said = client.said("info tss");
        assert!(
            said.starts_with(&format!("TSS {:#x} at {:#x}, limit 0x", task.selector, task.base)),
            "{said}"
        );
        assert!(said.contains(&format!("\n  RSP0          {:#x}", word(task.base + 4))), "{said}");
        assert_eq!(client.said("info ldt"), "there is no LDT: LDTR is 0x0\n");
        let cpu = client.said("info cpu");
        let (cr0, cr3) = (timeline.cpu().cr0, timeline.cpu().cr3);
        for line in [
            format!("CR0     {cr0:#x}: PE MP ET WP PG\n"),
            format!("CR3     {cr3:#x}: tables at {cr3:#x}, -\n"),
            format!("IA32_LSTAR           {:#x} process_race::syscall_entry+0x0", timeline.cpu().lstar),
        ] {
            assert!(cpu.contains(&line), "{line}{cpu}");
        }
    });
}

#[test]
fn mapped_ranges_are_those_of_the_guest_s_page_tables() {
    let at = Position::new(50_000, 1);
    let timeline = open(&processes(), at);
    client::talk_about(&processes(), |client| {
        client.monitor(&format!("seek {at}"));
        let said = client.said("info pagetable");
        let mut lines = said.lines();
        assert_eq!(lines.next().unwrap(), format!("CR3 {:#x}", timeline.cpu().cr3));
        let mut mapped = Vec::new();
        for line in lines.clone().filter(|line| line.starts_with("0x")) {
            let (range, rest) = line.split_once(' ').unwrap();
            let (first, last) = range.split_once('-').unwrap();
            let [first, last] = [first, last].map(|text| u64::from_str_radix(&text[2..], 16).unwrap());
            let gpa = rest
                .split_once("physical 0x")
                .map(|(_, rest)| u64::from_str_radix(rest.split_once(',').unwrap().0, 16).unwrap());
            let walked = [first, last].map(|linear| timeline.walk_tables(linear).unwrap());
            if let Some(gpa) = gpa {
                assert_eq!(walked, [gpa, gpa + (last - first)], "{line}");
            }
            mapped.push((first, last, gpa));
        }
        assert_eq!(mapped.len(), 4, "{said}");
        assert_eq!(said.lines().last().unwrap(), format!("{} ranges from 0x0", mapped.len()));
        // Every page of the first two GiB is in a range if the walk finds it, and in none if not.
        for page in (0..2_u64 << 30).step_by(4096) {
            let range = mapped.iter().find(|(first, last, _)| (first..=last).contains(&&page));
            match (timeline.walk_tables(page), range) {
                (Ok(gpa), Some((first, _, Some(start)))) => assert_eq!(gpa, start + (page - first)),
                (Ok(_), Some(_)) | (Err(_), None) => {}
                (walked, range) => panic!("{page:#x}: {walked:?}, {range:x?}"),
            }
        }
        // From the second on, and the walk to one address.
        let second = mapped[1].0;
        let said = client.said(&format!("info pagetable {second:#x}.."));
        assert!(said.lines().nth(1).unwrap().starts_with(&format!("{second:#018x}-")), "{said}");
        let said = client.said(&format!("info pagetable {second:#x}"));
        assert!(said.contains(&format!(
            "{second:#x} is physical {:#x}, in a page of ",
            timeline.walk_tables(second).unwrap()
        )));
    })
    .unwrap();
    talk(|client| {
        client.monitor("seek begin");
        assert_eq!(client.said("info pagetable"), "paging is off: linear addresses are physical\n");
        assert!(client.said("info tss").starts_with("there is no task"));
    });
}

#[test]
fn help_is_in_groups_and_unknown_words_have_neighbours() {
    talk(|client| {
        let help = client.said("help");
        assert_eq!(help, client.said(""));
        let titles: Vec<&str> = help.lines().filter(|line| line.ends_with(':')).collect();
        assert_eq!(titles.len(), 5, "{help}");
        let about = client.said("help break-in");
        assert!(
            about.contains("  monitor break-in here|CR3 [ADDR]") && about.contains("page-table isolation"),
            "{about}"
        );
        assert_eq!(client.said("hel wri"), client.said("help writes"));
        assert_eq!(client.said("infoo pic"), "there is no command `infoo`, but `info`: see `monitor help`\n");
        assert!(client.said("info").starts_with("info pic|apic|"));
        assert!(client.said("m x").starts_with("`m` may be mark, marks"));
    });
}

#[test]
fn devices_are_as_the_guest_has_set_them_up() {
    let timeline = open(&recording(), HERE);
    let seconds = timeline.opened().inputs().power_on_clock().unwrap() % 86_400;
    let deadline = timeline.machine().platform.devices.next_deadline().unwrap().1;
    talk(|client| {
        client.monitor(&format!("seek {HERE}"));
        assert_eq!(
            client.said("info pic"),
            "8259A pair, INT is low\n\
             first: IRQ 0 to 7, vectors 0x20 to 0x27\n\
             \u{20} IRR 0x00 ISR 0x00 IMR 0xfe lines 0x01 level-triggered 0x00\n\
             \u{20} requested   -\n\
             \u{20} in service  -\n\
             \u{20} not masked  IRQ 0\n\
             \u{20} next        -\n\
             \u{20} lowest      IRQ 7\n\
             second: IRQ 8 to 15, vectors 0x28 to 0x2f\n\
             \u{20} IRR 0x00 ISR 0x00 IMR 0xff lines 0x00 level-triggered 0x00\n\
             \u{20} requested   -\n\
             \u{20} in service  -\n\
             \u{20} not masked  -\n\
             \u{20} next        -\n\
             \u{20} lowest      IRQ 15\n"
        );
        assert_eq!(
            client.said("info ioapic"),
            "I/O APIC at 0xfec00000, ID 0\n\
             \u{20} pin 2  vector 0x00 fixed, edge, active high, to physical 0x0, masked, line high\n\
             \u{20} 23 pins masked and low\n"
        );
        let apic = client.said("info apic");
        assert!(apic.starts_with("local APIC 0, xAPIC mode, registers at 0xfee00000\n"), "{apic}");
        assert!(apic.contains("\n  LVT LINT0       0x00700: vector 0x00 ExtINT\n"), "{apic}");
        let pit = client.said("info pit");
        let counts = "  channel 0: mode 2, rate generator, binary, two bytes, reload 119, count ";
        assert!(pit.lines().nth(1).unwrap().starts_with(counts), "{pit}");
        assert!(pit.contains(", 10026.739 Hz, gate high, output high\n"), "{pit}");
        assert!(
            pit.contains(&format!(
                "\n  IRQ 0 is high, rises next in {} ns, at {deadline} ns",
                deadline - HERE.tick * 10
            )),
            "{pit}"
        );
        let clock = client.said("info rtc");
        let (hours, minutes, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        assert!(
            clock.lines().next().unwrap().ends_with(&format!(" {hours:02}:{minutes:02}:{second:02}")),
            "{clock}"
        );
        assert_eq!(
            client.said("info uart"),
            "16550A at 0x3f8, IRQ 4 is low\n\
             \u{20} divisor 1 (115200 baud), LCR 0x03: 8N1\n\
             \u{20} IER 0x00: -\n\
             \u{20} MCR 0x03: DTR RTS\n\
             \u{20} FIFOs on, SCR 0x00\n\
             \u{20} 0 bytes received: \"\"\n"
        );
    });
}

/// The same as asking, of a client that acknowledges each packet as gdb does.
fn heard(client: &mut Client, body: &str) -> String {
    let reply = client.ask(body);
    client.0.write_all(b"++").unwrap();
    reply
}

#[test]
fn who_gives_up_an_answer_finds_the_machine_where_it_was() {
    let mut image = vec![
        0x66, 0xb9, 0, 0, 0, 0x7f, // mov ecx, 0x7f000000
        0x66, 0x49, // again: dec ecx
        0x75, 0xfc, // jnz again
        0xf4, // hlt
    ];
    image.resize(510, 0);
    image.extend([0x55, 0xaa]);
    let (_folder, path) = record(image, 4_000_000);
    let command = |line: &str| {
        let hex: String = line.bytes().map(|byte| format!("{byte:02x}")).collect();
        format!("qRcmd,{hex}")
    };
    client::talk_about(&path, |client| {
        client.0.write_all(b"+").unwrap();
        assert_eq!(heard(client, &command("seek 1000")), "OK");
        let before = heard(client, "g");
        // As gdb does at Ctrl-C: it does not wait, and some day it asks something else.
        client.send(&command("seek 3999000"));
        let mut acknowledged = [0];
        client.0.read_exact(&mut acknowledged).unwrap();
        assert_eq!(&acknowledged, b"+", "the command has come, and is not sent again");
        client.send("g");
        assert_eq!(client.reply(), "OK", "the answer that nobody waits for");
        assert_eq!(client.reply(), before);
        client.0.write_all(b"+++").unwrap();
        // The answer has come, and is not read.
        assert_eq!(client.ask(&command("seek 2000")), "OK");
        assert_eq!(heard(client, "g"), before);
        assert_eq!(heard(client, &command("seek 2000")), "OK");
        assert_ne!(heard(client, "g"), before);
        // What waits long asks again.
        client.0.write_all(b"---").unwrap();
        assert!(heard(client, &command("when")) == "OK" && stands_at(client) == Position::new(2000, 0));
    })
    .unwrap();
}
