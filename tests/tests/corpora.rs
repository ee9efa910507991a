//! The guests with real bugs, from the hunt to the replay, with the command.
//!
//! KVM steps some microseconds an instruction, so that on engines `step` and `lockstep` the larger guests are followed for a
//! part of their run only. `REPLAYVM_SOAK=1 cargo test -p replayvm-tests --test corpora` follows them to their ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use recorder::Position;
use replayvm_tests::{Ended, end_of, folder, info, path_text, record, replay_end, replayvm};
use serde_json::Value;

/// Ticks that KVM steps through of each guest in the short form.
const STEPPED_TICKS: u64 = 15_000;

/// A guest, and the first failing run of it.
struct Hunted {
    name: &'static str,
    oracle: &'static str,
    report: Value,
    text: String,
    seed: u64,
    file: PathBuf,
    end: Ended,
}

/// Does something for each guest, two at a time.
fn for_each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut results = Vec::new();
        while let index = next.fetch_add(1, Ordering::Relaxed)
            && let Some(item) = items.get(index)
        {
            results.push((index, work(item)));
        }
        results
    };
    let mut results = std::thread::scope(|scope| {
        let other = scope.spawn(worker);
        let mut results = worker();
        results.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        results
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Every guest, hunted down once for all tests. The files stay in the target folder, the same at every run.
fn hunted() -> &'static [Hunted] {
    static DONE: OnceLock<Vec<Hunted>> = OnceLock::new();
    DONE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("corpora");
        fs::create_dir_all(&folder).unwrap();
        for_each(corpora::all(), |guest| {
            let file = folder.join(guest.name).with_extension("rvm");
            let _ = fs::remove_file(&file);
            let hunt = ["hunt", guest.name, "--seeds", "0..400", "--jobs", "2", "--output", path_text(&file)];
            let report = replayvm(hunt.iter().chain(&["--json"])).run().exits(1).json();
            assert!(file.exists(), "{report}");
            let seed = report["first_failure"]["seed"].as_u64().unwrap();
            // That seed once more in words, into the same place.
            let seeds = format!("{seed}..{}", seed + 1);
            let hunt = ["hunt", guest.name, "--seeds", &seeds, "--output", path_text(&file)];
            let text = replayvm(hunt).run().exits(1).stdout;
            let end = end_of(&info(&file));
            Hunted { name: guest.name, oracle: guest.oracle, report, text, seed, file, end }
        })
    })
}

#[test]
fn every_guest_fails_for_some_seed_and_says_what_it_found() {
    for Hunted { name, oracle, report, text, seed, end, .. } in hunted() {
        let found = &report["first_failure"];
        assert_eq!(found["passed"], false, "{name}");
        assert_eq!(found["reason"], format!("exit code {:#x}", corpora::FAIL), "{name}: {oracle}");
        assert_eq!(found["position"], end.position.to_string(), "{name}");
        assert_eq!(found["digest"], end.digest, "{name}");
        let said = found["console"].as_str().unwrap();
        assert!(said.starts_with(&format!("{name}: FAIL ")), "{name}: {said}");
        assert!(text.contains(&format!("\nseed {seed} FAILED: ")), "{text}");
        assert!(text.contains(&format!("\n  | {}\n", said.trim_end())), "{text}");
    }
}

#[test]
fn a_failing_recording_replays_to_its_recorded_end_every_time() {
    for_each(hunted(), |Hunted { name, file, end, .. }| {
        for _ in 0..2 {
            let replayed = replayvm(["replay", path_text(file)]).run().exits(0);
            assert_eq!(&replay_end(&replayed), end, "{name}");
            assert!(replayed.stdout.contains("exit code 0x11"), "{replayed}");
        }
    });
}

#[test]
fn the_same_guest_and_seed_make_the_same_file_every_time() {
    let folder = folder();
    for_each(hunted(), |Hunted { name, seed, file, end, .. }| {
        let again = folder.path().join(name);
        record(name, &again, &["--seed", &seed.to_string()]).exits(1);
        assert_eq!(&end_of(&info(&again)), end, "{name}");
        assert!(fs::read(&again).unwrap() == fs::read(file).unwrap(), "{name}: seed {seed} makes two files");
    });
}

#[test]
fn a_seed_before_the_first_failing_one_passes() {
    let folder = folder();
    for_each(hunted(), |Hunted { name, seed, .. }| {
        // A guest that fails at the very first seed has none before it: then the first that passes after it.
        let mut passing = seed.checked_sub(1).map_or(1..400, |before| before..before + 1);
        let file = folder.path().join(name);
        let recorded = passing.find_map(|seed| {
            let recorded = record(name, &file, &["--seed", &seed.to_string(), "--json"]);
            (recorded.status.code() == Some(0)).then_some(recorded)
        });
        let report = recorded.unwrap_or_else(|| panic!("{name}: no seed passes")).json();
        assert_eq!(report["passed"], true, "{name}");
        assert_eq!(report["reason"], format!("exit code {:#x}", corpora::PASS), "{name}");
        let replayed = replayvm(["replay", path_text(&file)]).run().exits(0);
        assert_eq!(replay_end(&replayed), end_of(&info(&file)), "{name}");
    });
}

