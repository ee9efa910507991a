//! A recording of each format version stays readable, and says the same.
//!
//! A golden file is written once, when its format version is new, and never again: set `RVM_WRITE_GOLDEN=1` and run this test; it
//! refuses to overwrite. If this test fails, the format changed without a new version.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

use std::path::{Path, PathBuf};

use recorder::{FORMAT_VERSION, Recording};

fn golden(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/v{version}.rvm"))
}

#[test]
fn every_format_version_so_far_reads_as_it_was_written() {
    let newest = golden(FORMAT_VERSION);
    if std::env::var_os("RVM_WRITE_GOLDEN").is_some() && !newest.exists() {
        common::record(&newest, true);
    }
    for version in 1..=FORMAT_VERSION {
        let recording = Recording::open(std::fs::read(golden(version)).unwrap()).unwrap();
        assert_eq!(recording.header().format_version, version);
        assert_eq!(recording.lists_every_written_page(), version >= 2);
        assert_eq!(recording.recovery(), None);
        assert_eq!(recording.end(), Some(&common::end()));
        assert_eq!(recording.last_position(), common::end().position);
        assert_eq!(recording.verify(), Ok(()));
        common::check_sample(&recording);
    }
}
