//! A recording and a snapshot of each format version stay readable, and say the same.
//!
//! A golden file is written once, when its format version is new, and never again: set `RVM_WRITE_GOLDEN=1` and run this test; it
//! refuses to overwrite. If this test fails, the format changed without a new version.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

use std::path::{Path, PathBuf};

use recorder::{
    Digest, FORMAT_VERSION, NewSnapshot, PAGE_BYTES, PageHash, Position, Recording, SNAPSHOT_FORMAT_VERSION,
    Snapshot, Source,
};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn recording(version: u32) -> PathBuf {
    golden(&format!("v{version}.rvm"))
}

fn snapshot(version: u32) -> PathBuf {
    golden(&format!("v{version}.rvs"))
}

/// Pages of the snapshot, and what is in them.
const PAGES: [(u64, u8); 3] = [(1, 1), (9, 1), (16_000, 2)];

fn sample_snapshot() -> NewSnapshot {
    NewSnapshot {
        machine: common::machine(),
        images: common::images(),
        source: Source { name: "sample.rvm".to_owned(), hash: [3; 32] },
        position: Position::new(50, 2),
        instructions: 251,
        digest: Digest(77),
        ram: Digest(78),
        sections: common::sections(4),
        pages: PAGES.into_iter().map(|(gfn, seed)| (gfn, PageHash::of(&common::page(seed)))).collect(),
    }
}

#[test]
fn every_format_version_so_far_reads_as_it_was_written() {
    let newest = recording(FORMAT_VERSION);
    if std::env::var_os("RVM_WRITE_GOLDEN").is_some() && !newest.exists() {
        common::record(&newest, true);
    }
    for version in 1..=FORMAT_VERSION {
        let found = Recording::open(std::fs::read(recording(version)).unwrap()).unwrap();
        assert_eq!(found.header().format_version, version);
        assert_eq!(found.lists_every_written_page(), version >= 2);
        assert_eq!(found.recovery(), None);
        assert_eq!(found.end(), Some(&common::end()));
        assert_eq!(found.last_position(), common::end().position);
        assert_eq!(found.verify(), Ok(()));
        common::check_sample(&found);
    }
}

#[test]
fn every_snapshot_version_so_far_reads_as_it_was_written() {
    let newest = snapshot(SNAPSHOT_FORMAT_VERSION);
    let sample = sample_snapshot();
    if std::env::var_os("RVM_WRITE_GOLDEN").is_some() && !newest.exists() {
        let contents = PAGES.map(|(gfn, seed)| (gfn, common::page(seed)));
        let content = |gfn| contents.iter().find(|page| page.0 == gfn).map(|page| &page.1);
        sample.write(std::fs::File::create(&newest).unwrap(), &newest, content).unwrap();
    }
    for version in 1..=SNAPSHOT_FORMAT_VERSION {
        let found = Snapshot::open(std::fs::read(snapshot(version)).unwrap()).unwrap();
        assert_eq!(found.header().format_version, version);
        assert_eq!(found.description(), &sample.machine);
        assert_eq!(found.sections(), sample.sections);
        let manifest = found.manifest();
        assert_eq!(manifest.source, sample.source);
        assert_eq!((manifest.position, manifest.instructions), (sample.position, sample.instructions));
        assert_eq!((manifest.digest, manifest.ram), (sample.digest, sample.ram));
        for (index, (image, bytes)) in sample.images.iter().enumerate() {
            assert_eq!(&found.images()[index], image);
            assert_eq!(&*found.recording().image_bytes(index).unwrap(), bytes);
        }
        let pages: Vec<_> = found.pages().iter().map(|page| (page.gfn, page.hash)).collect();
        assert_eq!(pages, sample.pages);
        for (page, (_, seed)) in found.pages().iter().zip(PAGES) {
            let content: &[u8; PAGE_BYTES] = found.recording().page(page).unwrap();
            assert_eq!(content, &common::page(seed));
        }
    }
}
