//! What the command prints, in text and in JSON.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use recorder::Position;
use replayvm_tests::{
    Finished, Scene, end_of, folder, info, path_text, position, record, replay_end, replayvm,
};
use serde_json::Value;

fn run<const N: usize>(arguments: [&str; N]) -> Finished {
    replayvm(arguments).run()
}

#[test]
fn replay_and_info_and_record_agree_on_the_end() {
    let scene = Scene::new();
    let recorded = info(&scene.recording);
    let expected = end_of(&recorded);
    let path = path_text(&scene.recording);
    assert_eq!(replay_end(&run(["replay", path]).exits(0)), expected);
    let replayed = run(["replay", path, "--json"]).exits(0).json();
    assert_eq!(replayed["position"], expected.position.to_string());
    assert_eq!(replayed["digest"], expected.digest);
    assert_eq!(replayed["instructions"], recorded["end"]["instructions"]);
    assert_eq!(replayed["reason"], recorded["end"]["reason"]);
    assert_eq!(replayed["exits_checked"], recorded["exits"]);
    assert_eq!(
        replayed["checkpoints_checked"].as_u64(),
        Some(recorded["checkpoints"].as_array().unwrap().len() as u64)
    );
    assert_eq!(replayed["recovered"], Value::Null);

    let again = record("rtc-rollover", &scene.path("again.rvm"), &["--json"]).exits(0).json();
    assert_eq!(again["position"], expected.position.to_string());
    assert_eq!(again["digest"], expected.digest);
    assert_eq!(again["passed"], true);
    assert_eq!(again["recording_bytes"], fs::metadata(scene.path("again.rvm")).unwrap().len());
}

#[test]
fn how_long_a_tick_takes_is_in_the_recording() {
    let scene = Scene::new();
    let file = scene.path("slow.rvm");
    record("lost-update", &file, &["--tick-ns", "40"]).exits(0);
    let recorded = info(&file);
    assert_eq!(recorded["ns_per_tick"], 40);
    assert_eq!(info(&scene.recording)["ns_per_tick"], 10);
    assert_eq!(replay_end(&run(["replay", path_text(&file)]).exits(0)), end_of(&recorded));
    record("lost-update", &file, &["--tick-ns", "0"]).exits(2);
}

#[test]
fn seeks_in_a_recording_are_measured() {
    let scene = Scene::new();
    let bench = ["bench", "--recording", path_text(&scene.recording), "--seeks", "5"];
    let text = run(bench).exits(0);
    assert!(
        text.stdout.contains("\nseek to a random position") && text.stdout.contains("(5 samples)"),
        "{text}"
    );
    let json =
        run(["bench", "--recording", path_text(&scene.recording), "--seeks", "5", "--json"]).exits(0).json();
    assert_eq!(json["seek"]["samples"], 5);
    assert_eq!(json["land"]["samples"], 5);
    assert_eq!(json["reverse_step_near_cursor"]["samples"], 25);
}

#[test]
fn record_says_in_text_what_it_says_in_json() {
    let folder = folder();
    let file = folder.path().join("run.rvm");
    let json = record("lost-update", &file, &["--seed", "5", "--json"]).exits(0).json();
    let text = record("lost-update", &file, &["--seed", "5"]).exits(0);
    let field = |name: &str| json[name].as_str().unwrap().to_owned();
    assert!(text.stdout.starts_with(&field("console")), "{text}");
    let line = format!("lost-update: seed 5 passed ({}) at {}, ", field("reason"), field("position"));
    assert!(text.stdout.contains(&line), "{text}");
    assert!(text.stdout.contains(&grouped(json["instructions"].as_u64().unwrap())), "{text}");
    assert!(text.stdout.contains(&format!("recording: {}", path_text(&file))), "{text}");
}

#[test]
fn the_output_goes_by_guest_and_seed_unless_it_is_named() {
    let folder = folder();
    replayvm(["record", "rtc-rollover", "--seed", "2"]).inside(folder.path()).run().exits(0);
    let names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["rtc-rollover-2.rvm"]);
}

#[test]
fn hunt_says_in_text_what_it_says_in_json_and_leaves_one_file() {
    let folder = folder();
    let hunt = |options: &[&str]| {
        let base = ["hunt", "stack-overflow", "--seeds", "0..200", "--jobs", "2"];
        replayvm(base.iter().chain(options)).inside(folder.path()).run().exits(1)
    };
    let json = hunt(&["--json"]).json();
    let found = &json["first_failure"];
    let seed = found["seed"].as_u64().unwrap();
    let file = format!("stack-overflow-{seed}.rvm");
    let names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [file.as_str()]);
    assert_eq!(found["recording"], file);
    assert_eq!(found["passed"], false);
    assert!(json["failing_seeds"].as_array().unwrap().contains(&seed.into()), "{json}");

    let text = hunt(&[]);
    let line = format!(
        "seed {seed} FAILED: {} at {}, ",
        found["reason"].as_str().unwrap(),
        found["position"].as_str().unwrap()
    );
    assert!(text.stdout.contains(&line), "{text}");
    for line in found["console"].as_str().unwrap().lines() {
        assert!(text.stdout.contains(&format!("\n  | {line}\n")), "{text}");
    }
}

