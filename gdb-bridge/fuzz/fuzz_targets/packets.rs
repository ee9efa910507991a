//! A client that sends anything: lines as packets with right checksums, and the same bytes as they are.
//!
//! `cargo +nightly fuzz run packets -- -dict=fuzz/packets.dict` in the folder `gdb-bridge`. Where an input is split depends on
//! its bytes and, where something runs meanwhile, on chance.
#![no_main]

#[path = "../../tests/exercise/mod.rs"]
mod exercise;

use std::sync::{LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;

/// One for all inputs: what one leaves behind, the next finds.
static EXERCISE: LazyLock<Mutex<exercise::Exercise>> = LazyLock::new(|| Mutex::new(exercise::Exercise::new()));

fuzz_target!(|bytes: &[u8]| {
    let mut exercise = EXERCISE.lock().expect("nobody panics with it and lives");
    let packets = exercise::packets(bytes);
    exercise.serve(&packets.iter().map(Vec::as_slice).collect::<Vec<_>>());
    // As they are, in pieces of one length.
    if let Some((length, raw)) = bytes.split_first().filter(|(length, _)| length.is_multiple_of(8)) {
        exercise.serve(&raw.chunks(usize::from(*length).max(1)).collect::<Vec<_>>());
    }
});
