//! gdb's remote protocol, packet by packet, over a pair of sockets: what gdb relies on, and what a broken or hostile client
//! may send.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "what takes too long has failed")]

mod client;

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use client::{Client, Made, record, recording, talk, talk_about, talk_with, unhex};
use gdb_bridge::architecture::Architecture;
use gdb_bridge::description::target_xml;
use gdb_bridge::registers::total_bytes;
use gdb_bridge::{Goodbye, GuestSymbols, ServeOptions, SessionError};
use recorder::{ExitKind, Position};
use replayvm::machine::ExitFilter;
use replayvm::timeline::{Reason, Stops, Timeline, unsupervised};

/// A recording that takes a while to go through: a boot sector that counts down.
fn long_recording() -> PathBuf {
    static MADE: OnceLock<Made> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let mut image = vec![
            0x66, 0xb9, 0, 0, 0, 0x7f, // mov ecx, 0x7f000000
            0x66, 0xff, 0x06, 0, 0x80, // again: inc dword [0x8000]
            0x66, 0x49, // dec ecx
            0x75, 0xf7, // jnz again
            0xf4, // hlt
        ];
        image.resize(510, 0);
        image.extend([0x55, 0xaa]);
        record(image, 6_000_000)
    });
    made.1.clone()
}

const RSP: usize = 7;
const RIP: usize = 16;

/// The target description, in pieces.
fn description(client: &mut Client) -> String {
    let mut xml = String::new();
    loop {
        let piece = client.ask(&format!("qXfer:features:read:target.xml:{:x},400", xml.len()));
        match piece.split_at(1) {
            ("m", text) => xml.push_str(text),
            ("l", text) => {
                xml.push_str(text);
                return xml;
            }
            _ => panic!("{piece}"),
        }
    }
}

/// Bytes of the `g` packet.
fn register_bytes(client: &mut Client) -> usize {
    client.ask("g").len() / 2
}

#[test]
fn the_description_is_of_the_guest_s_mode_and_registers_follow_it_when_it_is_read() {
    const WIDE: Architecture = Architecture::X86_64;
    const NARROW: Architecture = Architecture::I386;
    talk(|client| {
        assert!(client.ask("qSupported:swbreak+;xmlRegisters=i386").contains("ReverseStep+;"));
        // The guest begins in 32-bit code. A client that reads no description is shown 64-bit code, as ever.
        assert_eq!(register_bytes(client), total_bytes(WIDE));
        assert_eq!(description(client), target_xml(NARROW));
        assert_eq!(register_bytes(client), total_bytes(NARROW));
        let eip = client.register(8);
        assert!(client.ask("p999").starts_with('E'));

        client.monitor("seek 200000");
        assert_eq!(register_bytes(client), total_bytes(NARROW));
        assert!(client.said("arch").contains("64-bit code; gdb is shown i386;"));
        assert_eq!(description(client), target_xml(WIDE));
        assert_eq!(register_bytes(client), total_bytes(WIDE));

        client.monitor("seek begin");
        assert_eq!(client.register(RIP), eip);
        client.said("arch i8086");
        assert_eq!(register_bytes(client), total_bytes(WIDE));
        assert_eq!(description(client), target_xml(Architecture::I8086));
        assert_eq!(client.register(8), eip);
        assert_eq!(client.ask("qXfer:features:read:other.xml:0,400"), "E02");
        assert!(client.said("arch 80286").contains("`arch` is used otherwise"));
    });
}

