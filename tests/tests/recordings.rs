//! Files that are no recordings, or damaged ones, refused or used as far as they go.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use replayvm_tests::damage::{first_page, frames, header, patch_header, patch_rules_of_description};
use replayvm_tests::{
    Finished, Scene, end_of, every_reader_refuses, folder, info, path_text, replay_end, replayvm,
};
use serde_json::Value;

fn run<const N: usize>(arguments: [&str; N]) -> Finished {
    replayvm(arguments).run()
}

#[test]
fn a_recording_that_is_missing_is_named() {
    every_reader_refuses(Path::new("/nowhere/run.rvm"), &["/nowhere/run.rvm", "No such file"]);
}

#[test]
fn an_empty_file_is_no_recording() {
    let scene = Scene::new();
    let path = scene.file("empty.rvm", b"");
    every_reader_refuses(&path, &["empty.rvm", "not a Replayvm recording"]);
}

#[test]
fn a_folder_is_no_recording() {
    let folder = folder();
    every_reader_refuses(folder.path(), &[path_text(folder.path()), "directory"]);
}

#[test]
fn garbage_is_no_recording() {
    let scene = Scene::new();
    let mut random = replayvm_tests::random::Random::new(1);
    let garbage: Vec<u8> = std::iter::repeat_with(|| random.number() as u8).take(10_000).collect();
    every_reader_refuses(&scene.file("garbage.rvm", &garbage), &["garbage.rvm", "not a Replayvm recording"]);
}

#[test]
fn garbage_behind_a_good_header_is_an_unusable_recording() {
    let scene = Scene::new();
    let path = scene.damaged(|bytes| bytes[32..].fill(0xa5));
    every_reader_refuses(&path, &["damaged.rvm", "of no use without its description", "frame 0 at byte 32"]);
}

#[test]
fn a_recording_of_a_newer_format_says_to_use_a_newer_command() {
    let scene = Scene::new();
    let path = scene.damaged(|bytes| {
        patch_header(bytes, &[(header::FORMAT_VERSION, 99), (header::MINIMUM_READER, 98)]);
    });
    every_reader_refuses(&path, &["format version 99", "newer replayvm"]);
}

#[test]
fn a_newer_format_that_this_reader_still_understands_replays() {
    let scene = Scene::new();
    let path = scene.damaged(|bytes| patch_header(bytes, &[(header::FORMAT_VERSION, 99)]));
    let replayed = run(["replay", path_text(&path)]).exits(0);
    assert_eq!(replay_end(&replayed), end_of(&info(&scene.recording)));
}

#[test]
fn a_damaged_header_is_refused() {
    let scene = Scene::new();
    let path = scene.damaged(|bytes| bytes[header::RULES] ^= 1);
    every_reader_refuses(&path, &["header is corrupted", "checksum"]);
}

#[test]
fn a_damaged_image_is_refused() {
    let scene = Scene::new();
    let path = scene.damaged(|bytes| {
        let (_, at, length) = frames(bytes)[1];
        bytes[at + length / 2] ^= 1;
    });
    every_reader_refuses(
        &path,
        &["of no use without its description and images", "frame 1 (image)", "checksum"],
    );
}

#[test]
fn other_rules_of_positions_are_refused_in_the_header_and_in_the_description() {
    let scene = Scene::new();
    let path = scene.damaged(|bytes| patch_header(bytes, &[(header::RULES, 77)]));
    every_reader_refuses(&path, &["rules version 77", "use a newer one"]);
    let path = scene.damaged(|bytes| patch_rules_of_description(bytes, 77));
    every_reader_refuses(&path, &["rules version 77", "use a newer one"]);
}

#[test]
fn a_damaged_page_of_ram_names_the_page_and_its_place() {
    let scene = Scene::new();
    let mut at = 0;
    let path = scene.damaged(|bytes| {
        at = first_page(bytes);
        bytes[at + 100] ^= 1;
    });
    let place = format!("byte {at}");
    for arguments in [
        &["replay", path_text(&path)][..],
        &["gdb", path_text(&path), "--at", "begin", "--listen", "127.0.0.1:0"],
    ] {
        replayvm(arguments).run().refused(&["page 0x", &place, "corrupted"]);
    }
}

#[test]
fn a_torn_tail_replays_up_to_the_last_whole_frame_and_says_so() {
    let scene = Scene::new();
    let whole = info(&scene.recording);
    let checkpoints = whole["checkpoints"].as_array().unwrap();
    assert!(checkpoints.len() > 4, "{whole}");
    // In the middle of what follows the third checkpoint.
    let path = scene.damaged(|bytes| {
        let found = frames(bytes);
        let third = found.iter().enumerate().filter(|(_, (kind, ..))| *kind == 5).nth(2).unwrap().0;
        let (_, at, length) = found[third + 1];
        bytes.truncate(at + length / 2);
    });
    let replayed = run(["replay", path_text(&path)]).exits(0);
    assert!(replayed.stderr.contains("damaged.rvm: frame"), "{replayed}");
    assert!(replayed.stderr.contains("are lost"), "{replayed}");
    let cut = info(&path);
    assert_eq!(cut["end"], Value::Null);
    let last = cut["last_position"].as_str().unwrap();
    assert_eq!(last, checkpoints[2]["position"].as_str().unwrap());
    let text = run(["info", path_text(&path)]).exits(0);
    assert!(text.stdout.contains(&format!("cut off after {last}")), "{text}");
    assert!(text.stdout.contains("  recovered    frame"), "{text}");

    let until = run(["replay", path_text(&scene.recording), "--to", last]).exits(0);
    assert_eq!(replay_end(&until), replay_end(&replayed));
}
