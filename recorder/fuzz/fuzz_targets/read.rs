//! Reads arbitrary bytes as a recording, as they are and with their checksums made right.
//!
//! `cargo +nightly fuzz run read` in the folder `recorder`; `cp tests/golden/*.rvm fuzz/corpus/read/` makes a start.
#![no_main]

#[path = "../../tests/common/exercise.rs"]
mod exercise;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    let _ = exercise::exercise(bytes.clone());
    exercise::reseal(&mut bytes);
    let _ = exercise::exercise(bytes);
});
