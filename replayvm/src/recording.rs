//! A recording opened for replay: its file mapped, its events and the maps of its checkpoints in memory.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use recorder::{Event, Position, ReadError, Recording, SnapshotError};

use crate::checkpoint::{Checkpoint, PageMap, PageStore, RamTracker, StoreError, WrittenLists};
use crate::engine::Engine;
use crate::machine::{
    self, DiskError, DiskImage, DiskPaths, GuestImages, Machine, MachineError, RestoreError,
};
use crate::session::{Driver, Replayed, Rewindable};
use crate::stored;

/// Why a recording cannot be opened or a machine not be put where it says.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file.
    #[error("cannot open {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is in it.
    #[error("{path} cannot be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: ReadError,
    },
    /// What is in a snapshot.
    #[error("{path} cannot be used")]
    Snapshot {
        /// Which.
        path: PathBuf,
        /// Why.
        source: SnapshotError,
    },
    /// It ends before the first checkpoint.
    #[error("{path} holds no checkpoint: the recording stopped before the guest started")]
    NoCheckpoint {
        /// Which.
        path: PathBuf,
    },
    /// A checkpoint names a page that the machine does not have.
    #[error("the checkpoint at {at} has a page {gfn:#x}, outside of the machine's memory")]
    OutsideRam {
        /// Its position.
        at: Position,
        /// Guest frame number.
        gfn: u64,
    },
    /// A checkpoint's state is not the one whose digest the recording holds.
    #[error(
        "the checkpoint at {at} is damaged: its component `{component}` has another digest than it should"
    )]
    Digest {
        /// Its position.
        at: Position,
        /// `cpu`, `ram` or a device.
        component: String,
    },
    /// A checkpoint's state stands somewhere else.
    #[error("the checkpoint at {at} is damaged: its state stands at {found}")]
    Elsewhere {
        /// Its position.
        at: Position,
        /// The CPU's.
        found: Position,
    },
    /// No run is that long.
    #[error("{path} claims a run up to {at}: no run is that long")]
    TooLong {
        /// Which.
        path: PathBuf,
        /// How far it claims to go.
        at: Position,
    },
    /// The machine.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// A disk image.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A checkpoint's sections.
    #[error("the checkpoint at {at} cannot be restored")]
    Restore {
        /// Its position.
        at: Position,
        /// Why.
        source: RestoreError,
    },
    /// A checkpoint's pages.
    #[error("the checkpoint at {at} cannot be restored")]
    Pages {
        /// Its position.
        at: Position,
        /// Why.
        source: StoreError,
    },
    /// A checkpoint's frame.
    #[error("the checkpoint at {at} cannot be read")]
    Checkpoint {
        /// Its position.
        at: Position,
        /// Why.
        source: ReadError,
    },
}

/// Ticks that no run comes to, far below where counting overflows.
pub(crate) const MAX_TICK: u64 = 1 << 62;

/// A recording, ready to be replayed from any of its checkpoints. Clones share it.
#[derive(Debug, Clone)]
pub struct OpenRecording {
    path: PathBuf,
    recording: Recording,
    events: Arc<[(Position, Event)]>,
    maps: Arc<[PageMap]>,
    written: Arc<WrittenLists>,
    /// `None`: the disks stay without images.
    disk_paths: Option<DiskPaths>,
    /// The disk images, once a machine has needed them.
    disks: Arc<OnceLock<Vec<DiskImage>>>,
}

impl OpenRecording {
    /// Opens a file. Returns its pages' whereabouts apart, since whoever replays adds to them.
    ///
    /// # Errors
    /// The file cannot be read, is no recording, or is damaged before its first checkpoint.
    pub fn open(path: &Path) -> Result<(Self, PageStore), OpenError> {
        let wrong = |source| OpenError::Read { path: path.to_owned(), source };
        let (file, mapping) = stored::map(path)?;
        let recording = Recording::open(mapping).map_err(wrong)?;
        stored::check(&recording)?;
        let at = recording.last_position();
        if at.tick > MAX_TICK {
            return Err(OpenError::TooLong { path: path.to_owned(), at });
        }
        let events: Arc<[_]> = recording.events().collect::<Result<Vec<_>, _>>().map_err(wrong)?.into();

        let mut store = PageStore::new(recording.clone(), Some(file));
        let mut map = PageMap::zero(machine::tracked_pages(recording.description()));
        let (mut maps, mut written) = (Vec::new(), WrittenLists::default());
        for index in 0..recording.checkpoints().len() {
            let checkpoint = recording.checkpoint(index).map_err(wrong)?;
            // What the first one lists was written before it.
            if index > 0 && recording.lists_every_written_page() {
                written.push(checkpoint.pages.iter().map(|page| page.gfn));
            }
            for page in checkpoint.pages {
                if page.gfn >= map.pages() {
                    return Err(OpenError::OutsideRam { at: checkpoint.info.position, gfn: page.gfn });
                }
                map.set(page.gfn, page.hash);
                store.locate(page);
            }
            maps.push(map.clone());
        }
        if maps.is_empty() {
            return Err(OpenError::NoCheckpoint { path: path.to_owned() });
        }
        let opened = Self {
            path: path.to_owned(),
            recording,
            events,
            maps: maps.into(),
            written: Arc::new(written),
            disk_paths: Some(DiskPaths::default()),
            disks: Arc::default(),
        };
        Ok((opened, store))
    }

    /// Looks for disk images that are not in the recording here first. To be said before a machine is started.
    pub fn look_for_disks_in(&mut self, paths: &DiskPaths) {
        self.disk_paths = Some(paths.clone());
    }

    /// Starts machines whose disks have no images: to be looked at, not to be run.
    pub fn leave_disks_out(&mut self) {
        self.disk_paths = None;
    }

