//! Hunts and recordings of random seeds under random options, each replayed. Short here; the long form is
//!
//! ```text
//! REPLAYVM_SOAK=1 cargo test --release -p replayvm-tests --test soak -- --nocapture
//! ```
//!
//! which goes on for 2,000 rounds from a seed of its own. `REPLAYVM_SOAK_ROUNDS` and `REPLAYVM_SOAK_SEED` choose others;
//! a failure prints both the round and the seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use recorder::Position;
use replayvm_tests::random::Random;
use replayvm_tests::{end_of, folder, info, path_text, record, replay_end, replayvm};

const SHORT_ROUNDS: u64 = 30;
const LONG_ROUNDS: u64 = 2_000;

fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Records a random guest with random options.
fn random_recording(random: &mut Random, file: &Path) {
    let guests = corpora::all();
    let guest = &guests[random.below(guests.len() as u64) as usize];
    let seed = random.number().to_string();
    if random.below(4) == 0 {
        // A hunt of a few seeds; most find nothing, and then the last of them is recorded.
        let from = random.below(1 << 40);
        let seeds = format!("{from}..{}", from + 1 + random.below(8));
        let hunt = ["hunt", guest.name, "--seeds", &seeds, "--output", path_text(file)];
        if replayvm(hunt).run().status.code() == Some(1) {
            return;
        }
    }
    let mut one_of = |choices: &[&'static str]| choices[random.below(choices.len() as u64) as usize];
    let options = [
        "--seed",
        &seed,
        "--checkpoint-every",
        one_of(&["997", "10000", "250000", "100000000"]),
        "--timer-delay",
        one_of(&["0", "1", "20000", "500000"]),
        "--interrupt-hold",
        one_of(&["0", "1", "64", "5000"]),
        "--memory",
        one_of(&["16M", "64M", "300M"]),
        // Most guests end long before the last of these.
        "--limit",
        one_of(&["1", "30000", "1000000"]),
    ];
    let recorded = record(guest.name, file, &options);
    assert!(matches!(recorded.status.code(), Some(0 | 1)), "{recorded}");
}

#[test]
fn random_runs_replay_to_their_ends_and_to_any_place_between() {
    let long = std::env::var_os("REPLAYVM_SOAK").is_some();
    let rounds = number_from_environment("REPLAYVM_SOAK_ROUNDS").unwrap_or(if long {
        LONG_ROUNDS
    } else {
        SHORT_ROUNDS
    });
    // The long form is to see something new each time.
    let fresh = || u64::from(std::process::id()) << 20;
    let seed =
        number_from_environment("REPLAYVM_SOAK_SEED").unwrap_or_else(|| if long { fresh() } else { 1 });
    let folder = folder();
    let file = folder.path().join("run.rvm");
    for round in 0..rounds {
        // Shown when the test fails.
        println!("round {round} of REPLAYVM_SOAK_SEED={seed}");
        let mut random = Random::new(seed.wrapping_add(round));
        random_recording(&mut random, &file);
        let end = end_of(&info(&file));
        let replayed = replayvm(["replay", path_text(&file)]).run().exits(0);
        assert_eq!(replay_end(&replayed), end, "{replayed}");

        let between =
            Position::new(random.below(end.position.tick + 1), random.below(40) as u32).min(end.position);
        let to = |goal: Position| {
            replay_end(&replayvm(["replay", path_text(&file), "--to", &goal.to_string()]).run().exits(0))
        };
        let reached = to(between);
        assert!(reached.position >= between && reached.position <= end.position, "{between}: {reached:?}");
        assert_eq!(to(reached.position), reached, "{between}");
    }
}
