//! The thread that moves the machine. The screen is drawn by another one, which never waits for it.

/// What is done on a timeline.
mod desk;
/// Bytes and instructions in memory.
mod find;
/// What a search comes to.
mod results;
/// Steps over calls and out of functions.
mod steps;
/// Who wrote, who called.
mod trace;

pub use desk::Desk;
pub use results::{Found, Of, Results};

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use recorder::Position;
use replayvm::symbols::Symbols;
use replayvm::timeline::{Progress, TimelineError};

use crate::machine::{Look, Snapshot};

/// A range of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes {
    /// The first one.
    pub address: u64,
    /// How many.
    pub len: u64,
    /// Whether the address is physical.
    pub physical: bool,
}

/// What runs stop on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Points {
    /// Linear addresses of instructions.
    pub breakpoints: Vec<u64>,
    /// Memory that is written.
    pub watches: Vec<Bytes>,
}

/// What the worker may be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Look again, without moving.
    Look,
    /// Go there.
    Seek(Position),
    /// Go to this time, in nanoseconds.
    Time(u64),
    /// One step.
    Step {
        /// Which way.
        back: bool,
    },
    /// One step; a call, and an interrupt, whole.
    Over {
        /// Which way.
        back: bool,
    },
    /// To where the function returns, or to where it was called.
    Out {
        /// Which way.
        back: bool,
    },
    /// To a breakpoint or a write to watched memory.
    Run {
        /// Which way.
        back: bool,
    },
    /// To where this linear address is executed.
    To {
        /// The address.
        address: u64,
        /// Which way.
        back: bool,
    },
    /// To the last write to these bytes.
    LastWrite(Bytes),
    /// All writes to these bytes.
    Writes(Bytes),
    /// All calls of the function at this linear address.
    Calls(u64),
    /// These bytes in memory.
    FindBytes {
        /// What is looked for.
        wanted: Vec<u8>,
        /// Whether in physical memory.
        physical: bool,
        /// From where on, in linear memory.
        from: u64,
    },
    /// Instructions with this text.
    FindCode {
        /// What is looked for.
        wanted: String,
        /// From where on.
        from: u64,
    },
    /// What time it is at the checkpoints.
    Clock,
}

impl Job {
    /// What it is, in a word or two.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Look => "looking",
            Self::Seek(_) | Self::Time(_) => "going there",
            Self::Step { .. } | Self::Over { .. } | Self::Out { .. } => "stepping",
            Self::Run { .. } | Self::To { .. } => "running",
            Self::LastWrite(_) | Self::Writes(_) => "looking for writes",
            Self::Calls(_) => "looking for calls",
            Self::FindBytes { .. } | Self::FindCode { .. } => "searching",
            Self::Clock => "reading times",
        }
    }
}

/// A job, and what is to be seen after it.
#[derive(Debug, Clone)]
pub struct Order {
    /// The job.
    pub job: Job,
    /// What is to be seen.
    pub look: Look,
    /// What runs stop on.
    pub points: Points,
    /// The guest's symbols.
    pub names: Option<Arc<Symbols>>,
}

/// What has come of an order.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The machine now; `None` if the recording cannot be used any more.
    pub snapshot: Option<Box<Snapshot>>,
    /// What there is to say.
    pub told: Option<String>,
    /// What was found.
    pub results: Option<Results>,
    /// Ticks with their time in nanoseconds.
    pub clock: Option<Vec<(u64, u64)>>,
    /// What went wrong.
    pub error: Option<TimelineError>,
}

/// The thread.
#[derive(Debug)]
pub struct Worker {
    orders: Option<Sender<Order>>,
    outcomes: Receiver<Outcome>,
    cancel: Arc<AtomicBool>,
    progress: Arc<Mutex<Option<Progress>>>,
    thread: Option<JoinHandle<()>>,
}

/// The thread has ended before it should.
#[derive(Debug, thiserror::Error)]
#[error("a thread of the front end has failed")]
pub struct Gone;

impl Worker {
    /// Starts it.
    ///
    /// # Errors
    /// There is no room for another thread.
    pub fn start(mut desk: Desk) -> std::io::Result<Self> {
        let (orders, taken) = channel::<Order>();
        let (done, outcomes) = channel();
        let cancel = Arc::new(AtomicBool::new(false));
        let progress = Arc::new(Mutex::new(None));
        let (stop, shown) = (Arc::clone(&cancel), Arc::clone(&progress));
        let thread = std::thread::Builder::new().name("timeline".to_owned()).spawn(move || {
            for order in taken {
                let outcome = desk.perform(&order, &mut |now| {
                    if let Ok(mut place) = shown.lock() {
                        *place = Some(now);
                    }
                    !stop.load(Ordering::Relaxed)
                });
                if let Ok(mut place) = shown.lock() {
                    *place = None;
                }
                if done.send(outcome).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { orders: Some(orders), outcomes, cancel, progress, thread: Some(thread) })
    }

    /// Gives it something to do.
    ///
    /// # Errors
    /// It is gone.
    pub fn order(&self, order: Order) -> Result<(), Gone> {
        self.cancel.store(false, Ordering::Relaxed);
        self.orders.as_ref().and_then(|orders| orders.send(order).ok()).ok_or(Gone)
    }

    /// Stops what it does.
    pub fn cancel(&self) {
        self.cancel.store(true, Ordering::Relaxed);
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        self.progress.lock().ok().and_then(|progress| *progress)
    }

    /// What has come of the last order; waits so long for it at most.
    ///
    /// # Errors
    /// It is gone.
    pub fn outcome(&self, patience: Duration) -> Result<Option<Outcome>, Gone> {
        match self.outcomes.try_recv() {
            Ok(outcome) => return Ok(Some(outcome)),
            Err(TryRecvError::Disconnected) => return Err(Gone),
            Err(TryRecvError::Empty) if patience.is_zero() => return Ok(None),
            Err(TryRecvError::Empty) => {}
        }
        match self.outcomes.recv_timeout(patience) {
            Ok(outcome) => Ok(Some(outcome)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Gone),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.cancel();
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // If it has panicked that has been told.
            let _ = thread.join();
        }
    }
}
