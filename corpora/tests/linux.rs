//! What Linux guests are built of: fetched files, archives, modules.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use corpora::linux::{Initramfs, all, find, kernel, required};

/// The entries of a newc archive: path, mode, content.
fn entries(archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        assert_eq!(&archive[at..at + 6], b"070701");
        let field = |n: usize| {
            let digits = std::str::from_utf8(&archive[at + 6 + n * 8..][..8]).unwrap();
            u32::from_str_radix(digits, 16).unwrap()
        };
        let (mode, modified, size, name) = (field(1), field(5), field(6) as usize, field(11) as usize);
        assert_eq!(modified, 0);
        let path = std::str::from_utf8(&archive[at + 110..][..name - 1]).unwrap().to_owned();
        assert_eq!(archive[at + 110 + name - 1], 0);
        let data = (at + 110 + name).next_multiple_of(4);
        at = (data + size).next_multiple_of(4);
        if path == "TRAILER!!!" {
            assert_eq!(at, archive.len());
            return found;
        }
        found.push((path, mode, archive[data..data + size].to_vec()));
    }
}

#[test]
fn a_file_system_has_its_folders_before_their_files_and_is_the_same_every_time() {
    let Some(empty) = required(Initramfs::new()) else { return };
    let build = || empty.clone().file("/etc/deep/er/note", "hello").program("prog", [1, 2, 3]).build();
    let archive = build();
    assert!(archive == build());
    let entries = entries(&archive);
    let place = |path: &str| {
        entries.iter().position(|(there, ..)| there == path).unwrap_or_else(|| panic!("no {path}"))
    };
    for (file, folder) in [
        ("etc/deep/er/note", "etc/deep/er"),
        ("etc/deep/er", "etc/deep"),
        ("etc/deep", "etc"),
        ("bin/prog", "bin"),
        ("dev/console", "dev"),
    ] {
        assert!(place(folder) < place(file), "{file}");
        assert_eq!(entries[place(folder)].1, 0o040_755);
    }
    assert_eq!(entries[place("etc/deep/er/note")].2, b"hello");
    assert_eq!(entries[place("bin/prog")].1, 0o100_755);
    assert_eq!(entries[place("bin/sh")], ("bin/sh".to_owned(), 0o120_777, b"busybox".to_vec()));
    assert_eq!(entries[place("dev/console")].1, 0o020_600);
}

#[test]
fn modules_come_after_what_they_depend_on_each_once() {
    let Some(empty) = required(Initramfs::new()) else { return };
    let archive = empty.module("virtio-blk").unwrap().module("virtio_mmio").unwrap().build();
    let entries = entries(&archive);
    let init = &entries.iter().find(|(path, ..)| path == "init").unwrap().2;
    let init = std::str::from_utf8(init).unwrap();
    let loaded: Vec<_> = init.lines().filter_map(|line| line.strip_prefix("insmod /lib/modules/")).collect();
    assert_eq!(loaded, ["virtio_ring.ko", "virtio.ko", "virtio_blk.ko", "virtio_mmio.ko"]);
    for name in loaded {
        assert!(entries.iter().any(|(path, _, bytes)| {
            path == &format!("lib/modules/{name}") && bytes.starts_with(b"\x7fELF")
        }));
    }
}

#[test]
fn a_module_that_does_not_exist_is_named() {
    let Some(empty) = required(Initramfs::new()) else { return };
    let error = empty.module("no-such-thing").unwrap_err();
    assert_eq!(error.to_string(), "the kernel's package has no module no_such_thing");
}

#[test]
fn the_kernel_is_a_bzimage_and_every_guest_can_be_built_from_it() {
    if required(kernel()).is_none() {
        return;
    }
    for guest in all() {
        assert_eq!(find(guest.name).unwrap().name, guest.name);
        assert!(corpora::find(guest.name).is_none(), "{} is two guests", guest.name);
        let Some(images) = required(guest.images()) else { continue };
        assert_eq!(&images.kernel[0x202..0x206], b"HdrS", "{}", guest.name);
        assert!(images == guest.images().unwrap(), "{}", guest.name);
    }
}