    /// The images of the machine's disks, once a machine has been started with them.
    pub(crate) fn disk_images(&self) -> &[DiskImage] {
        self.disks.get().map_or(&[], Vec::as_slice)
    }

    /// The images of the machine's disks: those that the recording holds, and files compared with it, once.
    ///
    /// # Errors
    /// An image is damaged, missing, or another one.
    fn disks(&self, paths: &DiskPaths) -> Result<&[DiskImage], OpenError> {
        if let Some(disks) = self.disks.get() {
            return Ok(disks);
        }
        let disks = stored::disk_images(&self.recording, &self.path, paths)?;
        Ok(self.disks.get_or_init(|| disks))
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says.
    #[must_use]
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// The recorded inputs.
    #[must_use]
    pub fn inputs(&self) -> Replayed {
        Replayed::new(Arc::clone(&self.events))
    }

    /// The last position that the recording vouches for.
    #[must_use]
    pub fn last_position(&self) -> Position {
        if let Some(end) = self.recording.end() {
            return end.position;
        }
        let reached = self.recording.last_position();
        let checkpointed = self.checkpoint_position(self.checkpoints().saturating_sub(1));
        if reached > checkpointed && self.events.last().is_some_and(|(at, _)| *at == reached) {
            // The file may have been cut off among the inputs of that tick.
            return Position::new(reached.tick.saturating_sub(1), 0).max(checkpointed);
        }
        reached
    }

    /// The images that the guest was booted from.
    ///
    /// # Errors
    /// An image is damaged.
    pub fn images(&self) -> Result<GuestImages, ReadError> {
        stored::guest_images(&self.recording)
    }

    /// How many checkpoints there are.
    #[must_use]
    pub fn checkpoints(&self) -> usize {
        self.maps.len()
    }

    /// The index of the last checkpoint at or before a position.
    #[must_use]
    pub fn checkpoint_at_or_before(&self, position: Position) -> usize {
        let infos = self.recording.checkpoints();
        infos.partition_point(|info| info.position <= position).saturating_sub(1)
    }

    /// Whether one of these pages may have been written between a checkpoint and the next one, or the end.
    #[must_use]
    pub fn may_write(&self, checkpoint: usize, pages: &[RangeInclusive<u64>]) -> bool {
        self.written.any(checkpoint, pages).unwrap_or(true)
    }

    /// The position of a checkpoint.
    #[must_use]
    pub fn checkpoint_position(&self, index: usize) -> Position {
        self.recording.checkpoints().get(index).map_or(Position::START, |info| info.position)
    }

    /// A checkpoint, its digests checked.
    ///
    /// # Errors
    /// It is damaged.
    pub fn checkpoint(&self, index: usize) -> Result<Checkpoint, OpenError> {
        let position = self.checkpoint_position(index);
        let read = self
            .recording
            .checkpoint(index)
            .map_err(|source| OpenError::Checkpoint { at: position, source })?;
        let pages = self
            .maps
            .get(index)
            .cloned()
            .ok_or_else(|| OpenError::NoCheckpoint { path: self.path.clone() })?;
        let found = Machine::digests(&read.sections, pages.digest());
        if found != read.digests {
            let differs = found.iter().zip(&read.digests).find(|(found, recorded)| found != recorded);
            let component = differs.map_or_else(|| "machine".to_owned(), |((name, _), _)| name.clone());
            return Err(OpenError::Digest { at: position, component });
        }
        Ok(Checkpoint { position, sections: read.sections, pages })
    }

    /// The machine of this recording, in the state of its first checkpoint.
    ///
    /// # Errors
    /// The machine cannot be built, or the checkpoint is damaged.
    pub fn start(
        &self,
        engine: impl FnOnce(&Machine) -> Result<Box<dyn Engine>, crate::engine::EngineError>,
        inputs: &mut Replayed,
        store: &PageStore,
    ) -> Result<(Driver, RamTracker), StartError> {
        let disks = self.disk_paths.as_ref().map(|paths| self.disks(paths)).transpose()?;
        let mut machine = stored::machine(&self.recording, &self.path, disks)?;
        machine.platform.entropy = inputs.entropy();
        let engine = engine(&machine)?;
        let mut tracker = RamTracker::new(&machine.platform.ram);
        let mut driver = Driver { machine, engine };
        restore(&mut driver, &mut tracker, &self.checkpoint(0)?, inputs, store)?;
        Ok((driver, tracker))
    }
}

/// Why a replay cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The recording.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] crate::engine::EngineError),
}

/// Puts a machine into the state of a checkpoint.
///
/// # Errors
/// The checkpoint is damaged; the machine is then in no defined state.
pub fn restore(
    driver: &mut Driver,
    tracker: &mut RamTracker,
    checkpoint: &Checkpoint,
    inputs: &mut impl Rewindable,
    store: &PageStore,
) -> Result<(), OpenError> {
    restore_state(driver, tracker, checkpoint, store)?;
    inputs.stand_at(checkpoint.position);
    driver.restored(inputs);
    Ok(())
}

/// The same without its inputs: whoever has them tells the driver.
pub(crate) fn restore_state(
    driver: &mut Driver,
    tracker: &mut RamTracker,
    checkpoint: &Checkpoint,
    store: &PageStore,
) -> Result<(), OpenError> {
    let at = checkpoint.position;
    driver.machine.restore(&checkpoint.sections).map_err(|source| OpenError::Restore { at, source })?;
    let found = driver.machine.position();
    if found != at {
        return Err(OpenError::Elsewhere { at, found });
    }
    tracker
        .restore(&mut driver.machine.platform.ram, &checkpoint.pages, store)
        .map_err(|source| OpenError::Pages { at, source })
}
