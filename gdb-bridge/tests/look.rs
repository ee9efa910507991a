//! The commands of `monitor` that look around: what they say is what a plain forward walk over the recording sees, and the
//! machine stands where it stood.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "what takes too long has failed")]

mod client;

use std::io::Write;
use std::time::{Duration, Instant};

use client::{Client, packet, record, recording, talk, talk_about};
use gdb_bridge::Goodbye;
use recorder::{ExitKind, Position};
use replayvm::console::{Lines, printed};
use replayvm::machine::{Watch, WatchKind};
use replayvm::timeline::{Reason, Stops, Timeline, unsupervised};

const RSP: usize = 7;

/// A write that a forward walk has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    at: Position,
    rip: u64,
    old: u64,
    new: u64,
}

/// All writes to eight bytes from the begin to `to`, by single forward runs.
fn walk(gpa: u64, to: Position) -> Vec<Seen> {
    let mut timeline = Timeline::open(&recording()).unwrap();
    let stops = Stops { watches: vec![Watch { gpa, len: 8, kind: WatchKind::Write }], ..Stops::default() };
    let mut hits = Vec::new();
    while timeline.position() < to {
        let landing = timeline.run_forward(&stops, &mut unsupervised()).unwrap();
        match landing.reason {
            Reason::Watch(hit) if hit.at < to => hits.push(hit.at),
            Reason::Watch(_) | Reason::End => break,
            other => panic!("{other:?}"),
        }
    }
    // A second walk looks at each from before and after.
    let mut timeline = Timeline::open(&recording()).unwrap();
    let value = |timeline: &Timeline| {
        let mut bytes = [0; 8];
        assert_eq!(timeline.read_physical(gpa, &mut bytes), 8);
        u64::from_le_bytes(bytes)
    };
    hits.into_iter()
        .map(|at| {
            timeline.run_to(at, &mut unsupervised()).unwrap();
            assert_eq!(timeline.position(), at);
            let (rip, old) = (timeline.cpu().linear_rip(), value(&timeline));
            timeline.step_forward().unwrap();
            Seen { at, rip, old, new: value(&timeline) }
        })
        .collect()
}

/// Where a symbol-less test finds memory that is written again and again: the stack below its pointer at a place.
fn stack_at(position: Position, below: u64) -> (u64, u64) {
    let mut timeline = Timeline::open(&recording()).unwrap();
    timeline.seek(position, &mut unsupervised()).unwrap();
    let linear = (timeline.cpu().gpr[4] & !7) - below;
    (linear, timeline.translate(linear).unwrap())
}

const HERE: Position = Position::new(200_000, 2);

/// Everything gdb could see of where the machine stands, and its points.
fn state(client: &mut Client) -> (String, String, String, String) {
    let stack = client.register(RSP) - 64;
    let memory = client.ask(&format!("m{stack:x},80"));
    (client.ask("g"), memory, client.said("when"), client.said("marks"))
}

#[test]
fn the_last_write_is_the_last_one_that_a_forward_walk_sees() {
    // The first is written by calls and interrupts, the second by interrupts and what they call.
    for below in [8, 64] {
        last_write_at(below);
    }
}

