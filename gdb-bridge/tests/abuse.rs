//! Clients that do not behave, and those that come after them, by the server itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod client;
/// All registers in one number.
mod fingerprint;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use client::{Client, packet, recording, talk};
use gdb_bridge::{Listen, ServeError, ServeOptions, serve};
use recorder::Position;
use replayvm::timeline::{Timeline, unsupervised};

/// Whoever wants to talk to a server.
struct Street<'a> {
    socket: &'a Path,
    stop: Arc<AtomicBool>,
}

impl Street<'_> {
    fn knock(&self) -> Client {
        let stream = UnixStream::connect(self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Client(stream)
    }

    /// What the next client finds must be what a seek to there finds.
    fn next_client_finds_a_sound_cursor(&self) -> Position {
        let mut client = self.knock();
        let said = client.said("when");
        let position = said.strip_prefix("position ").unwrap().split([',', '\n']).next().unwrap();
        let position: Position = position.parse().unwrap();
        let mut truth = Timeline::open(&recording()).unwrap();
        truth.seek(position, &mut unsupervised()).unwrap();
        assert_eq!(truth.position(), position);
        assert_eq!(fingerprint::of_bytes(&client.registers()), fingerprint::of(&truth), "at {position}");
        position
    }
}

/// A server on a socket, until `then` is over.
fn while_served(then: impl FnOnce(&Street<'_>)) -> Result<(), ServeError> {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("gdb.sock");
    let stop = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (ready, is_ready) = std::sync::mpsc::channel();
        let server = scope.spawn({
            let (stop, socket) = (Arc::clone(&stop), socket.clone());
            move || {
                let mut timeline = Timeline::open(&recording()).unwrap();
                let options = ServeOptions { stop, ..ServeOptions::default() };
                serve(&mut timeline, &Listen::Unix(socket), &options, |_| ready.send(()).unwrap())
            }
        });
        is_ready.recv().unwrap();
        then(&Street { socket: &socket, stop: Arc::clone(&stop) });
        stop.store(true, Ordering::Relaxed);
        server.join().unwrap()
    })
}

#[test]
fn bytes_that_come_one_at_a_time_are_a_packet() {
    talk(|client| {
        let whole = client.ask("g");
        for byte in packet(b"g") {
            client.0.write_all(&[byte]).unwrap();
            client.0.flush().unwrap();
        }
        assert_eq!(client.reply(), whole);
        // An acknowledgement in every gap is as good as none.
        for byte in packet(b"m0,4").iter().flat_map(|byte| [*byte]) {
            client.0.write_all(&[byte]).unwrap();
        }
        client.0.write_all(b"+++").unwrap();
        assert!(!client.reply().is_empty());
        assert_eq!(client.ask("g"), whole);
    });
}

#[test]
fn what_is_garbled_moves_nothing_and_the_next_client_is_served() {
    while_served(|street| {
        let mut first = street.knock();
        first.said("seek 1000 quiet");
        drop(first);
        for garbled in
            [&b"$g#00"[..], b"-", b"$s#00", b"$bc#00", b"$#zz", b"\x03\x03\x03", b"$vCont;s", b"}}}}"]
        {
            let mut client = street.knock();
            client.0.write_all(garbled).unwrap();
            drop(client);
            assert_eq!(street.next_client_finds_a_sound_cursor(), Position::new(1000, 0), "{garbled:?}");
        }
    })
    .unwrap();
}

#[test]
fn a_client_that_vanishes_in_a_run_leaves_a_sound_cursor() {
    while_served(|street| {
        for run in ["c", "bc", "vCont;r0,ffffffffffffffff:p1.1;c:p1.-1", "bs", "c"] {
            let mut client = street.knock();
            client.said("seek 200000 quiet");
            client.send(run);
            drop(client);
            street.next_client_finds_a_sound_cursor();
        }
    })
    .unwrap();
}

#[test]
fn a_hundred_clients_that_go_at_once_keep_nobody_from_coming() {
    while_served(|street| {
        for number in 0..100 {
            let mut client = street.knock();
            if number % 3 == 0 {
                client.0.write_all(b"+$qSupported").unwrap();
            }
        }
        assert_eq!(street.next_client_finds_a_sound_cursor(), Position::START);
    })
    .unwrap();
}

#[test]
fn a_second_client_is_told_that_it_comes_too_early_and_the_first_notices_nothing() {
    while_served(|street| {
        let mut first = street.knock();
        let registers = first.ask("g");
        for _ in 0..3 {
            let mut second = street.knock();
            second.0.write_all(&packet(b"qSupported:swbreak+")).unwrap();
            let mut said = String::new();
            second.0.read_to_string(&mut said).unwrap();
            assert!(said.starts_with("+$E.another debugger is connected"), "{said}");
        }
        assert_eq!(first.ask("g"), registers);
        // And while the machine runs.
        first.said("seek 300000 quiet");
        first.send("bc");
        drop(street.knock());
        assert!(first.reply().contains("replaylog:begin"));
        drop(first);
        assert_eq!(street.next_client_finds_a_sound_cursor(), Position::START);
    })
    .unwrap();
}

#[test]
fn a_client_that_reads_nothing_does_not_keep_the_server_from_stopping() {
    while_served(|street| {
        let mut client = street.knock();
        client.said("seek 200000 quiet");
        client.said("phys on");
        // More answers than a socket holds.
        client.0.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        while client.0.write_all(&packet(b"m0,1f00")).is_ok() {}
        street.stop.store(true, Ordering::Relaxed);
    })
    .unwrap();
}
