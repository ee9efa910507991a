//! Two recordings side by side.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use recorder::Position;
use replayvm_tests::{Finished, folder, path_text, position, record, replayvm};
use serde_json::Value;

fn diff(a: &Path, b: &Path, options: &[&str]) -> Finished {
    replayvm(["diff", path_text(a), path_text(b)].iter().chain(options)).run()
}

fn lost_update(file: &Path, seed: &str, options: &[&str]) -> Value {
    let mut all = vec!["--seed", seed, "--json"];
    all.extend(options);
    record("lost-update", file, &all).json()
}

/// The digests of a recording's components at a position, as a replay from its begin has them.
fn components(file: &Path, at: Position) -> Value {
    let finished = replayvm(["replay", path_text(file), "--to", &at.to_string(), "--json"]).run().exits(0);
    let replayed = finished.json();
    assert_eq!(replayed["position"], at.to_string());
    replayed["components"].clone()
}

fn component<'c>(components: &'c Value, name: &str) -> &'c Value {
    &components.as_array().unwrap().iter().find(|component| component[0] == name).unwrap()[1]
}

fn at(value: &Value) -> Position {
    position(value.as_str().unwrap_or_else(|| panic!("no position: {value}")))
}

#[test]
fn two_seeds_part_where_replays_of_them_part() {
    let folder = folder();
    let [a, b] = ["a.rvm", "b.rvm"].map(|name| folder.path().join(name));
    assert_eq!(lost_update(&a, "0", &[])["passed"], true);
    assert_eq!(lost_update(&b, "16", &[])["passed"], false);
    let found = diff(&a, &b, &["--json"]).exits(1).json();
    assert_eq!(found["equal"], false);

    // Each seed has another clock at power-on.
    assert_eq!(found["parts_at"], "0+0");
    assert!(found["input"]["a"]["what"].as_str().unwrap().starts_with("clock "), "{found}");
    assert_eq!(found["state"]["components"], serde_json::json!(["rtc"]));

    let cpu = &found["cpu"];
    let (before, there) = (at(&cpu["before"]["position"]), at(&cpu["position"]));
    assert!(before < there);
    let [one, other] = [&a, &b].map(|file| components(file, before));
    assert_eq!(component(&one, "cpu"), component(&other, "cpu"));
    let [one, other] = [&a, &b].map(|file| components(file, there));
    assert_ne!(component(&one, "cpu"), component(&other, "cpu"));
    for (component, other) in one.as_array().unwrap().iter().zip(other.as_array().unwrap()) {
        let told = cpu["components"].as_array().unwrap().contains(&component[0]);
        assert_eq!(told, component[1] != other[1], "{component}");
    }
    let registers = cpu["registers"].as_array().unwrap();
    let rip = registers.iter().find(|register| register["name"] == "rip").unwrap();
    assert_eq!((&rip["a"], &rip["b"]), (&cpu["a"]["rip"], &cpu["b"]["rip"]));
    assert_ne!(rip["a"], rip["b"]);
    assert!(!cpu["memory"]["ranges"].as_array().unwrap().is_empty(), "{cpu}");

    let lists = [&a, &b].map(|file| replayvm(["exits", path_text(file), "--list"]).run().exits(0).stdout);
    let (one, other) = (lists[0].lines(), lists[1].lines());
    let number = one.zip(other).take_while(|(one, other)| one == other).count();
    assert_eq!(found["exit"]["number"], number);
    for (side, list) in ["a", "b"].into_iter().zip(&lists) {
        let expected: Vec<_> = list.lines().skip(number).take(5).map(str::trim).collect();
        let told = found["exit"][side].as_array().unwrap().iter();
        let told: Vec<_> = told
            .map(|exit| format!("{}  {}", exit["position"].as_str().unwrap(), exit["what"].as_str().unwrap()))
            .collect();
        assert_eq!(told, expected);
    }

    let text = diff(&a, &b, &["--exits", "2"]).exits(1);
    for words in ["A  ", "B  ", "seed 16, exit code 0x11", "first different input", "first different CPU at"]
    {
        assert!(text.stdout.contains(words), "`{words}`: {text}");
    }
    assert!(text.stdout.contains(&format!("first different exit, after {number} in common")), "{text}");
    assert_eq!(text.stdout.lines().filter(|line| line.starts_with("  = ")).count(), 2, "{text}");

    // The other way round it is the same.
    let swapped = diff(&b, &a, &["--json"]).exits(1).json();
    assert_eq!(swapped["cpu"]["position"], cpu["position"]);
    assert_eq!(swapped["cpu"]["a"], cpu["b"]);
}

#[test]
fn the_same_run_recorded_twice_is_equal() {
    let folder = folder();
    let [a, b, short] = ["a.rvm", "b.rvm", "short.rvm"].map(|name| folder.path().join(name));
    let whole = lost_update(&a, "5", &[]);
    lost_update(&b, "5", &["--engine", "plain", "--checkpoint-every", "70000"]);
    let text = diff(&a, &b, &[]).exits(0);
    let line =
        format!("equal from 0+0 to {}: inputs, exits, states and end", whole["position"].as_str().unwrap());
    assert_eq!(text.last_line(), line, "{text}");
    let found = diff(&a, &b, &["--json"]).exits(0).json();
    assert_eq!(found["equal"], true);
    assert_eq!(found["cpu"], Value::Null);

    // One that was stopped earlier is equal as far as it goes, and is not the same run.
    lost_update(&short, "5", &["--limit", "100000"]);
    let found = diff(&a, &short, &["--json"]).exits(1).json();
    assert_eq!((&found["equal"], &found["parts_at"]), (&Value::Bool(false), &Value::Null), "{found}");
    assert_eq!(found["end"], found["b"]["last_position"]);
    let text = diff(&a, &short, &[]).exits(1);
    assert!(text.stdout.contains("only one goes on"), "{text}");
}

#[test]
fn other_machines_are_refused_with_what_is_different() {
    let folder = folder();
    let [a, b, c] = ["a.rvm", "b.rvm", "c.rvm"].map(|name| folder.path().join(name));
    lost_update(&a, "0", &[]);
    record("rtc-rollover", &b, &[]).exits(0);
    lost_update(&c, "0", &["--memory", "32M"]);
    diff(&a, &b, &[]).refused(&[
        "different machines",
        "image is",
        "kernel lost-update",
        "kernel rtc-rollover",
    ]);
    let refused = diff(&a, &c, &["--json"]).refused(&["different machines", "memory is 67108864"]);
    assert_eq!(refused.stdout, "");
}
