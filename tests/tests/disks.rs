//! Disks on the command line: images that are none, images in a recording and beside it, and images that are not what they were.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use replayvm_tests::{Finished, end_of, folder, info, path_text, record, replay_end, replayvm};
use tempfile::TempDir;

const IMAGE_BYTES: usize = 100 * 512;

/// A guest that ends soon.
const GUEST: &str = "rtc-rollover";

fn image() -> Vec<u8> {
    (0..IMAGE_BYTES as u32).map(|n| (n >> 3) as u8).collect()
}

/// A folder with an image and, perhaps, recordings with it.
struct Scene {
    folder: TempDir,
    image: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let folder = folder();
        let file = folder.path().join("data.img");
        fs::write(&file, image()).unwrap();
        Self { folder, image: file }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn record(&self, options: &[&str]) -> Finished {
        let disk = path_text(&self.image).to_owned();
        let options: Vec<_> = ["--disk", &disk].into_iter().chain(options.iter().copied()).collect();
        record(GUEST, &self.path("run.rvm"), &options)
    }

    /// A recording that does not hold the image.
    fn referencing() -> Self {
        let scene = Self::new();
        scene.record(&["--embed-disks-up-to", "1K"]).exits(0);
        scene
    }

    fn replay(&self, options: &[&str]) -> Finished {
        let file = self.path("run.rvm");
        let arguments = ["replay", path_text(&file)].into_iter().chain(options.iter().copied());
        replayvm(arguments.map(ToOwned::to_owned).collect::<Vec<_>>()).run()
    }

    /// Whoever runs the machine must refuse, in the same words; whoever only reads the file needs no disk.
    fn every_runner_refuses(&self, words: &[&str]) {
        let file = self.path("run.rvm");
        let file = path_text(&file);
        for arguments in [&["replay", file][..], &["gdb", file, "--listen", "127.0.0.1:0"]] {
            let finished = replayvm(arguments).run().refused(words);
            assert_eq!(finished.stdout, "", "{finished}");
        }
        for arguments in [&["info", file][..], &["info", file, "--json"], &["exits", file]] {
            replayvm(arguments).run().exits(0);
        }
    }
}

/// What a recording with this disk comes to; it must leave no file.
fn refused(disk: &Path, words: &[&str]) {
    let folder = folder();
    let out = folder.path().join("out.rvm");
    for subcommand in ["record", "hunt"] {
        let arguments = [subcommand, GUEST, "--output", path_text(&out), "--disk", path_text(disk)];
        replayvm(arguments).run().refused(words);
        assert!(!out.exists());
    }
}

#[test]
fn files_that_are_no_disk_images_are_refused_by_name() {
    let scene = Scene::new();
    refused(&scene.path("none.img"), &["cannot open the disk image", "none.img", "No such file"]);
    refused(scene.folder.path(), &["is not a regular file", path_text(scene.folder.path())]);
    refused(Path::new("/dev/zero"), &["/dev/zero is not a regular file"]);
    let empty = scene.path("empty.img");
    fs::write(&empty, "").unwrap();
    refused(&empty, &["empty.img has 0 bytes", "multiple of 512, and not empty"]);
    let odd = scene.path("odd.img");
    fs::write(&odd, [0; 1000]).unwrap();
    refused(&odd, &["odd.img has 1000 bytes", "multiple of 512"]);
    let pipe = scene.path("pipe");
    if Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
        refused(&pipe, &["is not a regular file"]);
    } else {
        println!("SKIPPED the pipe: there is no mkfifo");
    }
}

#[test]
fn an_image_that_may_not_be_read_is_refused() {
    let scene = Scene::new();
    fs::set_permissions(&scene.image, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&scene.image).is_ok() {
        println!("SKIPPED: this user may read everything (root)");
        return;
    }
    refused(&scene.image, &["cannot open the disk image", "data.img", "ermission denied"]);
}

