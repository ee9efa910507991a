//! The threads that read the recording: counts, console, inputs and symbols, while the screen is there already.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use recorder::Recording;
use replayvm::symbols::{self, Symbols};

use crate::exits::{Filter, Listed, Order, select};
use crate::index::{ConsoleLines, Index, Inputs};
use crate::worker::Gone;

/// What may be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Exits, chosen and in order.
    Select {
        /// Which; all, if there is none.
        filter: Option<Filter>,
        /// How.
        order: Order,
    },
}

/// What was read.
#[derive(Debug)]
pub enum Answer {
    /// Counts and places of all exits.
    Index(Arc<Index>),
    /// What was printed.
    Console(Arc<ConsoleLines>),
    /// What came in.
    Inputs(Arc<Inputs>),
    /// The guest's symbols, or why there are none.
    Symbols(Result<Option<Arc<Symbols>>, String>),
    /// Exits, chosen and in order. `None`: somebody stopped it.
    Selected(Result<Option<Listed>, String>),
}

/// The threads.
#[derive(Debug)]
pub struct Library {
    asks: Option<Sender<Ask>>,
    answers: Receiver<Answer>,
    /// Stops what is being chosen.
    cancel: Arc<AtomicBool>,
    /// Ends everything.
    closed: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
    reader: Option<JoinHandle<()>>,
    symbols: JoinHandle<()>,
    /// The thread that looks for symbols has said what it found.
    named: bool,
}

impl Library {
    /// Starts to read.
    ///
    /// # Errors
    /// There is no room for another thread.
    pub fn open(recording: Recording, path: PathBuf, symbols_file: Option<PathBuf>) -> std::io::Result<Self> {
        let (asks, asked) = channel();
        let (answer, answers) = channel();
        let (cancel, closed, seen) = (Arc::default(), Arc::default(), Arc::default());
        let reader = {
            let (answer, cancel, closed, seen) =
                (answer.clone(), Arc::clone(&cancel), Arc::clone(&closed), Arc::clone(&seen));
            let named = std::thread::Builder::new().name("library".to_owned());
            named.spawn(move || read(&recording, &asked, &answer, &cancel, &closed, &seen))?
        };
        // It is not waited for at the end: a search through all memory cannot be stopped, and holds nothing.
        let named = std::thread::Builder::new().name("symbols".to_owned());
        let symbols = named.spawn(move || {
            // Nobody may be there any more.
            let _ = answer.send(Answer::Symbols(find_symbols(&path, symbols_file.as_deref())));
        })?;
        let asks = Some(asks);
        Ok(Self { asks, answers, cancel, closed, seen, reader: Some(reader), symbols, named: false })
    }

    /// Asks for something.
    pub fn ask(&self, ask: Ask) {
        self.cancel.store(false, Ordering::Relaxed);
        if let Some(asks) = &self.asks {
            // The thread has ended only if it has failed, and then said so.
            let _ = asks.send(ask);
        }
    }

    /// Stops what was asked for.
    pub fn cancel(&self) {
        self.cancel.store(true, Ordering::Relaxed);
    }

    /// How many exits have been seen of what is being read.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// What has been read.
    ///
    /// # Errors
    /// A thread has ended before it should.
    pub fn answer(&mut self) -> Result<Option<Answer>, Gone> {
        // In this order: what a thread says last is there before it ends.
        let ended = self.symbols.is_finished() && !self.named
            || self.reader.as_ref().is_some_and(JoinHandle::is_finished);
        match self.answers.try_recv() {
            Ok(answer) => {
                self.named |= matches!(answer, Answer::Symbols(_));
                Ok(Some(answer))
            }
            Err(_) if ended => Err(Gone),
            Err(_) => Ok(None),
        }
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        self.cancel();
        self.asks = None;
        if let Some(reader) = self.reader.take() {
            // If it has panicked that has been told.
            let _ = reader.join();
        }
    }
}

/// The guest's symbols.
///
/// # Errors
/// In words.
pub fn find_symbols(path: &Path, file: Option<&Path>) -> Result<Option<Arc<Symbols>>, String> {
    match symbols::of_recording(path, file) {
        Ok(symbols) => Ok(symbols.map(Arc::new)),
        Err(error) => Err(error.to_string()),
    }
}

fn read(
    recording: &Recording,
    asked: &Receiver<Ask>,
    answer: &Sender<Answer>,
    cancel: &AtomicBool,
    closed: &AtomicBool,
    seen: &AtomicU64,
) {
    let mut go_on = |count: u64| {
        seen.store(count, Ordering::Relaxed);
        !closed.load(Ordering::Relaxed)
    };
    let Some(index) = Index::build(recording, &mut go_on) else { return };
    let index = Arc::new(index);
    // Whoever is to get an answer may be gone; the next ask that does not come ends this.
    let _ = answer.send(Answer::Index(Arc::clone(&index)));
    let _ = answer.send(Answer::Inputs(Arc::new(Inputs::build(recording))));
    if let Some(console) = ConsoleLines::build(recording, &mut || go_on(0)) {
        let _ = answer.send(Answer::Console(Arc::new(console)));
    }
    for Ask::Select { filter, order } in asked {
        let found = select(recording, Some(&index), filter.as_ref(), order, &mut |count| {
            seen.store(count, Ordering::Relaxed);
            !cancel.load(Ordering::Relaxed)
        });
        let _ = answer.send(Answer::Selected(found.map_err(|error| error.to_string())));
    }
}
