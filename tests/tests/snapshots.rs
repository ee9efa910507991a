//! Snapshots as a user meets them: saved, shown, gone on from any number of times, and refused by name where something is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use corpora::linux::{find, required};
use recorder::Recording;
use replayvm_tests::damage::{copy_damaged, first_page, frames, header, patch_header};
use replayvm_tests::{
    Finished, Person, Scene, end_of, every_reader_refuses, folder, info, path_text, position, record,
    replay_end, replayvm,
};
use tempfile::TempDir;

/// Nothing is left to chance but entropy and the clock at power-on.
const CALM: [&str; 4] = ["--timer-delay", "0", "--interrupt-hold", "0"];

/// Kinds of frames, as in `docs/snapshots.md`.
const MANIFEST: u32 = 8;
const SECTION: u32 = 9;
const SEAL: u32 = 10;

fn run<const N: usize>(arguments: [&str; N]) -> Finished {
    replayvm(arguments).run()
}

/// A calm recording, and a snapshot out of its middle.
struct Saved {
    folder: TempDir,
    recording: PathBuf,
    snapshot: PathBuf,
}

impl Saved {
    fn new() -> Self {
        let folder = folder();
        let (recording, snapshot) = (folder.path().join("run.rvm"), folder.path().join("here.rvs"));
        record("lost-update", &recording, &CALM).exits(0);
        save(&recording, "100000+2", &snapshot).exits(0);
        Self { folder, recording, snapshot }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Goes on from it.
    fn run(&self, options: &[&str]) -> Finished {
        replayvm([&["run", path_text(&self.snapshot)], options].concat()).run()
    }

    /// A copy that is changed must be refused, by `show` and by `run` alike, in one complaint with these words.
    #[track_caller]
    fn refused(&self, words: &[&str], change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.path("damaged.rvs");
        copy_damaged(&self.snapshot, &path, change);
        let path = path_text(&path);
        for arguments in
            [&["snapshot", "show", path][..], &["snapshot", "show", path, "--json"], &["run", path]]
        {
            let finished = replayvm(arguments).run().refused(words);
            assert_eq!(finished.stdout, "", "{finished}");
        }
    }
}

fn save(recording: &Path, at: &str, snapshot: &Path) -> Finished {
    run(["snapshot", "save", &format!("{}@{at}", path_text(recording)), path_text(snapshot)])
}

/// Where the frames of a kind are: offset and length.
fn of_kind(bytes: &[u8], kind: u32) -> Vec<(usize, usize)> {
    let found = frames(bytes).into_iter().filter(|(found, ..)| *found == kind);
    found.map(|(_, at, length)| (at, length)).collect()
}

#[test]
fn a_calm_run_that_goes_on_ends_as_the_recording_did_as_often_as_one_likes() {
    let saved = Saved::new();
    let recorded = end_of(&info(&saved.recording));
    let before = fs::read(&saved.snapshot).unwrap();
    for options in [&[][..], &["--engine", "plain"], &[]] {
        let json = saved.run(&[&CALM[..], options, &["--json"]].concat()).exits(0).json();
        assert_eq!(json["digest"], recorded.digest);
        assert_eq!(json["position"], recorded.position.to_string());
        assert_eq!((json["passed"].as_bool(), &json["recording"]), (Some(true), &serde_json::Value::Null));
    }
    let text = saved.run(&CALM).exits(0);
    assert!(text.stdout.starts_with("lost-update: PASS counter 532 expected 532\n"), "{text}");
    let line = format!("lost-update: seed 0 passed (exit code 0x10) at {}, ", recorded.position);
    assert!(text.last_line().starts_with(&line), "{text}");
    assert_eq!(fs::read(&saved.snapshot).unwrap(), before);
    let names = fs::read_dir(saved.folder.path()).unwrap().count();
    assert_eq!(names, 2, "nothing else is left");
}

#[test]
fn an_earlier_end_has_the_digest_that_a_replay_has_there() {
    let saved = Saved::new();
    let stopped = saved.run(&[&CALM[..], &["--limit", "50000", "--json"]].concat()).exits(0).json();
    assert_eq!(stopped["reason"], "limit of ticks reached");
    let at = stopped["position"].as_str().unwrap();
    assert_eq!(position(at).tick, 150_000);
    let there = replay_end(&run(["replay", path_text(&saved.recording), "--to", at]).exits(0));
    assert_eq!(stopped["digest"], there.digest);
}

#[test]
fn a_run_that_is_recorded_is_a_recording_from_there_on() {
    let saved = Saved::new();
    let second = saved.path("second.rvm");
    let options = ["--record", path_text(&second), "--seed", "5", "--checkpoint-every", "50000", "--json"];
    let json = saved.run(&options).json();
    assert_eq!(json["recording"], path_text(&second));
    let recorded = info(&second);
    assert_eq!(recorded["seed"], 5);
    assert_eq!(recorded["checkpoints"][0]["position"], "100000+2");
    assert!(recorded["checkpoints"].as_array().unwrap().len() > 3, "{recorded}");
    assert_eq!(end_of(&recorded).digest, json["digest"]);
    assert_eq!(replay_end(&run(["replay", path_text(&second)]).exits(0)), end_of(&recorded));

    // A later snapshot, out of that recording, with the same seed, comes to the same end; the seed is in it.
    let later = saved.path("later.rvs");
    save(&second, "200000", &later).exits(0);
    let again = run(["run", path_text(&later), "--json"]).json();
    assert_eq!((&again["seed"], &again["digest"]), (&json["seed"], &json["digest"]));
    let other = run(["run", path_text(&later), "--seed", "6", "--json"]).json();
    assert_ne!(other["digest"], json["digest"]);
}

#[test]
fn a_failing_guest_is_found_and_a_limit_is_fine() {
    let folder = folder();
    let recording = folder.path().join("run.rvm");
    record("lost-update", &recording, &["--seed", "16"]).exits(1);
    let snapshot = folder.path().join("late.rvs");
    // After the lost update.
    save(&recording, "209800", &snapshot).exits(0);
    let failed = run(["run", path_text(&snapshot)]).exits(1);
    assert!(failed.stdout.contains("lost-update: seed 16 FAILED (exit code 0x11)"), "{failed}");
    run(["run", path_text(&snapshot), "--limit", "100"]).exits(0);
}

#[test]
fn save_and_show_say_in_text_what_they_say_in_json_and_what_a_replay_says() {
    let saved = Saved::new();
    let again = saved.path("again.rvs");
    let from = format!("{}@100000+2", path_text(&saved.recording));
    let json = run(["snapshot", "save", &from, path_text(&again), "--json"]).exits(0).json();
    assert_eq!(fs::read(&again).unwrap(), fs::read(&saved.snapshot).unwrap(), "the same each time");
    let there = replay_end(&run(["replay", path_text(&saved.recording), "--to", "100000+2"]).exits(0));
    assert_eq!((&json["position"], &json["digest"]), (&"100000+2".into(), &there.digest.clone().into()));
    assert_eq!(json["snapshot_bytes"], fs::metadata(&again).unwrap().len());
    let text = save(&saved.recording, "100000+2", &again).exits(0);
    assert!(text.stdout.contains(&format!("of {} at 100000+2", path_text(&saved.recording))), "{text}");
    assert!(text.stdout.contains(&format!("digest {}", there.digest)), "{text}");

    let shown = run(["snapshot", "show", path_text(&again), "--json"]).exits(0).json();
    let text = run(["snapshot", "show", path_text(&again)]).exits(0);
    let source = blake3_of(&saved.recording);
    assert_eq!(
        (shown["source"].as_str(), shown["source_blake3"].as_str()),
        (Some("run.rvm"), Some(&*source))
    );
    assert_eq!((&shown["digest"], &shown["position"]), (&json["digest"], &json["position"]));
    let of_recording = info(&saved.recording);
    for field in [
        "guest",
        "boot",
        "memory_bytes",
        "cpu_model",
        "cpu_features",
        "flags_profile",
        "rules_version",
        "seed",
    ] {
        assert_eq!(shown[field], of_recording[field], "{field}");
    }
    let sections = shown["sections"].as_array().unwrap();
    assert!(sections.iter().any(|section| section["name"] == "nested" && section["bytes"] == 0), "{shown}");
    for section in sections {
        let name = section["name"].as_str().unwrap();
        let line = text.stdout.lines().find(|line| line.split_whitespace().next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("no `{name}`: {text}"));
        assert!(line.ends_with(section["digest"].as_str().unwrap()), "{text}");
    }
    assert!(text.stdout.contains("run.rvm at 100000+2"), "{text}");
    assert!(shown["ram_pages"].as_u64() > Some(4) && shown["disk_pages"] == 0, "{shown}");
    let modes = [&saved.recording, &again].map(|path| fs::metadata(path).unwrap().permissions().mode());
    assert_eq!(modes[0], modes[1], "as any new file");
}

fn blake3_of(path: &Path) -> String {
    let recording = Recording::open(fs::read(path).unwrap()).unwrap();
    recording.file_hash().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_place_that_is_none_is_refused_and_leaves_nothing() {
    let scene = Scene::new();
    let (recording, out) = (path_text(&scene.recording).to_owned(), scene.path("out.rvs"));
    let end = end_of(&info(&scene.recording)).position.to_string();
    let at = |place: &str| format!("{recording}@{place}");
    let cases: &[(String, &[&str])] = &[
        (recording.clone(), &["does not say where", "FILE@POS"]),
        ("@5".to_owned(), &["does not say where"]),
        (at("soon"), &["soon"]),
        (at(""), &["position"]),
        (at("99999999999"), &["99999999999+0 is beyond the end of the recording"]),
        (at("end"), &["the guest's run is over at", &end]),
        ("/nowhere/run.rvm@5".to_owned(), &["/nowhere/run.rvm", "No such file"]),
    ];
    for (from, words) in cases {
        run(["snapshot", "save", from, path_text(&out)]).refused(words);
    }
    save(&scene.recording, "begin", Path::new("/nowhere/out.rvs"))
        .refused(&["/nowhere/out.rvs", "No such file"]);
    save(&scene.recording, "begin", scene.folder.path()).refused(&["is not a regular file"]);
    save(&scene.recording, "begin", Path::new("/dev/null")).refused(&["/dev/null is not a regular file"]);
    save(&scene.recording, "begin", &scene.recording).refused(&["run.rvm is the recording itself"]);
    assert_eq!(fs::read_dir(scene.folder.path()).unwrap().count(), 1);
    run(["replay", &recording]).exits(0);
}

#[test]
fn a_snapshot_is_no_recording_and_a_recording_no_snapshot() {
    let saved = Saved::new();
    every_reader_refuses(
        &saved.snapshot,
        &["here.rvs", "this is a snapshot and not a recording", "replayvm run"],
    );
    for arguments in
        [&["snapshot", "show", path_text(&saved.recording)][..], &["run", path_text(&saved.recording)]]
    {
        replayvm(arguments).run().refused(&[
            "run.rvm",
            "this is a recording and not a snapshot",
            "snapshot save",
        ]);
    }
    let before = fs::read(&saved.snapshot).unwrap();
    saved.run(&["--record", path_text(&saved.snapshot)]).refused(&["here.rvs is the snapshot itself"]);
    assert_eq!(fs::read(&saved.snapshot).unwrap(), before);
    saved.run(&["--engine", "warp"]).refused(&["no engine `warp`"]);
    run(["run", "/nowhere/here.rvs"]).refused(&["/nowhere/here.rvs", "No such file"]);
}

#[test]
fn damage_is_named_by_the_part_that_it_is_in() {
    let saved = Saved::new();
    let bytes = fs::read(&saved.snapshot).unwrap();
    let middle = |(at, length): (usize, usize)| at + 16 + (length - 16) / 2;
    saved.refused(&["not a Replayvm snapshot"], |bytes| bytes[1] ^= 1);
    saved.refused(&["the snapshot's header is corrupted"], |bytes| bytes[header::RULES] ^= 1);
    let newer = [(header::FORMAT_VERSION, 9), (header::MINIMUM_READER, 8)];
    saved.refused(&["the snapshot has format version 9", "newer replayvm"], |bytes| {
        patch_header(bytes, &newer)
    });
    saved.refused(&["field `rules_version`", "the header says 7"], |bytes| {
        patch_header(bytes, &[(header::RULES, 7)])
    });
    let parts =
        [(1, "machine description"), (2, "image `lost-update`"), (MANIFEST, "manifest"), (SEAL, "seal")];
    for (kind, part) in parts {
        let at = middle(of_kind(&bytes, kind)[0]);
        saved.refused(&[&format!("{part} is damaged"), "checksum"], |bytes| bytes[at] ^= 1);
    }
    let shown = run(["snapshot", "show", path_text(&saved.snapshot), "--json"]).exits(0).json();
    let sections = of_kind(&bytes, SECTION);
    assert_eq!(sections.len(), shown["sections"].as_array().unwrap().len());
    for (index, place) in sections.into_iter().enumerate() {
        let name = format!("section `{}`", shown["sections"][index]["name"].as_str().unwrap());
        saved.refused(&[&format!("{name} is damaged"), "checksum"], |bytes| bytes[middle(place)] ^= 1);
        saved
            .refused(&[&format!("{name} is missing")], |bytes| drop(bytes.drain(place.0..place.0 + place.1)));
    }
    let at = first_page(&bytes);
    saved.refused(&["page 0x", &format!("byte {at}"), "corrupted"], |bytes| bytes[at + 9] ^= 1);
    saved.refused(&["the file ends within the frame"], |bytes| bytes.truncate(at + 9));
    saved.refused(&["goes on after the snapshot's seal, by 3 bytes"], |bytes| bytes.extend(b"foo"));
}

#[test]
fn random_damage_is_always_refused() {
    let saved = Saved::new();
    let mut random = replayvm_tests::random::Random::new(3);
    for _ in 0..20 {
        saved.refused(&[], |bytes| {
            let at = random.number() as usize % bytes.len();
            bytes[at] ^= 1 << (random.number() % 8);
        });
    }
}

#[test]
fn a_disk_that_is_left_out_is_told_and_needed() {
    let folder = folder();
    let (recording, image) = (folder.path().join("run.rvm"), folder.path().join("data.img"));
    fs::write(&image, [7; 4096]).unwrap();
    let options = ["--disk", path_text(&image), "--embed-disks-up-to", "0"];
    record("lost-update", &recording, &[&options[..], &CALM].concat()).exits(0);
    let from = format!("{}@1000", path_text(&recording));
    let [whole, part] = ["whole.rvs", "part.rvs"].map(|name| folder.path().join(name));
    let text = run(["snapshot", "save", &from, path_text(&whole)]).exits(0);
    assert!(!text.stdout.contains("data.img"), "{text}");
    let text = run(["snapshot", "save", &from, path_text(&part), "--embed-disks-up-to", "4095"]).exits(0);
    assert!(text.stdout.contains("the disk image data.img is not in it"), "{text}");
    let elsewhere = folder.path().join("elsewhere.img");
    fs::rename(&image, &elsewhere).unwrap();
    run(["run", path_text(&whole), "--limit", "100"]).exits(0);
    run(["snapshot", "show", path_text(&part)]).exits(0);
    run(["run", path_text(&part), "--limit", "100"]).refused(&["data.img", "--disk-path data.img=FILE"]);
    let place = format!("data.img={}", path_text(&elsewhere));
    run(["run", path_text(&part), "--limit", "100", "--disk-path", &place]).exits(0);
}

#[test]
fn a_shell_that_waits_at_its_prompt_is_told_something_else_each_time() {
    let shell = find("linux-shell").unwrap();
    if required(shell.images()).is_none() {
        return;
    }
    let folder = folder();
    let (recording, snapshot) = (folder.path().join("run.rvm"), folder.path().join("prompt.rvs"));
    // A boot takes 86 million ticks; then the shell waits.
    let options = ["--limit", "88000000", "--checkpoint-every", "20000000"];
    let recorded =
        replayvm([&["record", "linux-shell", "--output", path_text(&recording)], &options[..]].concat());
    let recorded = recorded.patiently().run().exits(0);
    assert!(recorded.stdout.contains("# "), "{recorded}");
    save(&recording, "end", &snapshot).exits(0);
    for sum in [42, 63] {
        let typed = folder.path().join("typed");
        fs::write(&typed, format!("echo sum $((21 * {})); poweroff -f\n", sum / 21)).unwrap();
        let second = folder.path().join("second.rvm");
        let arguments = ["run", path_text(&snapshot), "--stdin", "--record", path_text(&second)];
        let finished = replayvm(arguments).stdin(File::open(&typed).unwrap()).patiently().run().exits(0);
        assert!(finished.stdout.contains(&format!("\nsum {sum}\n")), "{finished}");
        assert!(finished.stdout.contains("passed (power off)"), "{finished}");
        assert_eq!(replay_end(&run(["replay", path_text(&second)]).exits(0)), end_of(&info(&second)));
    }
    // And by a person.
    let mut person = Person::at(&["run", path_text(&snapshot)]);
    person.sees("linux-shell: Ctrl-A X leaves");
    person.types("echo $((6 * 7))\r");
    person.sees("\n42");
    person.types("exit\r");
    let (finished, seen, _) = person.leaves();
    assert!(finished.exits(0).signal().is_none() && seen.contains("passed (power off)"), "{seen}");
}