#[test]
fn the_guest_s_file_is_read_and_no_other() {
    let image = corpora::find("lost-update").unwrap().image;
    let symbols = Arc::new(GuestSymbols::new(image.to_vec(), None));
    talk_with(&recording(), ServeOptions { symbols, ..ServeOptions::default() }, |client| {
        let supported = client.ask("qSupported:multiprocess+");
        assert!(supported.contains("qXfer:exec-file:read+"), "{supported}");
        let path = client.ask("qXfer:exec-file:read:1:0,100");
        let hex: String = path[1..].bytes().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(client.ask(&format!("qXfer:exec-file:read:1:{:x},100", path.len() - 1)), "l");
        let passwords: String = "/etc/passwd".bytes().map(|byte| format!("{byte:02x}")).collect();

        assert_eq!(client.ask("vFile:setfs:0"), "F0");
        assert_eq!(client.ask(&format!("vFile:open:{passwords},0,0")), "F-1,02");
        assert_eq!(client.ask(&format!("vFile:open:{hex},2,0")), "F-1,1e");
        assert_eq!(client.ask(&format!("vFile:open:{hex},601,1b6")), "F-1,1e");
        assert_eq!(client.ask("vFile:pread:3,10,0"), "F-1,09");
        assert_eq!(client.ask(&format!("vFile:open:{hex},0,0")), "F03");
        let stat = client.ask("vFile:fstat:3");
        assert!(stat.starts_with("F40;"), "{stat}");
        let head = client.ask("vFile:pread:3,4,0");
        assert_eq!(head, "F04;\u{7f}ELF");
        assert_eq!(client.ask(&format!("vFile:pread:3,10,{:x}", image.len())), "F00;");
        assert_eq!(client.ask("vFile:pread:3,10,ffffffffffffffff"), "F00;");
        assert_eq!(client.ask("vFile:pread:0,10,0"), "F-1,09");
        assert_eq!(client.ask("vFile:unlink:2f"), "");
        assert_eq!(client.ask("vFile:pwrite:3,0,x"), "");
        assert_eq!(client.ask("vFile:close:3"), "F0");
        assert_eq!(client.ask("vFile:close:3"), "F-1,09");
        // It runs where the file says.
        assert_eq!(client.ask("qOffsets"), "");
        // The file is of 64-bit code, and so is what gdb is shown beside it.
        assert_eq!(description(client), target_xml(Architecture::X86_64));
        assert_eq!(description(client), target_xml(Architecture::I386));
    });
    // Without a file there is nothing to ask for.
    talk(|client| {
        assert!(!client.ask("qSupported:multiprocess+").contains("exec-file"));
        assert_eq!(client.ask(&format!("vFile:open:{},0,0", "2f")), "");
    });
}

#[test]
fn the_only_thread_says_where_the_processor_is() {
    talk(|client| {
        assert_eq!(client.ask("qfThreadInfo"), "m01");
        client.monitor("seek 200000");
        let name = unhex(&client.ask("qThreadExtraInfo,1"));
        let name = String::from_utf8(name).unwrap();
        let address = name.strip_prefix("vCPU 0: ring 0, 64-bit, CR3 0x").expect(&name);
        assert_ne!(u64::from_str_radix(address, 16), Ok(0));
        client.monitor("seek begin");
        let name = String::from_utf8(unhex(&client.ask("qThreadExtraInfo,1"))).unwrap();
        assert!(name.starts_with("vCPU 0: ring 0, 32-bit, CR3 0x"), "{name}");
    });
}

#[test]
fn an_action_for_the_thread_alone_is_done_as_one_for_all() {
    talk(|client| {
        let before = client.ask("g");
        // With the other threads held, of which there are none.
        assert!(client.ask("vCont;s:1").starts_with("T05"));
        let after = client.ask("g");
        assert_ne!(before, after);
        assert!(client.ask("bs").starts_with("T05"));
        assert!(client.ask("vCont;s:1;c").starts_with("T05"));
        assert_eq!(client.ask("g"), after);
        assert!(client.ask("vCont;c:1").contains("replaylog:end"));
    });
}

#[test]
fn steps_back_undo_steps_forward() {
    talk(|client| {
        let mut before = Vec::new();
        for _ in 0..20 {
            before.push(client.ask("g"));
            assert!(client.ask("vCont;s:p1.1").starts_with("T05"));
        }
        while let Some(registers) = before.pop() {
            assert!(client.ask("bs").starts_with("T05"));
            assert_eq!(client.ask("g"), registers);
        }
        assert!(client.ask("bs").contains("replaylog:begin"));
        assert!(client.ask("bc").contains("replaylog:begin"));
    });
}