#[test]
fn a_hunt_that_finds_nothing_is_fine_and_leaves_nothing() {
    let folder = folder();
    let hunt = |options: &[&str]| {
        let base = ["hunt", "lost-update-fixed", "--seeds", "0..6", "--all"];
        replayvm(base.iter().chain(options)).inside(folder.path()).run().exits(0)
    };
    let json = hunt(&["--json"]).json();
    assert_eq!(json["seeds_run"], 6);
    assert_eq!(json["failures"], 0);
    assert_eq!(json["first_failure"], Value::Null);
    let text = hunt(&[]);
    assert!(text.stdout.contains("6 seeds run, none failed"), "{text}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn info_says_in_text_what_it_says_in_json() {
    let scene = Scene::new();
    let json = info(&scene.recording);
    let text = run(["info", path_text(&scene.recording)]).exits(0);
    let line = |name: &str| {
        let found = text
            .stdout
            .lines()
            .find(|line| line.strip_prefix("  ").is_some_and(|line| line.starts_with(name)));
        found.unwrap_or_else(|| panic!("no `{name}`: {text}")).to_owned()
    };
    let end = end_of(&json);
    assert!(line("end").ends_with(&format!("digest {}", end.digest)), "{text}");
    assert!(line("end").contains(&format!(" at {}, ", end.position)), "{text}");
    assert!(line("exits").ends_with(&format!(" {}", grouped(json["exits"].as_u64().unwrap()))), "{text}");
    let checkpoints = json["checkpoints"].as_array().unwrap();
    assert!(line("checkpoints").ends_with(&format!(" {}", checkpoints.len())), "{text}");
    for (kind, count) in json["events"].as_object().unwrap() {
        assert!(line("events").contains(&format!("{} {kind}", grouped(count.as_u64().unwrap()))), "{text}");
    }
    assert!(line("recorded").contains("seed 0"), "{text}");
    assert!(line("kernel").contains(&json["images"][0]["blake3"].as_str().unwrap()[..16]), "{text}");
    assert_eq!(json["file_bytes"], fs::metadata(&scene.recording).unwrap().len());
    // Checkpoints are in order, the first at power-on, the last at the end.
    let at: Vec<Position> = checkpoints.iter().map(|c| position(c["position"].as_str().unwrap())).collect();
    assert!(at.is_sorted() && at[0] == Position::START && at.last() == Some(&end.position), "{json}");
}

#[test]
fn the_table_of_exits_counts_what_the_list_lists() {
    let scene = Scene::new();
    let path = path_text(&scene.recording);
    let list = run(["exits", path, "--list"]).exits(0);
    let table = run(["exits", path]).exits(0);
    let json = run(["exits", path, "--json"]).exits(0).json();
    let listed = run(["exits", path, "--list", "--json"]).exits(0).json();
    let lines: Vec<(&str, &str)> =
        list.stdout.lines().map(|line| line.trim_start().split_once("  ").unwrap()).collect();

    let listed: Vec<(&str, &str)> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|exit| (exit["position"].as_str().unwrap(), exit["exit"].as_str().unwrap()))
        .collect();
    assert_eq!(lines, listed);
    assert_eq!(info(&scene.recording)["exits"], lines.len());
    assert!(lines.iter().map(|(at, _)| position(at)).is_sorted());

    let mut total = 0;
    for row in json.as_array().unwrap() {
        let (kind, count) = (row["kind"].as_str().unwrap(), row["count"].as_u64().unwrap());
        let of_kind: Vec<_> = lines.iter().filter(|(_, exit)| exit.split(' ').next() == Some(kind)).collect();
        assert_eq!(count, of_kind.len() as u64, "{kind}");
        assert_eq!(row["first"], of_kind[0].0, "{kind}");
        assert_eq!(row["last"], of_kind.last().unwrap().0, "{kind}");
        let line = table.stdout.lines().find(|line| line.split_whitespace().next() == Some(kind)).unwrap();
        assert_eq!(line.split_whitespace().nth(1), Some(grouped(count).as_str()), "{table}");
        let only = run(["exits", path, "--list", "--kind", kind]).exits(0);
        assert_eq!(only.stdout.lines().count() as u64, count, "{kind}");
        total += count;
    }
    assert_eq!(total, lines.len() as u64);
    let last: Vec<&str> = table.last_line().split_whitespace().collect();
    assert_eq!(last, ["total", &grouped(total)]);
}

