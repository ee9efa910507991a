//! Recordings that end early: killed, interrupted, out of space, cut short. What is there replays.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use recorder::Position;
use replayvm_tests::damage::whole_checkpoints;
use replayvm_tests::random::Random;
use replayvm_tests::{
    Finished, Replayvm, Running, binary, end_of, folder, info, path_text, position, record, replay_end,
    replayvm,
};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// A guest that never ends by itself and writes to memory all the time, so that the file grows all the time.
const LONG: &[&str] = &["record", "workload", "--checkpoint-every", "20000", "--seed", "7"];

fn start_long(limit: &str, output: &Path) -> Running {
    let options = ["--limit", limit, "--output", path_text(output)];
    replayvm(LONG.iter().chain(&options)).start()
}

/// A run recorded to its end.
struct Full {
    folder: TempDir,
    file: PathBuf,
    end: Position,
}

impl Full {
    fn new(record: impl FnOnce(&Path)) -> Self {
        let folder = folder();
        let file = folder.path().join("full.rvm");
        record(&file);
        let end = end_of(&info(&file)).position;
        Self { folder, file, end }
    }

    /// What is left of a recording of the same run must be of use up to its last whole frame, and be the same run. Without
    /// a checkpoint it must be refused. Gives the position that it reaches.
    #[track_caller]
    fn check_rest(&self, rest: &Path) -> Option<Position> {
        let path = path_text(rest);
        if whole_checkpoints(&fs::read(rest).unwrap()) == 0 {
            replayvm(["info", path]).run().refused(&[path]);
            replayvm(["replay", path]).run().refused(&[path]);
            return None;
        }
        let known = info(rest);
        let replayed = replayvm(["replay", path]).run().exits(0);
        let reached = replay_end(&replayed);
        assert_eq!(position(known["last_position"].as_str().unwrap()), reached.position, "{replayed}");
        assert!(reached.position <= self.end, "further than the whole run: {replayed}");
        let text = replayvm(["info", path]).run().exits(0);
        match known["recovered"].as_str() {
            Some(why) => {
                assert_eq!(replayed.stderr, format!("replayvm: {path}: {why}\n"), "{replayed}");
                assert!(text.stdout.contains(&format!("  recovered    {why}\n")), "{text}");
            }
            None => assert_eq!(reached.position, self.end, "cut, and not said: {replayed}"),
        }
        let cut_off = format!("cut off after {}", reached.position);
        assert_eq!(text.stdout.contains(&cut_off), known["end"].is_null(), "{text}");

        let to = reached.position.to_string();
        let full = replayvm(["replay", path_text(&self.file), "--to", &to]).run().exits(0);
        assert_eq!(replay_end(&full), reached, "the rest is another run: {path}");
        Some(reached.position)
    }
}

const LIMIT: &str = "2000000";

fn full_long_run() -> Full {
    Full::new(|file| drop(start_long(LIMIT, file).finish().exits(0)))
}

