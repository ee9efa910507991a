//! The determinism contract on a busy host, and in other surroundings.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::process::Command;

use replayvm_tests::{Busy, Replayvm, binary, end_of, folder, info, path_text, record, replay_end, replayvm};

#[test]
fn a_busy_host_records_the_same_file_ten_times_and_replays_it_the_same_ten_times() {
    let folder = folder();
    let idle = folder.path().join("idle.rvm");
    // A guest with preemption, two kinds of interrupts, and user mode.
    let options = ["--seed", "11", "--checkpoint-every", "10000"];
    let status = record("process-race", &idle, &options).status;
    let (expected, end) = (fs::read(&idle).unwrap(), end_of(&info(&idle)));
    let _busy = [Busy::start(), Busy::start()];
    for _ in 0..10 {
        let busy = folder.path().join("busy.rvm");
        assert_eq!(record("process-race", &busy, &options).status, status);
        assert_eq!(end_of(&info(&busy)), end);
        assert!(fs::read(&busy).unwrap() == expected, "the same end by another way");
    }
    for _ in 0..10 {
        let replayed = replayvm(["replay", path_text(&idle)]).run().exits(0);
        assert_eq!(replay_end(&replayed), end);
    }
}

#[test]
fn runs_side_by_side_do_not_see_each_other() {
    let folder = folder();
    let alone = folder.path().join("alone.rvm");
    record("priority-inversion", &alone, &["--seed", "3"]);
    let end = end_of(&info(&alone));
    let files: Vec<_> = (0..6).map(|n| folder.path().join(format!("{n}.rvm"))).collect();
    let running: Vec<_> = files
        .iter()
        .map(|file| {
            replayvm(["record", "priority-inversion", "--seed", "3", "--output", path_text(file)]).start()
        })
        .collect();
    for (running, file) in running.into_iter().zip(&files) {
        drop(running.finish());
        assert_eq!(end_of(&info(file)), end);
    }
}

#[test]
fn the_surroundings_of_the_command_are_not_seen_by_the_guest() {
    let folder = folder();
    let [here, there] = ["here", "there"].map(|name| folder.path().join(name));
    record("hash-collision", &here, &["--seed", "5"]);
    // Another folder, language, time zone and environment, no address space layout randomisation, one processor, low priority.
    let mut command = Command::new("setarch");
    command.args(["-R", "nice", "-n", "5", "taskset", "-c", "0"]).arg(binary());
    command.args(["record", "hash-collision", "--seed", "5", "--output"]).arg(&there).current_dir("/");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
        .env("TZ", "Asia/Tokyo")
        .env("LC_ALL", "tr_TR.UTF-8")
        .env("TERM", "dumb")
        .env("PADDING", "x".repeat(10_000));
    let missing =
        |tool: &&str| !Command::new(tool).arg("--version").output().is_ok_and(|o| o.status.success());
    if let Some(tool) = ["setarch", "nice", "taskset"].iter().find(|tool| missing(tool)) {
        println!("SKIPPED: there is no {tool}");
        return;
    }
    let finished = Replayvm::from_command(command).run();
    assert!(there.exists(), "{finished}");
    assert!(fs::read(&here).unwrap() == fs::read(&there).unwrap(), "{finished}");
}

#[test]
fn where_checkpoints_lie_does_not_change_the_run() {
    let folder = folder();
    let record = |every: &str| {
        let file = folder.path().join(every);
        record("lost-wakeup", &file, &["--seed", "4", "--checkpoint-every", every]);
        let exits = replayvm(["exits", path_text(&file), "--list"]).run().exits(0).stdout;
        // In the middle of nowhere, between the checkpoints of any of them.
        let middle = replayvm(["replay", path_text(&file), "--to", "77777+2"]).run().exits(0);
        (end_of(&info(&file)), exits, replay_end(&middle))
    };
    let dense = record("1000");
    for every in ["7919", "100000", "1000000000"] {
        assert!(record(every) == dense, "checkpoints every {every} ticks make another run");
    }
}