fn last_write_at(below: u64) {
    let (linear, gpa) = stack_at(HERE, below);
    let truth = walk(gpa, HERE);
    assert!(truth.len() > 10, "{}", truth.len());
    talk(|client| {
        client.monitor(&format!("seek {HERE}"));
        client.monitor("mark kept");
        let before = state(client);
        let Seen { at, rip, old, new } = *truth.last().unwrap();
        let text = client.said(&format!("last-write {linear:#x}"));
        assert!(text.contains(&format!("\nposition {at}\n{rip:#x}: ")), "{text}");
        assert!(text.ends_with(&format!("at {linear:#x}: {old:#x} -> {new:#x}\n")), "{text}");
        assert_eq!(state(client), before);

        // From the write itself the one before it is the last.
        client.monitor(&format!("seek {at}"));
        let Seen { at, rip, .. } = truth[truth.len() - 2];
        let text = client.said(&format!("last-write {linear:#x} 8"));
        assert!(text.contains(&format!("\nposition {at}\n{rip:#x}: ")), "{text}");

        // By the physical address it is the same.
        client.monitor("phys on");
        let physical = client.said(&format!("last-write {gpa:#x} 8"));
        assert!(physical.contains(&format!("\nposition {at}\n{rip:#x}: ")), "{physical}");
        client.monitor("phys off");

        // At the first write there is none before.
        client.monitor(&format!("seek {}", truth[0].at));
        let text = client.said(&format!("last-write {linear:#x} 8"));
        assert!(text.starts_with("no write to 8 bytes"), "{text}");
        assert!(client.said("when").contains(&format!("position {}", truth[0].at)));
        client.monitor("seek begin");
        assert!(client.said("phys on").contains("physical"));
        assert!(client.said(&format!("last-write {gpa:#x}")).starts_with("no write"));
    });
}

#[test]
fn a_write_by_the_delivery_of_an_interrupt_is_told_from_one_by_an_instruction() {
    let (linear, gpa) = stack_at(HERE, 8);
    let timeline = Timeline::open(&recording()).unwrap();
    let exits = timeline.opened().recording().exits().map(Result::unwrap);
    let interrupts: Vec<_> =
        exits.filter(|(_, exit)| exit.kind() == ExitKind::Interrupt).map(|(at, _)| at).collect();
    let truth = walk(gpa, HERE);
    talk(|client| {
        let text = client.said(&format!("writes {linear:#x} 8 180000..{HERE}"));
        let (mut delivered, mut called) = (0, 0);
        for (line, seen) in text.lines().zip(truth.iter().filter(|seen| seen.at.tick >= 180_000)) {
            let is_interrupt = interrupts.contains(&seen.at);
            assert_eq!(line.contains("delivery of interrupt 0x20"), is_interrupt, "{line}");
            assert_eq!(line.contains(": call 0x"), !is_interrupt, "{line}");
            (delivered, called) = (delivered + u32::from(is_interrupt), called + u32::from(!is_interrupt));
        }
        assert!(delivered > 1 && called > 1, "{text}");
    });
}

#[test]
fn breakpoints_and_watchpoints_stay_as_they_are() {
    talk(|client| {
        client.monitor(&format!("seek {HERE}"));
        let stack = client.register(RSP) - 64;
        assert_eq!(client.ask(&format!("Z2,{stack:x},80")), "OK");
        let expected = client.ask("c");
        let after = client.ask("g");
        client.monitor(&format!("seek {HERE}"));
        client.said(&format!("last-write {stack:#x} 64"));
        client.said(&format!("writes {stack:#x} 64 1000..1200"));
        client.said("diff end");
        assert_eq!(client.ask("c"), expected);
        assert_eq!(client.ask("g"), after);
    });
}

#[test]
fn all_writes_between_two_positions_are_those_of_a_forward_walk() {
    let (linear, gpa) = stack_at(HERE, 8);
    let truth = walk(gpa, HERE);
    let (from, to) = (truth[truth.len() - 9].at, truth[truth.len() - 2].at);
    talk(|client| {
        client.monitor("seek 100000");
        let before = state(client);
        let text = client.said(&format!("writes {linear:#x} 8 {from}..{to}"));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 8, "{text}");
        for (line, Seen { at, rip, old, new }) in lines.iter().take(7).zip(&truth[truth.len() - 9..]) {
            assert!(line.starts_with(&format!("{:<16} {rip:#x}: ", at.to_string())), "{line}");
            assert!(line.ends_with(&format!("{linear:#x}: {old:#x} -> {new:#x}")), "{line}");
        }
        assert_eq!(lines[7], format!("7 writes from {from} to {to}"));

        // More than a hundred are cut, and the next one is named.
        let text = client.said(&format!("writes {linear:#x} 8 .."));
        assert!(truth.len() > 101, "{}", truth.len());
        assert!(text.ends_with(&format!("the first 100 writes; the next one is at {}\n", truth[100].at)));
        assert_eq!(text.lines().count(), 101);
        assert_eq!(state(client), before);
        assert!(client.said(&format!("writes {linear:#x} 8 7..6")).contains("not before"));
    });
}

