//! Engine `kvm` on whole Linux guests: what it records the software CPU replays and the other way round, whatever else the host does.
//! With `REPLAYVM_SOAK=1` fifty recordings instead of two.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use recorder::Position;
use replayvm::engine::{SoftEngine, Statistics};
use replayvm::timeline::{Timeline, unsupervised};
use replayvm_tests::{Busy, end_of, folder, info, path_text, replay_end, replayvm};

/// Whether the guest can be built and the engine be had. If not, says so; where `CI` is `true` that is a failure.
fn there(guest: &str) -> bool {
    let doctor = replayvm(["doctor", "--json"]).run().exits(0).json();
    let engines = doctor["engines"].as_array().unwrap();
    let kvm = engines.iter().find(|engine| engine["name"] == "kvm").unwrap();
    let missing = if kvm["usable"] == true { None } else { Some(format!("engine kvm: {}", kvm["problem"])) };
    let guests = replayvm(["corpora"]).run().exits(0).stdout;
    let known = guests.lines().any(|line| line.starts_with(&format!("{guest}: ")));
    let missing = missing.or_else(|| (!known || guests.contains("cannot be built")).then(|| guests.clone()));
    if let Some(missing) = missing {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{missing}");
        println!("SKIPPED: {missing}");
        return false;
    }
    true
}

/// Of what the engine has counted over a recording, the instructions that ran natively and all.
fn shares(file: &str, engine: &str) -> (u64, u64) {
    let said = replayvm(["info", file, "--engine-stats", "--engine", engine, "--json"])
        .patiently()
        .run()
        .exits(0)
        .json();
    let counts = said["engine_stats"]["counts"].as_array().unwrap();
    let count = |name: &str| {
        let row = counts.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("no {name}: {counts:?}"));
        row[1].as_u64().unwrap()
    };
    let native = count("instructions, natively");
    (native, native + count("instructions, software CPU"))
}

/// Random places, and steps back from them, are the same whether user code runs natively on the way or not.
fn look_around(file: &Path, seed: u64) {
    let mut timelines = [Timeline::open(file).unwrap(), Timeline::open(file).unwrap()];
    timelines[1].replay_on(|_| Box::new(SoftEngine::new()));
    let end = timelines[0].end().tick;
    let mut state = seed;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 16) % below
    };
    for _ in 0..3 {
        let target = Position::new(next(end), next(30) as u32);
        for timeline in &mut timelines {
            timeline.seek(target, &mut unsupervised()).unwrap();
        }
        for _ in 0..3 {
            let [native, soft] = timelines.each_mut().map(|timeline| {
                let there = (timeline.position(), timeline.instructions(), timeline.digest().unwrap());
                timeline.step_backward().unwrap();
                there
            });
            assert_eq!(native, soft, "{file:?}, before {target}");
        }
    }
    let Statistics::Native(statistics) = timelines[0].engine_statistics() else { panic!("another engine") };
    assert!(statistics.native > 1_000_000, "{statistics:?}");
}

#[test]
fn two_processes_that_compute_replay_on_either_engine_whatever_the_host_does() {
    if !there("linux-crunch-two") {
        return;
    }
    let soak = std::env::var_os("REPLAYVM_SOAK").is_some_and(|soak| soak == "1");
    let rounds: u64 = if soak { 50 } else { 2 };
    let folder = folder();
    for round in 0..rounds {
        let _busy: Vec<_> = (0..round % 4).map(|_| Busy::start()).collect();
        let seed = round.to_string();
        let (recorder, others) =
            if round % 4 == 3 { ("soft", ["kvm", "kvm"]) } else { ("kvm", ["soft", "kvm"]) };
        let file = folder.path().join(format!("{round}.rvm"));
        let file_text = path_text(&file);
        let arguments =
            ["record", "linux-crunch-two", "--seed", &seed, "--engine", recorder, "--output", file_text];
        let recorded = replayvm(arguments).patiently().run().exits(0);
        assert!(recorded.stdout.contains("hash 12 "), "{recorded}");
        let end = end_of(&info(&file));
        for engine in others {
            let replayed = replayvm(["replay", file_text, "--engine", engine]).patiently().run().exits(0);
            assert_eq!(
                replay_end(&replayed),
                end,
                "round {round}, recorded on {recorder}, replayed on {engine}"
            );
        }
        if round % 16 == 0 {
            look_around(&file, round + 1);
        }
        let (native, all) = shares(file_text, "kvm");
        assert!(native > all / 3, "only {native} of {all} instructions ran natively");
        println!(
            "round {round}: recorded on {recorder}, {native} of {all} instructions natively, as recorded on {others:?}"
        );
        std::fs::remove_file(&file).unwrap();
    }
}
