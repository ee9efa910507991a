//! Writing a recording: the caller's side. Encoding, compression and file writes happen on a thread of their own,
//! behind a channel that is bounded, so that a slow disk slows the recording down and memory stays bounded.

/// A checkpoint on its way into a recording.
mod checkpoint_record;
/// From messages to frames in a file.
pub(crate) mod encoder;
/// Why a recording cannot be written.
mod error;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

pub use checkpoint_record::{CheckpointRecord, PageContents};
use encoder::{Encoder, LogRecord, Sink};
pub use error::WriteError;

use crate::columns::page_table::GFN_LIMIT;
use crate::page::{Page, PageHash};
use crate::{End, Event, Exit, FileKind, Image, MachineDescription, Position};

/// Messages that may wait for the thread. A checkpoint is one, with all its new pages.
const CHANNEL_MESSAGES: usize = 4;
/// Exits in a batch: enough for compression to find the guest's loops.
const BATCH_EXITS: usize = 1 << 15;
/// Events in a batch.
const BATCH_EVENTS: usize = 1 << 13;
/// Bytes of serial input and of the entropy device in a batch, before the one that goes over.
const BATCH_INPUT_BYTES: usize = 1 << 18;
/// Bytes of one event.
const MAX_INPUT_BYTES: usize = 1 << 20;

enum Message {
    Log(LogRecord),
    Checkpoint(Box<CheckpointRecord>),
    /// Answered when everything before it is written.
    Flush(Sender<()>),
    Finish(Box<End>),
}

/// Writes a recording.
///
/// Calls come in the order of the run. Dropping the writer without [`finish`](Self::finish) writes what it has and leaves a
/// recording without an end, which opens.
#[derive(Debug)]
pub struct RecordingWriter {
    path: PathBuf,
    /// `None` once closed.
    sender: Option<Sender<Message>>,
    thread: Option<JoinHandle<Option<u64>>>,
    failure: Arc<OnceLock<WriteError>>,
    log: LogRecord,
    input_bytes: usize,
    last_event: Position,
    last_exit: Position,
    /// Where the last checkpoint or flush was: everything later is at or after it.
    floor: Position,
    /// The `reached` of the last log frame.
    logged: Position,
    known: HashSet<PageHash>,
}

impl RecordingWriter {
    /// Creates the recording `path` with its description and its images, each with its bytes. A file of that name
    /// is replaced; whoever has it open keeps the old one.
    ///
    /// # Errors
    /// [`WriteError::Io`] where the file cannot be created or written, [`WriteError::WrongImage`],
    /// [`WriteError::TooLarge`] for more than 1 GiB of images and [`WriteError::TooManyImages`] for more than 256.
    pub fn create(
        path: impl AsRef<Path>,
        machine: &MachineDescription,
        images: Vec<(Image, Vec<u8>)>,
    ) -> Result<Self, WriteError> {
        let path = path.as_ref().to_owned();
        let file = create_file(&path).map_err(|error| WriteError::Io {
            action: "create",
            file: FileKind::Recording,
            path: path.clone(),
            source: Arc::new(error),
        })?;
        Self::to_sink(Box::new(file), path, machine, &images)
    }

