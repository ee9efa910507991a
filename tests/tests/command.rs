//! The command as a user meets it: what it prints, what it refuses, and how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use recorder::Position;
use replayvm_tests::damage::{
    copy_damaged, first_page, frames, header, patch_header, patch_rules_of_description,
};
use replayvm_tests::{Finished, end_of, folder, info, path_text, position, record, replay_end, replayvm};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with a short recording in it.
struct Scene {
    folder: TempDir,
    recording: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let folder = folder();
        let recording = folder.path().join("run.rvm");
        record("rtc-rollover", &recording, &["--checkpoint-every", "100"]).exits(0);
        Self { folder, recording }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A copy of the recording, changed.
    fn damaged(&self, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
        let path = self.path("damaged.rvm");
        copy_damaged(&self.recording, &path, change);
        path
    }

    /// A file with this in it.
    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }
}

/// A guest that is a file with this in it, recorded.
fn record_bytes(content: &[u8], options: &[&str]) -> Finished {
    let folder = folder();
    let guest = folder.path().join("guest");
    fs::write(&guest, content).unwrap();
    let finished = record(path_text(&guest), &folder.path().join("out.rvm"), options);
    assert!(!folder.path().join("out.rvm").exists(), "a refusal leaves a file: {finished}");
    finished
}

fn record_corpora(options: &[&str]) -> Finished {
    let folder = folder();
    let finished = record("lost-update", &folder.path().join("out.rvm"), options);
    assert!(!folder.path().join("out.rvm").exists(), "a refusal leaves a file: {finished}");
    finished
}

fn run<const N: usize>(arguments: [&str; N]) -> Finished {
    replayvm(arguments).run()
}

/// Every subcommand that reads a recording must refuse this one, in the same words.
fn every_reader_refuses(path: &Path, words: &[&str]) {
    let path = path_text(path);
    for arguments in [
        &["replay", path][..],
        &["info", path],
        &["info", path, "--json"],
        &["exits", path],
        &["exits", path, "--list"],
        &["gdb", path, "--listen", "127.0.0.1:0"],
    ] {
        let finished = replayvm(arguments).run().refused(words);
        assert_eq!(finished.stdout, "", "{finished}");
    }
}

// ---- help ----

