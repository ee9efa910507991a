//! Guests and options that are none, refused with the reason.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;

use replayvm_tests::{
    Finished, Scene, folder, info, path_text, record, record_bytes, record_corpora, replayvm,
};

fn run<const N: usize>(arguments: [&str; N]) -> Finished {
    replayvm(arguments).run()
}

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