    fn to_sink(
        sink: Box<dyn Sink>,
        path: PathBuf,
        machine: &MachineDescription,
        images: &[(Image, Vec<u8>)],
    ) -> Result<Self, WriteError> {
        let encoder = Encoder::new(sink, path.clone(), FileKind::Recording, machine, images)?;
        let (sender, receiver) = bounded(CHANNEL_MESSAGES);
        let failure = Arc::new(OnceLock::new());
        let slot = Arc::clone(&failure);
        let thread = thread::Builder::new()
            .name("recording-writer".to_owned())
            .spawn(move || run(encoder, &receiver, &slot))
            .map_err(|error| WriteError::Io {
                action: "start the writer of",
                file: FileKind::Recording,
                path: path.clone(),
                source: Arc::new(error),
            })?;
        Ok(Self {
            path,
            sender: Some(sender),
            thread: Some(thread),
            failure,
            log: LogRecord::default(),
            input_bytes: 0,
            last_event: Position::START,
            last_exit: Position::START,
            floor: Position::START,
            logged: Position::START,
            known: HashSet::new(),
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records an input at the position where the guest saw it.
    ///
    /// # Errors
    /// [`WriteError::OutOfOrder`] before an earlier event, checkpoint or flush, [`WriteError::TooLarge`] for more than
    /// 1 MiB of input in one event, and the writer thread's failures.
    pub fn event(&mut self, at: Position, event: Event) -> Result<(), WriteError> {
        self.check()?;
        in_order("an event", at, self.floor.max(self.last_event))?;
        if let Event::Serial { bytes } | Event::DeviceEntropy { bytes } = &event {
            if bytes.len() > MAX_INPUT_BYTES {
                let (bytes, limit) = (bytes.len(), MAX_INPUT_BYTES);
                return Err(WriteError::TooLarge { what: "an event", bytes, limit });
            }
            self.input_bytes += bytes.len();
        }
        self.last_event = at;
        self.log.events.push((at, event));
        if self.log.events.len() >= BATCH_EVENTS || self.input_bytes >= BATCH_INPUT_BYTES {
            self.send_log()?;
        }
        Ok(())
    }

    /// Records an exit at the position before the step that made it.
    ///
    /// # Errors
    /// [`WriteError::OutOfOrder`] before an earlier exit, checkpoint or flush, and the writer thread's failures.
    pub fn exit(&mut self, at: Position, exit: Exit) -> Result<(), WriteError> {
        self.check()?;
        in_order("an exit", at, self.floor.max(self.last_exit))?;
        self.last_exit = at;
        self.log.exits.push((at, exit));
        if self.log.exits.len() >= BATCH_EXITS { self.send_log() } else { Ok(()) }
    }

    /// Whether a page's content is in the recording, so that a checkpoint can name it without bringing it.
    #[must_use]
    pub fn knows(&self, hash: PageHash) -> bool {
        hash.is_zero() || self.known.contains(&hash)
    }

    /// Adds a page to a checkpoint: its hash, and its content where the recording does not know it.
    pub fn add_page(&self, record: &mut CheckpointRecord, gfn: u64, page: &Page) -> PageHash {
        let hash = PageHash::of(page);
        record.pages.push((gfn, hash));
        if !self.knows(hash) {
            record.contents.insert(hash, page);
        }
        hash
    }

    /// Records a checkpoint, after all events and exits before it.
    ///
    /// # Errors
    /// [`WriteError::OutOfOrder`] before an earlier event, exit, checkpoint or flush, [`WriteError::BadPage`],
    /// [`WriteError::MissingPage`], and the writer thread's failures, among which [`WriteError::WrongHash`] and
    /// [`WriteError::TooLarge`] (64 MiB of sections and page table) may be this checkpoint's, at a later call.
    pub fn checkpoint(&mut self, mut record: CheckpointRecord) -> Result<(), WriteError> {
        self.check()?;
        let at = record.position;
        in_order("a checkpoint", at, self.reached())?;
        record.pages.sort_unstable_by_key(|page| page.0);
        let twice = record.pages.windows(2).find(|pair| pair[0].0 == pair[1].0);
        let beyond = record.pages.last().filter(|page| page.0 >= GFN_LIMIT);
        if let Some((gfn, _)) = twice.map(|pair| &pair[0]).or(beyond) {
            return Err(WriteError::BadPage { at, gfn: *gfn });
        }
        let missing = |hash: PageHash| !self.knows(hash) && !record.contents.contains(hash);
        if let Some(&(gfn, _)) = record.pages.iter().find(|page| missing(page.1)) {
            return Err(WriteError::MissingPage { at, gfn });
        }
        self.floor = at;
        self.send_log()?;
        self.known.extend(record.contents.iter().map(|(hash, _)| hash));
        self.send(Message::Checkpoint(Box::new(record)))
    }

    /// Says that the run has come to `reached`, and returns when everything before is in the file (not: on the disk).
    ///
    /// # Errors
    /// [`WriteError::OutOfOrder`] before an earlier event, exit, checkpoint or flush, and the writer thread's failures.
    pub fn flush(&mut self, reached: Position) -> Result<(), WriteError> {
        self.check()?;
        in_order("a flush", reached, self.reached())?;
        self.floor = reached;
        self.send_log()?;
        let (answer, answered) = bounded(1);
        self.send(Message::Flush(answer))?;
        // An error here means that the thread is gone, and then it said why.
        if answered.recv().is_err() { Err(self.failure()) } else { self.check() }
    }

    /// Closes the recording: writes its end and its index, and returns its size in bytes once it is on the disk.
    ///
    /// # Errors
    /// [`WriteError::OutOfOrder`] where the end is before something recorded, and the writer thread's failures.
    pub fn finish(mut self, end: End) -> Result<u64, WriteError> {
        self.check()?;
        in_order("the end", end.position, self.reached())?;
        self.floor = end.position;
        self.send_log()?;
        self.send(Message::Finish(Box::new(end)))?;
        self.close().ok_or_else(|| self.failure())
    }

    /// The latest position that anything was recorded at.
    #[must_use]
    pub fn reached(&self) -> Position {
        self.floor.max(self.last_event).max(self.last_exit)
    }

    fn check(&self) -> Result<(), WriteError> {
        self.failure.get().map_or(Ok(()), |failure| Err(failure.clone()))
    }

    fn failure(&self) -> WriteError {
        self.failure.get().cloned().unwrap_or(WriteError::ThreadGone)
    }

    fn send_log(&mut self) -> Result<(), WriteError> {
        let reached = self.reached();
        if self.log.events.is_empty() && self.log.exits.is_empty() && reached == self.logged {
            return Ok(());
        }
        self.logged = reached;
        self.input_bytes = 0;
        let log = std::mem::take(&mut self.log);
        self.send(Message::Log(LogRecord { reached, ..log }))
    }

    /// Waits while the channel is full.
    fn send(&self, message: Message) -> Result<(), WriteError> {
        let sender = self.sender.as_ref().ok_or(WriteError::ThreadGone)?;
        sender.send(message).map_err(|_| self.failure())
    }

    /// Ends the thread after all messages; the bytes of a finished file.
    fn close(&mut self) -> Option<u64> {
        self.sender = None;
        self.thread.take()?.join().ok()?
    }
}

impl Drop for RecordingWriter {
    fn drop(&mut self) {
        if self.sender.is_some() {
            if let Err(error) = self.send_log() {
                tracing::warn!(%error, path = %self.path.display(), "the recording ends early");
            }
            self.close();
        }
    }
}

fn in_order(what: &'static str, at: Position, after: Position) -> Result<(), WriteError> {
    if at < after { Err(WriteError::OutOfOrder { what, at, after }) } else { Ok(()) }
}

/// A new file, also where there is one that may be mapped somewhere; a device is opened as it is.
fn create_file(path: &Path) -> io::Result<File> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => fs::remove_file(path)?,
        _ => {}
    }
    File::create(path)
}

/// The thread: until the channel closes or the recording is finished. After a failure it goes on to take messages, as
/// someone may be waiting for room in the channel or for an answer.
fn run(mut encoder: Encoder, messages: &Receiver<Message>, failure: &OnceLock<WriteError>) -> Option<u64> {
    let mut bytes = None;
    while let Ok(message) = messages.recv() {
        if failure.get().is_some() {
            continue;
        }
        let mut answer = None;
        let result = match message {
            Message::Log(log) => encoder.log(&log),
            Message::Checkpoint(record) => encoder.checkpoint(&record).and_then(|()| encoder.flush()),
            Message::Flush(sender) => {
                answer = Some(sender);
                encoder.flush()
            }
            Message::Finish(end) => encoder.finish(&end).map(|written| bytes = Some(written)),
        };
        if let Err(error) = result {
            // The first one, and before anybody who waits is woken.
            let _ = failure.set(error);
        } else if let Some(answer) = answer {
            // Where nobody waits any more there is nothing to say.
            let _ = answer.send(());
        }
    }
    bytes
}

#[cfg(test)]
mod tests;
