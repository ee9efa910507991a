//! How fast the front end is on a recording: opening, drawing at every zoom, jumping. Measured, not judged.
#![allow(clippy::disallowed_methods, reason = "a measurement, in the time of whoever waits")]

use std::path::Path;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Size;
use recorder::Position;
use replayvm::machine::DiskPaths;
use replayvm::timeline::{Timeline, TimelineError};

use crate::action::{Action, Landmark};
use crate::app::{App, Question, Request};
use crate::index::{ConsoleLines, Index, Inputs};
use crate::library::{Answer, find_symbols};
use crate::view;
use crate::worker::Desk;

/// A large screen.
const SIZE: Size = Size { width: 200, height: 60 };
/// Frames that are drawn at each zoom.
const FRAMES: usize = 20;
/// Jumps of each kind.
const JUMPS: usize = 200;

/// What was measured.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// From the file to the first frame, with the machine in it.
    pub open: Duration,
    /// Until all exits, the console and the inputs are read: the screen is there by then.
    pub read: Duration,
    /// Until the guest's symbols are.
    pub symbols: Duration,
    /// One frame, at every zoom from the whole run to single steps.
    pub redraw: Vec<Duration>,
    /// To a random place of the run, the frame included.
    pub seek: Vec<Duration>,
    /// To the next interrupt, exception and exit from there, and back.
    pub landmark: Vec<Duration>,
    /// One step forward and one back from there.
    pub step: Vec<Duration>,
    /// Exits of the recording.
    pub exits: u64,
    /// Bytes of the index of all exits.
    pub index_bytes: usize,
}

/// Whatever is asked for is done at once.
struct Direct {
    app: App,
    desk: Desk,
    terminal: Terminal<TestBackend>,
}

impl Direct {
    fn serve(&mut self) -> Result<(), TimelineError> {
        loop {
            let requests = self.app.requests();
            if requests.is_empty() {
                return Ok(());
            }
            for request in requests {
                if let Request::Work(order) = request {
                    let outcome = self.desk.perform(&order, &mut |_| true);
                    self.app.done(outcome)?;
                }
            }
        }
    }

    fn draw(&mut self) {
        // A terminal in memory does not fail.
        let _ = self.terminal.draw(|frame| view::draw(frame, self.app.state()));
    }

    /// Does something and draws what comes of it.
    fn time(&mut self, times: &mut Vec<Duration>, action: Action) -> Result<(), TimelineError> {
        let began = Instant::now();
        self.app.act(action);
        self.serve()?;
        self.draw();
        times.push(began.elapsed());
        Ok(())
    }

    fn time_seek(&mut self, times: &mut Vec<Duration>, to: Position) -> Result<(), TimelineError> {
        self.app.act(Action::GoTo);
        debug_assert!(self.app.state().prompt.as_ref().is_some_and(|p| p.question == Question::GoTo));
        to.to_string().chars().for_each(|c| self.app.write(c));
        let began = Instant::now();
        self.app.answer();
        self.serve()?;
        self.draw();
        times.push(began.elapsed());
        Ok(())
    }
}

/// Measures.
///
/// # Errors
/// The recording cannot be opened or replayed.
pub fn measure(path: &Path, disks: &DiskPaths) -> Result<Figures, TimelineError> {
    let mut figures = Figures::default();
    let began = Instant::now();
    let timeline = Timeline::open_finding(path, disks)?;
    let recording = timeline.opened().recording().clone();
    figures.exits = recording.statistics().exits;
    let app = App::new(&timeline, SIZE);
    let terminal = match Terminal::new(TestBackend::new(SIZE.width, SIZE.height)) {
        Ok(terminal) => terminal,
        Err(never) => match never {},
    };
    let mut front = Direct { app, desk: Desk::new(timeline), terminal };
    // What is asked for first is what is seen first; times are read behind it.
    if let Some(Request::Work(order)) = front.app.requests().into_iter().next() {
        let outcome = front.desk.perform(&order, &mut |_| true);
        front.app.done(outcome)?;
    }
    front.draw();
    figures.open = began.elapsed();
    front.serve()?;

    let began = Instant::now();
    if let Some(index) = Index::build(&recording, &mut |_| true) {
        figures.index_bytes = index.bytes();
        front.app.read(Answer::Index(index.into()));
    }
    front.app.read(Answer::Inputs(Inputs::build(&recording).into()));
    if let Some(console) = ConsoleLines::build(&recording, &mut || true) {
        front.app.read(Answer::Console(console.into()));
    }
    figures.read = began.elapsed();
    let began = Instant::now();
    front.app.read(Answer::Symbols(find_symbols(path, None)));
    figures.symbols = began.elapsed();
    front.serve()?;

    let end = front.app.state().side.end;
    // Knuth's; always the same places.
    let mut state = 1_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((u128::from(state) * u128::from(below.max(1))) >> 64) as u64
    };
    for _ in 0..JUMPS {
        let to = Position::new(random(end.tick), 0);
        front.time_seek(&mut figures.seek, to)?;
        for to in [Landmark::Interrupt, Landmark::Exception, Landmark::Exit] {
            front.time(&mut figures.landmark, Action::Jump { to, back: random(2) == 0 })?;
        }
        for back in [false, true] {
            front.time(&mut figures.step, Action::Step { back })?;
        }
    }
    front.time_seek(&mut Vec::new(), Position::new(end.tick / 2, 0))?;
    loop {
        for _ in 0..FRAMES {
            // A frame that is like the one before costs less.
            front.app.act(Action::Pan { back: false });
            let began = Instant::now();
            front.draw();
            figures.redraw.push(began.elapsed());
        }
        if front.app.state().strip.stepwise {
            return Ok(figures);
        }
        front.app.act(Action::ZoomIn);
        front.serve()?;
    }
}