#[test]
fn the_recording_cannot_be_changed() {
    let goodbye = talk_about(&recording(), |client| {
        let registers = client.ask("g");
        let refused = client.ask("P10=0000000000000000");
        assert!(refused.starts_with("E.this is a recording"), "{refused}");
        assert!(client.ask(&format!("G{registers}")).starts_with("E."));
        let rip = client.register(RIP);
        let bytes = client.ask(&format!("m{rip:x},4"));
        assert!(client.ask(&format!("M{rip:x},4:00000000")).starts_with("E."));
        assert!(client.ask(&format!("X{rip:x},0:")).starts_with("E."));
        assert_eq!(client.ask(&format!("m{rip:x},4")), bytes);
        assert_eq!(client.ask("g"), registers);
        assert_eq!(client.ask("D"), "OK");
    });
    assert_eq!(goodbye.unwrap(), Goodbye::Detached);
}

#[test]
fn memory_that_is_not_there_is_an_error_and_what_is_there_before_it_is_read() {
    talk(|client| {
        client.monitor("seek 200000");
        assert_eq!(client.ask("mffff800000000000,8"), "E0e");
        assert_eq!(client.monitor("phys on"), "OK");
        assert_eq!(client.ask("mfffffc,8").len(), 8);
        assert_eq!(client.ask("m1000000,8"), "E0e");
        assert_eq!(client.ask("mffffffffffffffff,1"), "E0e");
        // More than any packet may ask for is refused, however it is put.
        assert_eq!(client.ask("m0,10").len(), 32);
        assert!(client.ask("m0,ffffffffffffffff").ends_with("E07"));
    });
}

#[test]
fn a_breakpoint_is_met_from_both_sides() {
    talk(|client| {
        client.monitor("seek 200000");
        let here = client.register(RIP);
        assert_eq!(client.ask(&format!("Z0,{here:x},1")), "OK");
        let stop = client.ask("bc");
        assert!(stop.contains("swbreak:"), "{stop}");
        assert_eq!(client.register(RIP), here);
        let position = client.ask("g");
        assert!(client.ask("c").contains("swbreak:"));
        assert_eq!(client.register(RIP), here);
        assert!(client.ask("bc").contains("swbreak:"));
        assert_eq!(client.ask("g"), position);
        assert_eq!(client.ask(&format!("z0,{here:x},1")), "OK");
        assert!(client.ask("c").contains("replaylog:end"));
        assert!(client.ask("s").contains("replaylog:end"));
    });
}

#[test]
fn a_watchpoint_is_named_by_its_linear_address_on_every_way_to_stop() {
    talk(|client| {
        client.monitor("seek 200000");
        // Something on the stack is written soon.
        let stack = client.register(RSP) - 64;
        assert_eq!(client.ask(&format!("Z2,{stack:x},80")), "OK");
        let forward = client.ask("c");
        assert!(forward.contains(&format!("watch:{stack:x};")), "{forward}");
        let after = client.ask("g");
        let undone = client.ask("bs");
        assert!(undone.contains(&format!("watch:{stack:x};")), "{undone}");
        let before = client.ask("g");
        let stepped = client.ask("s");
        assert!(stepped.contains(&format!("watch:{stack:x};")), "{stepped}");
        assert_eq!(client.ask("g"), after);
        let back = client.ask("bc");
        assert!(back.contains(&format!("watch:{stack:x};")), "{back}");
        assert_eq!(client.ask("g"), before);
        assert_eq!(client.ask(&format!("z2,{stack:x},80")), "OK");
        assert_eq!(client.ask("Z2,ffff800000000000,8"), "E0e");
        assert_eq!(client.ask(&format!("Z2,{stack:x},0")), "E07");
    });
}