#[test]
fn a_translation_is_the_one_by_the_page_tables_or_says_where_they_end() {
    let (linear, gpa) = stack_at(HERE, 8);
    talk(|client| {
        client.monitor(&format!("seek {HERE}"));
        assert_eq!(
            client.said(&format!("translate {linear:#x}")),
            format!("{linear:#x} is physical {gpa:#x}\n")
        );
        let wrong = client.said("translate 0x800000000000");
        assert!(wrong.contains("not canonical"), "{wrong}");
        let wrong = client.said("translate 0xffff800000000000");
        assert!(wrong.contains("the PML4E at physical 0x") && wrong.contains("not present"), "{wrong}");
        let wrong = client.said("last-write 0xffff800000000000");
        assert!(wrong.contains("the PML4E at physical 0x"), "{wrong}");
        client.monitor("phys on");
        assert!(client.said("last-write 0xfffffc 8").contains("not all RAM"));
        assert!(client.said("last-write 0xfffffffffffffffc 8").contains("not all RAM"));
    });
}

#[test]
fn exits_and_inputs_around_here_are_those_of_the_recording() {
    let timeline = Timeline::open(&recording()).unwrap();
    let all: Vec<_> = timeline.opened().recording().exits().map(Result::unwrap).collect();
    let events: Vec<_> = timeline.opened().recording().events().map(Result::unwrap).collect();
    let interrupts: Vec<_> = all.iter().filter(|(_, exit)| exit.kind() == ExitKind::Interrupt).collect();
    let middle = interrupts[10].0;
    talk(|client| {
        client.monitor(&format!("seek {middle}"));
        let text = client.said("exits interrupt 3");
        let places: Vec<String> = interrupts[7..13].iter().map(|(at, _)| at.to_string()).collect();
        let mut told: Vec<&str> =
            text.lines().map(|line| line[1..].split_whitespace().next().unwrap()).collect();
        assert_eq!(told.remove(3), middle.to_string(), "here comes before what is ahead: {text}");
        assert_eq!(told, places, "{text}");

        let text = client.said("exits 1000");
        assert_eq!(text.lines().count(), all.len().min(1000) + 1, "{text}");
        assert!(text.contains(&format!("  {:<20} {}", all[0].0.to_string(), all[0].1)), "{text}");

        let (applied, ahead): (Vec<_>, Vec<_>) = events.iter().partition(|(at, _)| *at <= middle);
        let text = client.said("events 4");
        let near = applied[applied.len() - 4..].iter().chain(&ahead[..4]);
        let mut told: Vec<&str> =
            text.lines().map(|line| line[1..].split_whitespace().next().unwrap()).collect();
        assert_eq!(told.remove(4), middle.to_string(), "{text}");
        assert_eq!(told, near.map(|(at, _)| at.to_string()).collect::<Vec<_>>(), "{text}");
        assert!(client.said("events 1000").starts_with("  0+0                  clock "));
        assert!(client.said("when").contains(&format!("position {middle}")));
    });
}