#[test]
fn a_recording_killed_at_any_moment_replays_as_far_as_it_goes() {
    const KILLS: usize = 18;
    let full = full_long_run();
    let bytes = fs::metadata(&full.file).unwrap().len();
    let mut random = Random::new(20_26);
    let (mut killed, mut reached) = (0, Vec::new());
    // A run may end before it is killed; that counts for nothing.
    for attempt in 0..KILLS * 4 {
        let rest = full.folder.path().join("rest.rvm");
        let _ = fs::remove_file(&rest);
        let running = start_long(LIMIT, &rest);
        // Three of them as soon as there is a file, whatever is in it.
        let size = if attempt < 3 { attempt as u64 } else { random.below(bytes * 9 / 10) };
        if running.has_written(&rest, size) {
            running.signal(Signal::KILL);
        }
        let finished = running.finish();
        if finished.signal() == Some(Signal::KILL.as_raw()) {
            killed += 1;
            reached.extend(full.check_rest(&rest));
        }
        if killed == KILLS {
            break;
        }
    }
    println!("{killed} killed, at {}", reached.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    assert!(killed >= 15, "only {killed} runs could be killed");
    assert!(
        reached.iter().filter(|at| at.tick > 0).count() > KILLS / 2,
        "too few came to more than power-on: {reached:?}"
    );
}

#[test]
fn a_recording_cut_at_any_length_replays_as_far_as_it_goes() {
    let full = Full::new(|file| {
        drop(record("process-race", file, &["--checkpoint-every", "5000", "--seed", "3", "--json"]));
    });
    let bytes = fs::read(&full.file).unwrap();
    let rest = full.folder.path().join("rest.rvm");
    let mut random = Random::new(7);
    let mut lengths = vec![0, 1, 8, 31, 32, 33, bytes.len() - 1, bytes.len() - 16];
    lengths.extend(std::iter::repeat_with(|| random.below(bytes.len() as u64) as usize).take(50));
    lengths.sort_unstable();
    let mut before = None;
    for length in lengths {
        fs::write(&rest, &bytes[..length]).unwrap();
        let reached = full.check_rest(&rest);
        // More bytes never lead less far.
        assert!(reached >= before, "{length} bytes lead to {reached:?}, fewer to {before:?}");
        before = reached;
    }
    assert_eq!(before, Some(full.end), "all but the index is enough for the whole run");
}

#[test]
fn garbage_after_the_end_of_a_recording_changes_nothing() {
    let full = Full::new(|file| drop(record("rtc-rollover", file, &[]).exits(0)));
    let rest = full.folder.path().join("rest.rvm");
    let mut bytes = fs::read(&full.file).unwrap();
    bytes.extend([0xa5; 1000]);
    fs::write(&rest, bytes).unwrap();
    assert_eq!(full.check_rest(&rest), Some(full.end));
}

#[test]
fn a_recording_interrupted_by_a_person_is_closed_and_fine() {
    for signal in [Signal::INT, Signal::TERM] {
        let folder = folder();
        let file = folder.path().join("run.rvm");
        let running = start_long("1000000000000", &file);
        assert!(running.has_written(&file, 2 << 20), "ended by itself");
        running.signal(signal);
        let finished = running.finish().exits(0);
        assert!(finished.stdout.contains("workload: seed 7 stopped (interrupted) at "), "{finished}");
        let known = info(&file);
        assert_eq!(known["end"]["reason"], "interrupted");
        assert_eq!(known["recovered"], Value::Null);
        let replayed = replayvm(["replay", path_text(&file)]).run().exits(0);
        assert_eq!(replay_end(&replayed), end_of(&known));
    }
}

#[test]
fn an_interrupted_hunt_leaves_no_file_behind() {
    let folder = folder();
    let hunt = ["hunt", "lost-update-fixed", "--seeds", "0..1000000", "--jobs", "2"];
    let running = replayvm(hunt).inside(folder.path()).start();
    // It is under way when it has its first files.
    while fs::read_dir(folder.path()).unwrap().next().is_none() {
        assert!(!running.ended_within(std::time::Duration::from_millis(1)), "{}", running.finish());
    }
    running.signal(Signal::INT);
    let finished = running.finish().exits(0);
    assert!(finished.stdout.contains("interrupted: "), "{finished}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// The command failed for want of room, in one sentence, and what it has written replays.
#[track_caller]
fn check_out_of_room(full: &Full, finished: Finished, rest: &Path, why: &str) {
    finished.complains(2, &[path_text(rest), why]);
    let reached = full.check_rest(rest).expect("more than the first checkpoint fits");
    assert!(reached.tick > 0 && reached < full.end, "{reached}");
    let known = info(rest);
    assert!(known["recovered"].as_str().unwrap().contains(" 0 are lost"), "a torn frame is left: {known}");
}

/// A small file system, unmounted at the end.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// None where this user may not mount, having said so.
    fn new() -> Option<Self> {
        let folder = folder();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"]).arg(folder.path());
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self(folder)),
            failed => {
                println!("SKIPPED: no small file system can be mounted here: {failed:?}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(self.0.path()).status();
        assert!(status.is_ok_and(|status| status.success()), "{} stays mounted", self.0.path().display());
    }
}

#[test]
fn a_full_disk_is_one_error_and_what_was_written_replays() {
    let Some(disk) = SmallDisk::new() else { return };
    let full = full_long_run();
    let rest = disk.0.path().join("run.rvm");
    let finished = start_long(LIMIT, &rest).finish();
    check_out_of_room(&full, finished, &rest, "No space left on device");
}

#[test]
fn a_hunt_on_a_full_disk_is_one_error_and_leaves_no_file() {
    let Some(disk) = SmallDisk::new() else { return };
    fs::write(disk.0.path().join("filler"), vec![1; (6 << 20) - (64 << 10)]).unwrap();
    let hunt = ["hunt", "lost-update", "--seeds", "0..50", "--jobs", "2", "--json"];
    let finished = replayvm(hunt).inside(disk.0.path()).run();
    finished.complains(2, &["No space left on device"]);
    assert_eq!(fs::read_dir(disk.0.path()).unwrap().count(), 1, "only the filler is left");
}

#[test]
fn a_limit_on_file_size_is_one_error_and_what_was_written_replays() {
    let full = full_long_run();
    let rest = full.folder.path().join("rest.rvm");
    // Blocks are of 512 bytes or of 1 KiB, as the shell likes it.
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 8192 || exit 77; exec \"$@\"", "sh"]).arg(binary());
    limited.args(LONG).args(["--limit", LIMIT, "--output"]).arg(&rest);
    let finished = Replayvm::from_command(limited).run();
    if finished.status.code() == Some(77) {
        println!("SKIPPED: the size of files cannot be limited here: {finished}");
        return;
    }
    check_out_of_room(&full, finished, &rest, "File too large");
}
