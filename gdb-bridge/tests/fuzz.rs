//! The short form of the fuzz target `packets`: streams of valid, damaged and random packets from a seed. No stream may
//! make the server panic, hang or answer without end, and after each the machine stands in the state of its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod client;
/// A client that sends anything.
mod exercise;

use client::packet;
use exercise::Exercise;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

const STREAMS: usize = 2000;

/// Packets that gdb sends, for mutation.
const SEEDS: &[&str] = &[
    "qSupported:multiprocess+;swbreak+;hwbreak+;xmlRegisters=i386",
    "vMustReplyEmpty",
    "Hg0",
    "Hc-1",
    "qXfer:features:read:target.xml:0,ffb",
    "qTStatus",
    "?",
    "qfThreadInfo",
    "qsThreadInfo",
    "qC",
    "qAttached",
    "qOffsets",
    "g",
    "p10",
    "p39",
    "P10=0000000000000000",
    "m0,40",
    "mfff0,ffffffff",
    "mffffffffffffff00,100",
    "M1000,2:0102",
    "X1000,0:",
    "Z0,100000,1",
    "z0,100000,1",
    "Z1,100000,1",
    "Z2,200000,8",
    "Z4,1fffff,ffffffff",
    "z2,200000,8",
    "vCont?",
    "vCont;s:1",
    "vCont;c:1",
    "vCont;r100000,200000:1",
    "vCont;C05:p1.-1",
    "c",
    "s",
    "bs",
    "bc",
    "qRcmd,7768656e",
    "qRcmd,7365656b20656e64",
    "qRcmd,7365656b202d33",
    "qRcmd,70687973206f6e",
    "qRcmd,6d61726b2078",
    "qRcmd,6c6173742d777269746520307831303030303020313030", // last-write 0x100000 100
    "qRcmd,777269746573203078313030303030203420312e2e32303030", // writes 0x100000 4 1..2000
    "qRcmd,65786974732035",
    "qRcmd,636f6e736f6c65",
    "qRcmd,646966662031303030", // diff 1000
    "vFile:open:2f,0,0",
    "vFile:setfs:0",
    "vFile:open:2f67756573742e656c66,0,0",
    "vFile:fstat:3",
    "vFile:pread:3,4000,0",
    "vFile:close:3",
    "qXfer:exec-file:read:1:0,100",
    "qThreadExtraInfo,p1.1",
    "qRcmd,617263682069333836", // arch i386
    "QStartNoAckMode",
    "T1",
    "vKill;1",
    "D;1",
    "k",
    "R00",
    "!",
    "qSymbol::",
    "qSearch:memory:0;1000;00",
    "qCRC:0,1000",
    "jThreadsInfo",
    "QPassSignals:e;10",
    "x0,20",
];

/// A stream of packets, most of them damaged in some way.
fn garbage(random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut below = |limit: usize| (random.next_u64() % limit as u64) as usize;
    let mut stream = Vec::new();
    for _ in 0..1 + below(24) {
        let mut body = SEEDS[below(SEEDS.len())].as_bytes().to_vec();
        for _ in 0..below(4) {
            let at = below(body.len() + 1);
            match below(5) {
                0 if at < body.len() => body[at] = below(256) as u8,
                1 => body.insert(at, b"0f,;:-.+x}*"[below(11)]),
                2 if at < body.len() => drop(body.remove(at)),
                3 => body.truncate(at),
                _ => body.extend_from_within(at / 2..at),
            }
        }
        match below(40) {
            0 => stream.extend(body),
            1 => stream.extend([b"$", &body[..], b"#zz"].concat()),
            2 => stream.extend(std::iter::repeat_n(b'0', 80_000)),
            3 => stream.push(0x03),
            4 => stream.push(b'+'),
            // A number too long for any register, in as many digits as a packet holds.
            5 => stream.extend(packet(&[&b"m"[..], &[b'0'; 64_000], b"fffffffffffffff0,ffffffff"].concat())),
            _ => stream.extend(packet(&body)),
        }
    }
    stream
}

#[test]
fn whatever_a_client_sends_its_session_ends_and_the_machine_stands_where_it_can() {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let mut exercise = Exercise::new();
    for round in 0..STREAMS {
        let stream = garbage(&mut random);
        // In pieces, now and then of one byte.
        let length = [1, 7, 64, 4096, usize::MAX][round % 5];
        exercise.serve(&stream.chunks(length).collect::<Vec<_>>());
    }
}

#[test]
fn lines_become_packets() {
    assert_eq!(exercise::packets(b"OK\n\0+"), [b"$OK#9a".to_vec(), b"+".to_vec()]);
}
