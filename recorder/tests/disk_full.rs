//! A disk that fills up while a session records.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions")]

mod common;

use std::error::Error;
use std::path::Path;
use std::process::Command;

use recorder::{Position, Recording, RecordingWriter, WriteError};

fn chain(error: &dyn Error) -> String {
    format!("{error}: {}", error.source().map(ToString::to_string).unwrap_or_default())
}

/// Records checkpoints of ever new pages until an error comes.
fn record_until_full(path: &Path) -> WriteError {
    let mut writer = RecordingWriter::create(path, &common::machine(), common::images()).unwrap();
    for tick in 0..4000_u64 {
        let mut record = common::checkpoint(&writer, Position::new(tick, 0), &[]);
        let mut page = common::page(1);
        page[100..108].copy_from_slice(&tick.to_le_bytes());
        writer.add_page(&mut record, tick, &page);
        if let Err(error) = writer.checkpoint(record) {
            assert!(writer.finish(common::end()).is_err());
            return error;
        }
    }
    panic!("16 MB fit");
}

/// Checks the file that is left.
fn check_prefix(path: &Path) {
    let recording = Recording::open(std::fs::read(path).unwrap()).unwrap();
    assert_eq!(recording.verify(), Ok(()));
    assert!(recording.checkpoints().len() > 10);
    assert_eq!(recording.recovery().unwrap().lost_bytes, 0, "the torn frame is cut off");
}

#[test]
fn a_device_that_is_always_full_refuses_the_first_write() {
    if !Path::new("/dev/full").exists() {
        println!("SKIPPED: there is no /dev/full");
        return;
    }
    let error = RecordingWriter::create("/dev/full", &common::machine(), Vec::new()).unwrap_err();
    let text = chain(&error);
    assert!(text.contains("/dev/full") && text.contains("No space left on device"), "{text}");
}

#[test]
fn a_folder_that_does_not_exist_is_an_error_with_path_and_cause() {
    let error = RecordingWriter::create("/nowhere/run.rvm", &common::machine(), Vec::new()).unwrap_err();
    let text = chain(&error);
    assert!(text.contains("/nowhere/run.rvm") && text.contains("No such file"), "{text}");
}

/// Unmounts when the test is over.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn a_file_system_that_fills_up_keeps_a_recording_that_opens() {
    let folder = tempfile::tempdir().unwrap();
    let mount =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path()).output();
    if !mount.as_ref().is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: no small file system can be mounted here: {mount:?}");
        return;
    }
    let _mounted = Mounted(folder.path());
    let path = folder.path().join("run.rvm");
    let text = chain(&record_until_full(&path));
    assert!(text.contains("run.rvm") && text.contains("No space left on device"), "{text}");
    check_prefix(&path);
}

const LIMITED: &str = "RVM_TEST_LIMITED_FILE";

/// The other half of the next test: does nothing unless that one starts it.
#[test]
fn record_under_a_limit() {
    if let Some(path) = std::env::var_os(LIMITED) {
        let text = chain(&record_until_full(Path::new(&path)));
        assert!(text.contains("run.rvm") && text.contains("File too large"), "{text}");
    }
}

#[test]
fn a_limit_on_file_size_keeps_a_recording_that_opens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.rvm");
    // The signal is ignored, so that the write fails instead.
    let script = "trap '' XFSZ; ulimit -f 1024 || exit 77; exec \"$0\" --exact record_under_a_limit";
    let test = std::env::current_exe().unwrap();
    let output = Command::new("sh").args(["-c", script]).arg(test).env(LIMITED, &path).output();
    let Ok(output) = output else {
        println!("SKIPPED: there is no sh to set a limit with");
        return;
    };
    if output.status.code() == Some(77) {
        println!("SKIPPED: the size of files cannot be limited");
        return;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    check_prefix(&path);
}