#[test]
fn exits_from_and_to_are_a_half_open_range() {
    let scene = Scene::new();
    let path = path_text(&scene.recording);
    let count = |options: &[&str]| {
        let base = ["exits", path, "--list"];
        replayvm(base.iter().chain(options)).run().exits(0).stdout.lines().count()
    };
    let list = run(["exits", path, "--list"]).exits(0);
    let lines: Vec<&str> = list.stdout.lines().collect();
    let middle = lines[lines.len() / 2].split_whitespace().next().unwrap();
    let before = count(&["--to", middle]);
    assert_eq!(before + count(&["--from", middle]), lines.len());
    assert!(before > 0 && before <= lines.len() / 2, "{before} of {}", lines.len());
    assert_eq!(count(&["--from", middle, "--to", middle]), 0);
}

#[test]
fn corpora_lists_every_guest_in_text_and_in_json() {
    let json = run(["corpora", "--json"]).exits(0).json();
    let text = run(["corpora"]).exits(0);
    let rows = json.as_array().unwrap();
    let bare = corpora::all().iter().map(|guest| (guest.name, guest.title, guest.bug, guest.oracle));
    let linux = corpora::linux::all().iter().map(|guest| (guest.name, guest.title, guest.bug, guest.oracle));
    let guests: Vec<_> = bare.chain(linux).collect();
    assert_eq!(rows.len(), guests.len());
    for (row, (name, title, bug, oracle)) in rows.iter().zip(guests) {
        assert_eq!(row["name"], name);
        assert_eq!(row["oracle"], oracle);
        assert!(text.stdout.contains(&format!("{name}: {title}\n")), "{text}");
        assert!(text.stdout.contains(bug) && text.stdout.contains(oracle), "{text}");
    }
}

#[test]
fn doctor_judges_every_engine_in_text_and_in_json() {
    let json = run(["doctor", "--json"]).exits(0).json();
    let text = run(["doctor"]).exits(0);
    let engines = json["engines"].as_array().unwrap();
    let names: Vec<&str> = engines.iter().map(|engine| engine["name"].as_str().unwrap()).collect();
    assert!(names.starts_with(&["auto", "soft"]), "{json}");
    for (engine, name) in engines.iter().zip(names) {
        let usable = engine["usable"].as_bool().unwrap();
        // An engine that cannot be had says why.
        assert_eq!(usable, engine["problem"].is_null(), "{json}");
        let line = text.stdout.lines().find(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.starts_with(&["engine", name])
        });
        let line = line.unwrap_or_else(|| panic!("no engine {name}: {text}"));
        assert_eq!(line.contains("not usable"), !usable, "{text}");
        assert!(usable || !["auto", "soft"].contains(&name), "{text}");
    }
    // A fact, in a sentence, whatever it is here.
    let counter = json["branch_counter"].as_str().unwrap();
    assert!(counter.ends_with("; not needed"), "{json}");
    assert!(text.stdout.contains(&format!("branches   counter {counter}\n")), "{text}");
}

#[test]
fn what_the_guest_said_comes_with_console() {
    let scene = Scene::new();
    let path = path_text(&scene.recording);
    let json = run(["replay", path, "--json"]).exits(0).json();
    let said = json["console"].as_str().unwrap();
    assert!(said.contains("rtc-rollover: PASS"), "{said}");
    let with = run(["replay", path, "--console"]).exits(0);
    assert!(with.stdout.starts_with(said), "{with}");
    assert!(!run(["replay", path]).exits(0).stdout.contains(said));
}

#[test]
fn a_reader_that_goes_away_early_is_no_error() {
    let scene = Scene::new();
    let path = path_text(&scene.recording);
    for arguments in [
        &["corpora"][..],
        &["corpora", "--json"],
        &["info", path],
        &["exits", path],
        &["exits", path, "--list"],
        &["replay", path, "--console"],
        &["record", "rtc-rollover", "--output", path],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let finished = replayvm(arguments).stdout(writer).run().exits(0);
        assert_eq!(finished.stderr, "", "{finished}");
    }
    // The recording is whole although nobody listened.
    assert_ne!(info(&scene.recording)["end"], Value::Null);
}

#[test]
fn reading_never_changes_a_recording() {
    let scene = Scene::new();
    let before = fs::read(&scene.recording).unwrap();
    fs::set_permissions(&scene.recording, fs::Permissions::from_mode(0o444)).unwrap();
    let path = path_text(&scene.recording);
    for arguments in
        [&["replay", path][..], &["info", path], &["exits", path], &["replay", path, "--to", "1000"]]
    {
        replayvm(arguments).run().exits(0);
    }
    assert!(fs::read(&scene.recording).unwrap() == before);
}

/// As the command groups digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).unwrap()).collect();
    groups.join(",")
}