#[test]
fn a_guest_without_its_bug_passes_where_the_one_with_it_fails() {
    let folder = folder();
    for_each(hunted(), |Hunted { name, seed, .. }| {
        let twin = format!("{name}-fixed");
        record(&twin, &folder.path().join(&twin), &["--seed", &seed.to_string()]).exits(0);
    });
}

#[test]
fn the_lowest_failing_seed_is_found_whatever_the_number_of_jobs() {
    let folder = folder();
    for (Hunted { name, seed, end, .. }, jobs) in hunted().iter().zip(["1", "7"].iter().cycle()) {
        let file = folder.path().join(name);
        let hunt =
            ["hunt", name, "--seeds", "0..400", "--json", "--jobs", jobs, "--output", path_text(&file)];
        let found = &replayvm(hunt).run().exits(1).json()["first_failure"];
        assert_eq!(found["seed"], *seed, "{name} with {jobs} jobs");
        assert_eq!(found["digest"], end.digest, "{name} with {jobs} jobs");
    }
}

#[test]
fn a_hunt_over_all_seeds_finds_the_same_ones_whatever_the_number_of_jobs() {
    let folder = folder();
    let file = folder.path().join("run.rvm");
    let all = |jobs: &str| {
        let hunt = ["hunt", "torn-read", "--seeds", "0..60", "--all", "--json", "--jobs", jobs];
        let report = replayvm(hunt.iter().chain(&["--output", path_text(&file)])).run().exits(1).json();
        assert_eq!(report["seeds_run"], 60);
        assert_eq!(
            report["failing_seeds"].as_array().unwrap().len() as u64,
            report["failures"].as_u64().unwrap()
        );
        assert_eq!(report["first_failure"]["seed"], report["failing_seeds"][0]);
        report["failing_seeds"].clone()
    };
    let alone = all("1");
    assert_eq!(all("2"), alone);
    // And each of them, and none of the others, fails by itself.
    for seed in 0..60_u64 {
        let status = record("torn-read", &file, &["--seed", &seed.to_string()]).status.code();
        let fails = alone.as_array().unwrap().contains(&seed.into());
        assert_eq!(status, Some(i32::from(fails)), "seed {seed}");
    }
}

/// Whether this host can run an engine; says so if not.
fn usable(engine: &str) -> bool {
    let doctor = replayvm(["doctor", "--json"]).run().exits(0).json();
    let judged = doctor["engines"].as_array().unwrap().iter().find(|judged| judged["name"] == engine);
    match judged.map(|judged| (&judged["usable"], &judged["problem"])) {
        Some((Value::Bool(true), _)) => true,
        Some((_, problem)) => {
            println!("SKIPPED: engine {engine}: {problem}");
            false
        }
        None => {
            println!("SKIPPED: engine {engine}: this command does not have it");
            false
        }
    }
}

/// Replays the end of each failing run, or its beginning, on an engine, and compares with the software CPU.
fn same_on(engine: &str) {
    if !usable(engine) {
        return;
    }
    let whole = std::env::var_os("REPLAYVM_SOAK").is_some();
    let results = for_each(hunted(), |Hunted { name, file, end, .. }| {
        let to = if whole { end.position } else { end.position.min(Position::new(STEPPED_TICKS, 0)) };
        let replay = |engine| {
            let arguments = ["replay", path_text(file), "--engine", engine, "--to", &to.to_string()];
            replay_end(&replayvm(arguments).run().exits(0))
        };
        let (soft, other) = (replay("soft"), replay(engine));
        assert_eq!(other, soft, "{name} on {engine}");
        assert!(to < end.position || other == *end, "{name} on {engine}");
        to == end.position
    });
    let complete = results.iter().filter(|complete| **complete).count();
    println!("{complete} of {} guests to their end, the others for {STEPPED_TICKS} ticks", results.len());
    assert!(complete >= 1, "no guest is short enough to be stepped to its end");
}

#[test]
fn a_failing_recording_comes_to_the_same_states_stepped_by_kvm() {
    same_on("step");
}

#[test]
fn a_failing_recording_shows_no_difference_in_lockstep() {
    same_on("lockstep");
}

#[test]
fn a_guest_recorded_on_engine_step_makes_the_same_run() {
    if !usable("step") {
        return;
    }
    let folder = folder();
    let record = |engine: &str| {
        let file = folder.path().join(engine);
        record("rtc-rollover", &file, &["--seed", "7", "--engine", engine]).exits(1);
        let events = info(&file)["events"].clone();
        (end_of(&info(&file)), events, replayvm(["exits", path_text(&file), "--list"]).run().exits(0).stdout)
    };
    assert_eq!(record("step"), record("soft"));
}
