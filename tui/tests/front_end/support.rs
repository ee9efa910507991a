//! Recordings and screens that several tests need.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Size;
use recorder::{
    BootKind, CheckpointRecord, Exit, MachineDescription, Position, RULES_VERSION, Recording, RecordingWriter,
};
use replayvm::machine::GuestImages;
use replayvm::session::{RecordSession, Settings};
use tempfile::TempDir;
use tui::app::{Action, App, State, Watch};
use tui::view;

/// A recording of the guest `rtc-rollover`, made once.
pub fn recording() -> &'static Path {
    static MADE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rtc-rollover-7.rvm");
        let kernel = corpora::find("rtc-rollover").expect("a guest").image.to_vec();
        let settings =
            Settings { seed: 7, memory_bytes: 16 << 20, checkpoint_ticks: 2000, ..Settings::default() };
        record(&path, "rtc-rollover", kernel, &settings);
        (folder, path)
    });
    path
}

/// Records a guest to its end.
pub fn record(path: &Path, name: &str, kernel: Vec<u8>, settings: &Settings) {
    let images = GuestImages { kernel, ..GuestImages::default() };
    RecordSession::start(path, name, &images, settings, None, Default::default())
        .and_then(RecordSession::run)
        .expect("records");
}

/// The front end on that recording, with ten rows of exits.
pub fn app() -> App {
    let mut app = App::open(recording()).expect("opens");
    app.set_list_height(10);
    app
}

/// A recording of nothing but exits.
pub fn written(exits: impl IntoIterator<Item = (Position, Exit)>) -> Recording {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("exits.rvm");
    let description = MachineDescription {
        memory_bytes: 1 << 20,
        ns_per_tick: 10,
        rules_version: RULES_VERSION,
        cpu_model: "none".to_owned(),
        flags_profile: "none".to_owned(),
        boot: BootKind::Flat16,
        command_line: String::new(),
        guest_name: "none".to_owned(),
        seed: 0,
        engine: "none".to_owned(),
        pass_code: 0,
        disks: Vec::new(),
        entropy_device: false,
        cpu_features: Vec::new(),
    };
    let mut writer = RecordingWriter::create(&path, &description, Vec::new()).expect("creates");
    writer.checkpoint(CheckpointRecord::new(Position::START, 0)).expect("writes");
    for (at, exit) in exits {
        writer.exit(at, exit).expect("writes");
    }
    // Without an end it opens all the same.
    drop(writer);
    Recording::open(std::fs::read(&path).expect("reads")).expect("opens")
}

/// Lets everything go on, and counts how often it was asked.
#[derive(Debug, Default)]
pub struct Patient(pub u32);

impl Watch for Patient {
    fn go_on(&mut self, state: &State) -> bool {
        assert!(state.busy.is_some());
        self.0 += 1;
        true
    }
}

/// Stops everything at once.
#[derive(Debug)]
pub struct Impatient;

impl Watch for Impatient {
    fn go_on(&mut self, _: &State) -> bool {
        false
    }
}

/// Does one thing after the other.
pub fn act(app: &mut App, actions: &[Action]) {
    for action in actions {
        app.act(*action, &mut Patient::default()).expect("the recording is sound");
    }
}

/// The screen as text, one line a row, blanks at the ends of lines dropped.
pub fn screen(state: &State, size: Size) -> String {
    let mut terminal = Terminal::new(TestBackend::new(size.width, size.height)).expect("a terminal");
    terminal.draw(|frame| view::draw(frame, state)).expect("draws");
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(usize::from(size.width));
    rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned() + "\n")
        .collect()
}
