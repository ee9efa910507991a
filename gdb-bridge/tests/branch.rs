//! What gdb writes, packet by packet: refused in a recording, done in a branch, gone after the return.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod client;

use std::fmt::Write;

use client::{Client, record, talk, talk_about};
use gdb_bridge::Goodbye;
use gdb_bridge::architecture::Architecture::X86_64;
use gdb_bridge::registers::{RegisterId, all};
use gdbstub::arch::RegId;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

fn number(name: &str) -> usize {
    RegisterId::by_name(X86_64, name)
        .and_then(|id| id.to_raw_id())
        .unwrap_or_else(|| panic!("no register {name}"))
}

fn bytes(name: &str) -> usize {
    RegisterId::by_name(X86_64, name).and_then(|id| id.register(X86_64)).unwrap().bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn set(client: &mut Client, name: &str, value: u128) -> String {
    client.ask(&format!("P{:x}={}", number(name), hex(&value.to_le_bytes()[..bytes(name)])))
}

fn get(client: &mut Client, name: &str) -> u64 {
    client.register(number(name))
}

#[test]
fn what_a_recording_refuses_a_branch_does_and_a_return_undoes() {
    talk(|client| {
        client.monitor("seek 200000+2");
        let stack = get(client, "rsp") - 64;
        let look = |client: &mut Client| (client.ask("g"), client.ask(&format!("m{stack:x},10")));
        let before = look(client);
        for refused in [
            set(client, "rax", 7),
            client.ask(&format!("M{stack:x},2:abcd")),
            client.ask(&format!("G{}", before.0.replacen('0', "1", 1))),
        ] {
            assert!(refused.starts_with("E.this is a recording: its registers and its memory"), "{refused}");
            assert!(refused.contains("`monitor fork`"), "{refused}");
        }
        assert!(client.said("return").starts_with("this is a recording"));
        assert!(client.said("type x").starts_with("this is a recording"));
        assert_eq!(look(client), before);

        let said = client.said("fork 9");
        assert!(
            said.starts_with("position 200000+2, the begin of the branch\nbranch of 200000+2, seed 9\n"),
            "{said}"
        );
        assert!(client.said("fork").contains("`monitor return` first"));
        assert_eq!(look(client), before);
        assert_eq!(set(client, "rax", 0x1122_3344_5566_7788), "OK");
        assert_eq!(get(client, "rax"), 0x1122_3344_5566_7788);
        assert_eq!(client.ask(&format!("M{stack:x},2:abcd")), "OK");
        assert_eq!(client.ask(&format!("X{:x},1:Z", stack + 2)), "OK");
        assert!(client.ask(&format!("m{stack:x},4")).starts_with("abcd5a"));
        let there = client.said(&format!("translate {stack:#x}"));
        let gpa = there.trim_end().rsplit(' ').next().unwrap().trim_start_matches("0x").to_owned();
        client.monitor("phys on");
        assert_eq!(client.ask(&format!("M{gpa},1:77")), "OK");
        assert_eq!(client.ask("Mfee00020,4:00000000").get(..24), Some("E.physical 0xfee00020 is"));
        client.monitor("phys off");
        assert!(client.ask(&format!("m{stack:x},4")).starts_with("77cd5a"));
        assert!(client.ask("M7fffffffffff,2:0000").contains("is not mapped"));

        // It runs live, and back.
        client.monitor("seek +50");
        assert!(client.said("when").contains("branch of 200000+2, seed 9\n"));
        assert!(client.said("exits").starts_with("this is a branch"));
        assert!(client.said("events 2").starts_with("this is a branch"));
        assert!(client.said("console").starts_with("nothing is printed between the fork at 200000+2 and"));
        assert!(
            client.said("last-write 0x1000").starts_with("no write")
                || client.said("last-write 0x1000").contains("not mapped")
        );
        client.monitor("seek begin");
        assert_eq!(get(client, "rax"), 0x1122_3344_5566_7788);

        let said = client.said("return");
        assert!(said.starts_with("position 200000+2\nvirtual time"), "{said}");
        assert_eq!(look(client), before);
    });
}

#[test]
fn registers_hold_what_the_cpu_can_hold() {
    talk(|client| {
        client.monitor("seek 200000+2");
        client.monitor("fork");
        let rip = get(client, "rip");
        for (name, value) in [
            ("rip", u128::from(rip) + 4),
            ("fs_base", 0x7fff_1234_0000),
            ("k_gs_base", 0xffff_8000_0000_0000),
            ("cr2", 0xffff_ffff_ffff_ffff),
            ("cr8", 5),
            ("mxcsr", 0x1f81),
            ("xmm3", 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
            ("st0", 0x4000_c000_0000_0000_0000),
            ("fctrl", 0x27f),
            ("gdt_limit", 0x3f),
        ] {
            assert_eq!(set(client, name, value), "OK", "{name}");
            assert_eq!(get(client, name), value as u64, "{name}");
        }
        // What cannot be written is what it was.
        assert_eq!(set(client, "eflags", 0xffc0_0000_u128 | 0x203), "OK");
        assert_eq!(get(client, "eflags"), 0x203);
        assert_eq!(set(client, "ftag", 0xffff), "OK");
        assert_eq!(get(client, "ftag"), 0xffff);
        for (name, value, words) in [
            ("rip", 1 << 63, "RIP"),
            ("fs_base", 1 << 63, "canonical"),
            ("cr0", 0x11, "no mode"),
            ("cr3", 1 << 60, "bits"),
            ("cr4", 0, "no mode"),
            ("efer", 0, "long mode"),
            ("cr8", 16, "bits"),
            ("mxcsr", 0x1_0000, "bits"),
            ("eflags", 0x2_0202, "virtual-8086"),
            ("cs", 0x33, "descriptor"),
            ("ss", 0, "descriptor"),
            ("tr", 1, "descriptor"),
            ("fop", 1, "always 0"),
            ("gdt_limit", 0x1_0000, "bits"),
        ] {
            let before = client.ask("g");
            let refused = set(client, name, value);
            assert!(refused.starts_with("E.") && refused.contains(words), "{name}: {refused}");
            assert_eq!(client.ask("g"), before, "{name}");
        }
        // All at once, with what does not change among it.
        let file = client.ask("g");
        let changed = format!("2a{}", &file[2..]);
        assert_eq!(client.ask(&format!("G{changed}")), "OK");
        assert_eq!(client.ask("g"), changed);
        // gdb puts these back after it has made the guest call a function: they are where the machine stands.
        for name in ["tick", "tick_offset", "instructions"] {
            assert_eq!(set(client, name, 1), "OK");
        }
        assert_eq!(client.ask("g"), changed);
    });
}

#[test]
fn no_register_file_that_is_accepted_makes_the_session_end() {
    talk(|client| {
        client.monitor("seek 100000");
        let names: Vec<&str> = all(X86_64).map(|register| register.name).collect();
        for round in 0..25 {
            let mut random = ChaCha8Rng::seed_from_u64(round);
            client.monitor("fork");
            for _ in 0..12 {
                let name = names[(random.next_u64() % names.len() as u64) as usize];
                let value =
                    u128::from(random.next_u64() >> (random.next_u64() % 64)) << (random.next_u64() % 32);
                let answer = set(client, name, value);
                assert!(answer == "OK" || answer.starts_with("E."), "{name}: {answer}");
            }
            let said = client.said("seek +1000");
            assert!(said.starts_with("position ") && !said.contains("failed"), "{said}");
            assert!(client.said("return").starts_with("position 100000+0\n"));
        }
    });
}

#[test]
fn what_is_typed_is_answered_and_the_console_of_a_branch_goes_back_with_it() {
    let made = record(corpora::find("echo").unwrap().image.to_vec(), 60_000);
    let goodbye = talk_about(&made.1, |client| {
        client.monitor("seek 50000");
        client.monitor("fork");
        assert_eq!(client.said(r"type hello\r"), "6 bytes wait for the guest: it gets them as it runs\n");
        client.monitor("seek 90000");
        let said = client.said("console");
        assert!(said.contains("hello\n") && said.contains("you said hello\n"), "{said}");
        client.monitor("seek begin");
        assert!(client.said("console").starts_with("nothing is printed"));
        client.monitor(r"type quit\r");
        let stopped = client.ask("vCont;c");
        assert!(stopped.contains("replaylog:end"), "{stopped}");
        let said = client.said("when");
        assert!(said.contains("the guest's run is over: exit code 0x10\n"), "{said}");
        assert!(client.said("type x").contains("the guest's run is over"));
        client.monitor("return");
        assert!(!client.said("console").contains("quit"));
    });
    assert_eq!(goodbye.unwrap(), Goodbye::Gone);
}