#[test]
fn help_and_version_go_to_stdout_and_are_fine() {
    let help = run(["--help"]).exits(0);
    for subcommand in ["hunt", "record", "replay", "gdb", "info", "exits", "corpora", "doctor", "bench"] {
        assert!(help.stdout.contains(&format!("\n  {subcommand} ")), "{help}");
        let own = run([subcommand, "--help"]).exits(0);
        assert!(own.stdout.contains("Usage: replayvm"), "{own}");
        assert_eq!(own.stderr, "");
    }
    assert_eq!(help.stderr, "");
    let version = run(["--version"]).exits(0);
    assert_eq!(version.stdout, format!("replayvm {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn no_subcommand_and_an_unknown_one_are_bad_usage_with_a_hint() {
    let nothing = replayvm([""; 0]).run().exits(2);
    assert!(nothing.stderr.contains("Usage: replayvm"), "{nothing}");
    let unknown = run(["recrod", "lost-update"]).exits(2);
    assert!(unknown.stderr.contains("record"), "{unknown}");
}

// ---- guests that are none ----

#[test]
fn a_guest_that_is_neither_file_nor_corpora_guest_is_refused_with_a_hint() {
    let folder = folder();
    for subcommand in ["record", "hunt"] {
        let finished = replayvm([subcommand, "lost-updaet"]).inside(folder.path()).run();
        finished.refused(&["lost-updaet", "neither a file nor a corpora guest", "try: replayvm corpora"]);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_text_file_is_no_guest() {
    record_bytes(b"hello, world\n", &[]).refused(&["not a guest image", "ELF", "multiboot", "boot sector"]);
    record_bytes(b"", &[]).refused(&["not a guest image"]);
}

#[test]
fn a_folder_is_no_guest() {
    let folder = folder();
    let guest = path_text(folder.path());
    record(guest, &folder.path().join("out.rvm"), &[]).refused(&["cannot read", guest, "directory"]);
}

#[test]
fn an_elf_file_that_is_cut_short_anywhere_is_refused() {
    // Any ELF file will do; the tests' own is one, and no multiboot kernel.
    let image = fs::read(std::env::current_exe().unwrap()).unwrap();
    for length in [5, 16, 63, 64, 100, 500, 5_000, image.len() / 2] {
        record_bytes(&image[..length], &[]).refused(&["ELF"]);
    }
}

#[test]
fn a_program_of_the_host_is_refused_as_a_guest() {
    record_bytes(&fs::read(std::env::current_exe().unwrap()).unwrap(), &[]).refused(&["ELF", "0x10000"]);
}

#[test]
fn a_multiboot_kernel_that_is_cut_short_is_refused() {
    let image = corpora::find("lost-update").unwrap().image;
    let header = image.windows(4).position(|word| word == 0x1bad_b002_u32.to_le_bytes()).unwrap();
    for length in [header + 12, header + 32] {
        record_bytes(&image[..length], &[]).refused(&["cannot be"]);
    }
}

#[test]
fn an_image_that_does_not_fit_names_the_option_that_helps() {
    record_corpora(&["--memory", "1M"]).refused(&["0x100000 bytes", "--memory"]);
}

#[test]
fn memory_sizes_that_no_machine_has_are_refused() {
    for size in ["0", "4095", "5000", "1023K", "100G"] {
        record_corpora(&["--memory", size]).refused(&["1 MiB and 3 GiB"]);
    }
    let text = record_corpora(&["--memory", "much"]).exits(2);
    assert!(text.stderr.contains("`much` is not a size: write bytes, or a number with K, M or G"), "{text}");
    let huge = record_corpora(&["--memory", "99999999999999G"]).exits(2);
    assert!(huge.stderr.contains("is not a size"), "{huge}");
}

#[test]
fn an_unknown_engine_is_refused_with_those_that_there_are() {
    record_corpora(&["--engine", "warp"]).refused(&["`warp`", "auto", "soft"]);
    let scene = Scene::new();
    run(["replay", path_text(&scene.recording), "--engine", "warp"]).refused(&["`warp`", "auto", "soft"]);
}

#[test]
fn a_cpu_feature_that_cannot_be_given_is_named() {
    record_corpora(&["--cpu-feature", "+sse9"]).refused(&["no CPU feature `sse9`", "/proc/cpuinfo"]);
    record_corpora(&["--cpu-feature", "-mmx", "--cpu-feature", "+avx"])
        .refused(&["does not have the feature `avx`"]);
    record_corpora(&["--cpu-feature", "mmx"]).refused(&["`mmx`", "+name", "-name"]);
}

#[test]
fn a_cpu_feature_that_was_taken_away_is_in_the_recording() {
    let scene = Scene::new();
    let path = scene.path("features.rvm");
    record("rtc-rollover", &path, &["--cpu-feature", "-sse4_2", "--cpu-feature=+hypervisor"]).exits(0);
    run(["replay", path_text(&path)]).exits(0);
    let text = run(["info", path_text(&path)]).exits(0);
    assert!(text.stdout.contains("CPU replayvm-v2 -sse4_2 +hypervisor, "), "{text}");
    assert_eq!(info(&path)["cpu_features"], serde_json::json!(["-sse4_2", "+hypervisor"]));
}

/// A bzImage that does nothing: 4 KiB that wants to be at 2 MiB and to have 1 MiB, and a command line of ten bytes.
fn bzimage() -> Vec<u8> {
    let mut image = vec![0; 2 * 512 + 4096];
    image[1024..].fill(0xf4);
    let fields: [(usize, &[u8]); 11] = [
        (0x1f1, &[1]),
        (0x1f4, &[0, 1]),
        (0x1fe, &[0x55, 0xaa, 0xeb, 0x6a]),
        (0x202, b"HdrS\x0f\x02"),
        (0x211, &[1]),
        (0x22c, &[0xff, 0xff, 0xff, 0x7f]),
        (0x234, &[1]),
        (0x236, &[1]),
        (0x238, &[10]),
        (0x25a, &[0x20]),
        (0x262, &[0x10]),
    ];
    for (at, bytes) in fields {
        image[at..at + bytes.len()].copy_from_slice(bytes);
    }
    image
}

#[test]
fn a_linux_kernel_that_cannot_be_booted_is_refused_with_the_reason() {
    record_bytes(&bzimage()[..1100], &[]).refused(&["Linux kernel cannot be booted", "cut off"]);
    record_bytes(&bzimage(), &["--memory", "2M"]).refused(&[
        "the kernel needs memory",
        "0x300000",
        "--memory",
    ]);
    record_bytes(&bzimage(), &["--append", "0123456789a"]).refused(&["command line", "10 bytes"]);
    let mut old = bzimage();
    old[0x206] = 1;
    old[0x207] = 2;
    record_bytes(&old, &[]).refused(&["boot protocol", "2.02"]);
}

#[test]
fn an_initrd_that_is_not_there_does_not_fit_or_is_not_wanted_is_refused() {
    record_bytes(&bzimage(), &["--initrd", "/nowhere/initrd"]).refused(&["/nowhere/initrd", "No such file"]);
    let folder = folder();
    let initrd = folder.path().join("initrd");
    fs::write(&initrd, vec![0; 2 << 20]).unwrap();
    let initrd = path_text(&initrd);
    record_bytes(&bzimage(), &["--memory", "4M", "--initrd", initrd]).refused(&[
        "initial RAM disk",
        "0x200000 bytes",
        "--memory",
    ]);
    record_corpora(&["--initrd", initrd]).refused(&["only a Linux or PVH kernel"]);
}

#[test]
fn a_linux_kernel_and_its_initrd_are_in_the_recording() {
    let folder = folder();
    let (kernel, initrd) = (folder.path().join("bzImage"), folder.path().join("initrd"));
    fs::write(&kernel, bzimage()).unwrap();
    fs::write(&initrd, b"archive").unwrap();
    let path = folder.path().join("run.rvm");
    // It halts at its first instruction, with interrupts off.
    let options = ["--memory", "4M", "--append", "quiet", "--initrd", path_text(&initrd)];
    let finished = record(path_text(&kernel), &path, &options).exits(1);
    assert!(finished.stdout.contains("FAILED"), "{finished}");
    fs::remove_file(&kernel).unwrap();
    fs::remove_file(&initrd).unwrap();
    run(["replay", path_text(&path)]).exits(0);
    let text = run(["info", path_text(&path)]).exits(0);
    assert!(text.stdout.contains("initrd") && text.stdout.contains("quiet"), "{text}");
}

#[test]
fn a_boot_sector_takes_no_modules() {
    let mut sector = [0; 512];
    sector[..2].copy_from_slice(&[0xeb, 0xfe]);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    let folder = folder();
    let module = folder.path().join("module");
    fs::write(&module, "data").unwrap();
    record_bytes(&sector, &["--module", path_text(&module)])
        .refused(&["only a multiboot kernel takes modules"]);
}

#[test]
fn a_module_that_is_not_there_is_named() {
    record_corpora(&["--module", "/nowhere/initrd quiet"]).refused(&["/nowhere/initrd", "No such file"]);
}

#[test]
fn bad_ranges_of_seeds_are_bad_usage() {
    for (seeds, says) in [
        ("9..3", "holds no seed"),
        ("3..3", "holds no seed"),
        ("x", "write A..B"),
        ("1..", "write A..B"),
        ("-1..4", "write A..B"),
        ("0..99999999999999999999", "write A..B"),
    ] {
        let finished =
            replayvm(["hunt".into(), "lost-update".into(), format!("--seeds={seeds}")]).run().exits(2);
        assert!(
            finished.stderr.contains(&format!("`{seeds}`")) && finished.stderr.contains(says),
            "{finished}"
        );
    }
    for jobs in ["0", "-1", "many"] {
        replayvm(["hunt".into(), "lost-update".into(), format!("--jobs={jobs}")]).run().exits(2);
    }
}

#[test]
fn bad_positions_are_bad_usage_and_show_a_good_one() {
    let scene = Scene::new();
    let path = path_text(&scene.recording);
    for text in ["x", "5+", "+5", "1+2+3", "-1", "99999999999999999999"] {
        for arguments in [
            ["replay", path, &format!("--to={text}")],
            ["exits", path, &format!("--from={text}")],
            ["gdb", path, &format!("--at={text}")],
        ] {
            let finished = run(arguments).exits(2);
            assert!(finished.stderr.contains(&format!("`{text}` is not a position")), "{finished}");
            assert!(finished.stderr.contains("12345+3"), "{finished}");
        }
    }
}

#[test]
fn an_unknown_kind_of_exit_is_refused_with_those_that_there_are() {
    let scene = Scene::new();
    run(["exits", path_text(&scene.recording), "--kind", "page-fault"]).refused(&[
        "`page-fault`",
        "port-write",
        "interrupt",
    ]);
}

// ---- recordings that are none ----

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

// ---- outputs that cannot be written ----

#[test]
fn an_output_in_a_folder_that_is_not_there_is_refused() {
    record("lost-update", Path::new("/nowhere/run.rvm"), &[]).refused(&["/nowhere/run.rvm", "No such file"]);
    let hunt = run(["hunt", "lost-update", "--output", "/nowhere/run.rvm", "--json"]);
    hunt.refused(&["cannot write into /nowhere", "No such file"]);
}

#[test]
fn an_output_that_is_a_folder_is_refused() {
    let folder = folder();
    record("lost-update", folder.path(), &[]).refused(&[path_text(folder.path()), "directory"]);
    let hunt = run(["hunt", "lost-update", "--output", path_text(folder.path())]);
    hunt.refused(&[path_text(folder.path()), "directory", "--output"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_without_permission_is_refused() {
    let folder = folder();
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(closed.join("probe"), "").is_ok() {
        println!("SKIPPED: this user may write everywhere (root)");
        return;
    }
    record("lost-update", &closed.join("run.rvm"), &[]).refused(&["closed/run.rvm", "Permission denied"]);
    let output = closed.join("run.rvm");
    run(["hunt", "lost-update", "--output", path_text(&output)])
        .refused(&["cannot write into", "Permission denied"]);
}

#[test]
fn a_device_without_space_is_an_error_that_names_it() {
    let finished = record("lost-update", Path::new("/dev/full"), &[]).exits(2);
    assert!(finished.stderr.contains("cannot write the recording /dev/full"), "{finished}");
    assert!(finished.stderr.contains("No space left"), "{finished}");
    assert!(!finished.stderr.contains('\x1b'), "colours for nobody: {finished}");
}

// ---- gdb's door ----

#[test]
fn a_port_that_somebody_else_has_is_refused_with_a_hint() {
    let scene = Scene::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    run(["gdb", path_text(&scene.recording), "--listen", &address])
        .refused(&[&address, "in use", "--listen"]);
}

#[test]
fn a_place_that_is_none_to_listen_at_is_refused() {
    let scene = Scene::new();
    let path = path_text(&scene.recording);
    run(["gdb", path, "--listen", "99999999"]).refused(&["cannot listen at `99999999`", "HOST:PORT"]);
    run(["gdb", path, "--listen", "/nowhere/socket"]).refused(&["/nowhere/socket", "No such file"]);
}

#[test]
fn a_position_beyond_the_end_is_refused_and_the_end_named() {
    let scene = Scene::new();
    let path = path_text(&scene.recording);
    let end = end_of(&info(&scene.recording)).position;
    let beyond = Position::new(end.tick, end.offset + 1).to_string();
    run(["gdb", path, "--at", &beyond]).refused(&[&beyond, "beyond the end", &end.to_string(), "--at end"]);
    run(["replay", path, "--to", &beyond]).refused(&[&beyond, "beyond the end", &end.to_string()]);
    let exactly = run(["replay", path, "--to", &end.to_string()]).exits(0);
    assert_eq!(replay_end(&exactly).position, end);
}

// ---- what is printed ----

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