#[test]
fn the_console_before_here_ends_where_the_guest_has_come_to() {
    // A boot sector that prints two lines and spins.
    let mut image = vec![0xba, 0xe9, 0x00]; // mov dx, 0xe9
    for byte in b"one\ntwo\nthree" {
        image.extend([0xb0, *byte, 0xee, 0x39, 0xc0, 0x74, 0x00]); // mov al, byte; out dx, al; cmp ax, ax; jz next
    }
    image.push(0xf4);
    image.resize(510, 0);
    image.extend([0x55, 0xaa]);
    let (_folder, path) = record(image, 100_000);
    let timeline = Timeline::open(&path).unwrap();
    let lines: Vec<_> = Lines::new(printed(timeline.opened().recording())).map(Result::unwrap).collect();
    assert_eq!(lines.len(), 3);
    let inside = timeline.opened().recording().exits().map(Result::unwrap).nth(6).unwrap().0;
    let goodbye = talk_about(&path, |client| {
        assert!(client.said("console").starts_with("nothing is printed"));
        let line = |index: usize, text: &str| format!("{:<20} {text}\n", lines[index].at.to_string());
        client.monitor("seek end");
        assert_eq!(client.said("console 2"), [line(1, "two"), line(2, "three")].concat());
        // Before the third letter of the second line.
        client.monitor(&format!("seek {inside}"));
        assert_eq!(client.said("console"), [line(0, "one"), line(1, "tw")].concat());
    });
    assert_eq!(goodbye.unwrap(), Goodbye::Gone);
}

#[test]
fn a_diff_names_the_registers_and_the_pages_that_differ() {
    let there = Position::new(210_000, 0);
    let mut timeline = Timeline::open(&recording()).unwrap();
    let mut look = |at: Position| {
        timeline.seek(at, &mut unsupervised()).unwrap();
        let mut bytes = vec![0; 16 << 20];
        assert_eq!(timeline.read_physical(0, &mut bytes), bytes.len());
        (timeline.cpu().clone(), bytes)
    };
    let ((cpu, ram), (other, changed)) = (look(HERE), look(there));
    let pages = ram.chunks(4096).zip(changed.chunks(4096)).filter(|(mine, theirs)| mine != theirs).count();
    assert!(pages > 0);
    talk(|client| {
        client.monitor(&format!("seek {HERE}"));
        let before = state(client);
        let text = client.said(&format!("diff {there}"));
        assert!(text.contains(&format!("{pages} of 4096 pages of RAM differ\n")), "{text}");
        for (name, number) in [("rax", 0), ("rcx", 1), ("rdx", 2), ("rsp", 4), ("r15", 15)] {
            let line =
                format!("{name:<12} {:<34} {:#x}\n", format!("{:#x}", cpu.gpr[number]), other.gpr[number]);
            assert_eq!(text.contains(&line), cpu.gpr[number] != other.gpr[number], "{line}{text}");
        }
        assert_eq!(state(client), before);
        let text = client.said(&format!("diff {HERE}"));
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.ends_with("0 of 4096 pages of RAM differ\n"), "{text}");
    });
}

#[test]
fn ctrl_c_ends_a_long_look_and_the_machine_stands_where_it_stood() {
    let mut image = vec![
        0x66, 0xb9, 0, 0, 0, 0x7f, // mov ecx, 0x7f000000
        0x66, 0xff, 0x06, 0, 0x80, // again: inc dword [0x8000]
        0x66, 0x49, // dec ecx
        0x75, 0xf7, // jnz again
        0xf4, // hlt
    ];
    image.resize(510, 0);
    image.extend([0x55, 0xaa]);
    let (_folder, path) = record(image, 6_000_000);
    let goodbye = talk_about(&path, |client| {
        client.monitor("seek end");
        let before = (client.ask("g"), client.said("when"));
        // Nothing writes to these bytes, but to their page.
        for look in ["last-write 0x8010 8", "writes 0x8010 8 ..", "diff 2900000"] {
            let hex: String = look.bytes().map(|byte| format!("{byte:02x}")).collect();
            let command = [packet(format!("qRcmd,{hex}").as_bytes()), b"\x03".to_vec()].concat();
            client.0.write_all(&command).unwrap();
            let sent = Instant::now();
            let (reply, output) = client.reply_and_output();
            assert_eq!(reply, "OK");
            assert!(output.starts_with("interrupted"), "{look}: {output}");
            assert!(sent.elapsed() < Duration::from_secs(5), "{look}: {:?}", sent.elapsed());
            assert_eq!((client.ask("g"), client.said("when")), before, "{look}");
        }
    });
    assert_eq!(goodbye.unwrap(), Goodbye::Gone);
}