#[test]
fn ctrl_c_stops_a_long_run_soon() {
    let goodbye = talk_about(&long_recording(), |client| {
        client.monitor("seek end");
        // With nothing to stop on there would be no long way back.
        assert_eq!(client.ask("Z0,dead0000,1"), "OK");
        for run in ["bc", "c", "vCont;r0,10000:1"] {
            if run == "c" {
                client.monitor("seek begin");
            }
            client.send(run);
            client.0.write_all(b"\x03").unwrap();
            let sent = Instant::now();
            let stop = client.reply();
            assert!(stop.starts_with("T02"), "{run}: {stop}");
            // Some ten milliseconds where the software CPU is optimised and the host has nothing else to do.
            assert!(sent.elapsed() < Duration::from_secs(1), "{run}: {:?}", sent.elapsed());
        }
        // One that comes between two runs, while gdb looks whether a condition holds and steps on, stops the second. Steps
        // are not what it was meant for.
        client.0.write_all(b"\x03").unwrap();
        assert!(client.ask("s").starts_with("T05"));
        let registers = client.ask("g");
        assert!(client.ask("bc").starts_with("T02"));
        assert_eq!(client.ask("g"), registers);
        assert!(client.ask("bc").contains("replaylog:begin"));
    });
    assert_eq!(goodbye.unwrap(), Goodbye::Gone);
}

/// Where the fifth interrupt is taken.
fn an_interrupt() -> Position {
    let mut timeline = Timeline::open(&recording()).unwrap();
    let stops = Stops { exits: ExitFilter::NONE.with(ExitKind::Interrupt), ..Stops::default() };
    let mut at = Position::START;
    for _ in 0..5 {
        let landing = timeline.run_forward(&stops, &mut unsupervised()).unwrap();
        let Reason::Exit(position, _) = landing.reason else { panic!("{landing:?}") };
        at = position;
    }
    at
}

#[test]
fn stepping_through_a_range_goes_over_interrupts_and_single_steps_do_not() {
    let at = an_interrupt();
    talk(|client| {
        client.monitor(&format!("seek {at}"));
        let (interrupted, stack, registers) = (client.register(RIP), client.register(RSP), client.ask("g"));
        assert!(client.ask("s").starts_with("T05"));
        let handler = client.register(RIP);
        assert!(handler.abs_diff(interrupted) > 0x40, "{interrupted:#x} {handler:#x}");
        assert!(client.ask("bs").starts_with("T05"));
        assert_eq!(client.ask("g"), registers);

        // Out of the range at once, but past the whole handler: where the program was interrupted.
        let range = format!("vCont;r{interrupted:x},{interrupted:x}:1");
        assert!(client.ask(&range).starts_with("T05"));
        assert_eq!((client.register(RIP), client.register(RSP)), (interrupted, stack));
        assert_ne!(client.ask("g"), registers, "time has passed");

        // A breakpoint in the handler is met all the same.
        client.monitor(&format!("seek {at}"));
        assert_eq!(client.ask(&format!("Z0,{handler:x},1")), "OK");
        assert!(client.ask(&range).contains("swbreak"));
        assert_eq!(client.register(RIP), handler);
    });
}

#[test]
fn a_client_that_goes_in_the_middle_of_a_run_ends_its_session() {
    let goodbye = talk_about(&recording(), |client| {
        client.monitor("seek end");
        client.send("bc");
    });
    match goodbye {
        Ok(goodbye) => assert_eq!(goodbye, Goodbye::Gone),
        Err(SessionError::Connection(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn what_is_no_packet_ends_the_session_and_nothing_else() {
    for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"$g#00", b"-", b"$#00", b"$vCont;#5b", b"$Hgp-1.-1#00"] {
        let goodbye = talk_about(&recording(), |client| client.0.write_all(noise).unwrap());
        if let Ok(goodbye) = goodbye {
            assert_eq!(goodbye, Goodbye::Gone);
        }
    }
}