#[test]
fn more_disks_than_a_machine_takes_are_refused() {
    let scene = Scene::new();
    let disk = path_text(&scene.image).to_owned();
    let more = ["--disk", &disk].repeat(6);
    scene.record(&more).exits(0);
    fs::remove_file(scene.path("run.rvm")).unwrap();
    scene.record(&["--disk", &disk].repeat(7)).refused(&["at most 7 disks"]);
    assert!(!scene.path("run.rvm").exists());
}

#[test]
fn a_small_image_is_in_the_recording() {
    let scene = Scene::new();
    let only = scene.path("only.img");
    fs::write(&only, [7; 512]).unwrap();
    let only = format!("{},ro", path_text(&only));
    scene.record(&["--disk", &only, "--entropy-device", "on"]).exits(0);
    let report = info(&scene.path("run.rvm"));
    let disks = report["disks"].as_array().unwrap();
    let of = |name: &str| disks.iter().map(|disk| disk[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("name"), ["data.img", "only.img"]);
    assert_eq!(of("size"), [IMAGE_BYTES, 512]);
    assert_eq!(of("embedded"), [true, true]);
    assert_eq!(of("read_only"), [false, true]);
    assert_eq!(report["entropy_device"], true);
    let text = replayvm(["info", path_text(&scene.path("run.rvm"))]).run().exits(0);
    assert!(text.stdout.contains("virtio-blk   only.img (512 B, read only), in the recording"), "{text}");
    assert!(text.stdout.contains("virtio-rng   entropy device"), "{text}");
    fs::remove_file(&scene.image).unwrap();
    assert_eq!(replay_end(&scene.replay(&[]).exits(0)), end_of(&report));
}

#[test]
fn a_large_image_is_named_and_looked_for_at_its_path_and_beside_the_recording() {
    let scene = Scene::referencing();
    let text = replayvm(["info", path_text(&scene.path("run.rvm"))]).run().exits(0);
    let was = format!("not in the recording, was {}", scene.image.display());
    assert!(text.stdout.contains(&was), "{text}");
    let recorded = end_of(&info(&scene.path("run.rvm")));
    assert_eq!(replay_end(&scene.replay(&[]).exits(0)), recorded);

    let other = folder();
    let beside = other.path().join("data.img");
    fs::rename(&scene.image, &beside).unwrap();
    scene.every_runner_refuses(&["`data.img` is not in the recording", "--disk-path data.img=FILE"]);
    let told = format!("data.img={}", beside.display());
    assert_eq!(replay_end(&scene.replay(&["--disk-path", &told]).exits(0)), recorded);
    scene.replay(&["--disk-path", "data.img"]).exits(2);

    let copy = other.path().join("run.rvm");
    fs::copy(scene.path("run.rvm"), &copy).unwrap();
    assert_eq!(replay_end(&replayvm(["replay", path_text(&copy)]).run().exits(0)), recorded);
}

#[test]
fn an_image_that_has_changed_is_refused_and_says_how() {
    let scene = Scene::referencing();
    let mut changed = image();
    changed[77] ^= 1;
    fs::write(&scene.image, &changed).unwrap();
    let path = path_text(&scene.image).to_owned();
    let recorded = info(&scene.path("run.rvm"))["disks"][0]["blake3"].as_str().unwrap().to_owned();
    scene.every_runner_refuses(&[&path, "has changed since the recording", &recorded]);
    fs::write(&scene.image, &changed[..512]).unwrap();
    scene.every_runner_refuses(&[&path, "it has 512 bytes, recorded were 51200"]);
    fs::write(&scene.image, image()).unwrap();
    scene.replay(&[]).exits(0);
}

#[test]
fn an_image_of_the_wrong_kind_at_replay_is_refused() {
    let scene = Scene::referencing();
    fs::remove_file(&scene.image).unwrap();
    fs::create_dir(&scene.image).unwrap();
    scene.every_runner_refuses(&["is not a regular file"]);
}
