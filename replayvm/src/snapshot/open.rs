//! From a file to a machine. Everything in the file is verified when it is opened, before there is anything to run.

use std::path::{Path, PathBuf};

use recorder::{Digest, Image, ImageRole, MachineDescription, Manifest, ReadError, Snapshot, SnapshotError};

use super::without_nested;
use crate::checkpoint::{Checkpoint, PageMap, PageStore, RamTracker};
use crate::engine::{Engine, EngineError};
use crate::machine::{self, DiskError, DiskPaths, FIRST_HIDDEN_GFN, Machine, MachineError};
use crate::recording::{MAX_TICK, OpenError, StartError, restore_state};
use crate::session::Driver;
use crate::stored;

/// A snapshot, all of it verified, from which machines can be started.
#[derive(Debug)]
pub struct OpenSnapshot {
    path: PathBuf,
    snapshot: Snapshot,
    checkpoint: Checkpoint,
    virtual_ns: u64,
    store: PageStore,
    disks: DiskPaths,
}

impl OpenSnapshot {
    /// Opens a file and verifies it: every checksum, and that what it says is a state of a machine that this version can build.
    ///
    /// # Errors
    /// What is wrong with it, by name.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let (file, mapping) = stored::map(path)?;
        let wrong = |source| OpenError::Snapshot { path: path.to_owned(), source };
        let snapshot = Snapshot::open(mapping).map_err(wrong)?;
        stored::check(snapshot.recording())?;
        let Manifest { position: at, instructions, digest, ram, .. } = *snapshot.manifest();
        if at.tick > MAX_TICK {
            return Err(OpenError::TooLong { path: path.to_owned(), at });
        }
        let mut pages = PageMap::zero(machine::tracked_pages(snapshot.description()));
        let mut store = PageStore::new(snapshot.recording().clone(), Some(file));
        for page in snapshot.pages() {
            if page.gfn >= pages.pages() {
                return Err(OpenError::OutsideRam { at, gfn: page.gfn });
            }
            pages.set(page.gfn, page.hash);
            store.locate(*page);
        }
        let sections =
            without_nested(snapshot.sections()).map_err(|source| OpenError::Restore { at, source })?;
        let digests = Machine::digests(&sections, pages.digest());
        let found = Digest::combine(digests.iter().map(|(name, digest)| (name.as_str(), *digest)));
        for (component, same) in [("ram", pages.digest() == ram), ("machine", found == digest)] {
            if !same {
                return Err(OpenError::Digest { at, component: component.to_owned() });
            }
        }
        check_disks(&snapshot)?;
        // A machine without its pages, to see whether the sections are a state of one.
        let mut machine = stored::machine(snapshot.recording(), path, None).map_err(|error| match error {
            OpenError::Machine(MachineError::Boot(error)) => {
                wrong(SnapshotError::Field { field: "boot", why: format!("its ROM is {error}") })
            }
            error => error,
        })?;
        machine.restore(&sections).map_err(|source| OpenError::Restore { at, source })?;
        if machine.position() != at {
            return Err(OpenError::Elsewhere { at, found: machine.position() });
        }
        if machine.instructions() != instructions {
            let why = format!("it says {instructions}, the CPU has retired {}", machine.instructions());
            return Err(wrong(SnapshotError::Field { field: "instructions", why }));
        }
        let virtual_ns = machine.platform.clock.ns_at(at.tick);
        let checkpoint = Checkpoint { position: at, sections, pages };
        let disks = DiskPaths::default();
        Ok(Self { path: path.to_owned(), snapshot, checkpoint, virtual_ns, store, disks })
    }

    /// Looks for disk images that are not in the snapshot here first.
    pub fn look_for_disks_in(&mut self, paths: &DiskPaths) {
        self.disks = paths.clone();
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The machine.
    #[must_use]
    pub fn description(&self) -> &MachineDescription {
        self.snapshot.description()
    }

    /// Virtual time in nanoseconds since power-on.
    #[must_use]
    pub fn virtual_ns(&self) -> u64 {
        self.virtual_ns
    }

    /// Pages that are not zeros: of RAM, and of what the guest has written to its disks.
    #[must_use]
    pub fn pages(&self) -> (u64, u64) {
        let pages = self.snapshot.pages();
        let ram = pages.partition_point(|page| page.gfn < FIRST_HIDDEN_GFN) as u64;
        (ram, pages.len() as u64 - ram)
    }

    /// The images, each with its bytes.
    ///
    /// # Errors
    /// The file has been changed since it was opened.
    pub fn images(&self) -> Result<Vec<(Image, Vec<u8>)>, ReadError> {
        let recording = self.snapshot.recording();
        let images = self.snapshot.images().iter().enumerate();
        images.map(|(index, image)| Ok((image.clone(), recording.image_bytes(index)?.into_owned()))).collect()
    }

    /// A machine in the state of the snapshot, without inputs: it is nobody's but the caller's, and the file stays as it is.
    ///
    /// # Errors
    /// A disk image that is not in the snapshot is missing, or the engine cannot be had.
    pub fn start(
        &self,
        engine: impl FnOnce(&Machine) -> Result<Box<dyn Engine>, EngineError>,
    ) -> Result<(Driver, RamTracker), StartError> {
        let recording = self.snapshot.recording();
        let disks = stored::disk_images(recording, &self.path, &self.disks)?;
        let machine = stored::machine(recording, &self.path, Some(&disks))?;
        let engine = engine(&machine)?;
        let mut tracker = RamTracker::new(&machine.platform.ram);
        let mut driver = Driver { machine, engine };
        restore_state(&mut driver, &mut tracker, &self.checkpoint, &self.store)?;
        Ok((driver, tracker))
    }
}

/// The images that are said to be in the snapshot are.
fn check_disks(snapshot: &Snapshot) -> Result<(), DiskError> {
    for disk in snapshot.description().disks.iter().filter(|disk| disk.embedded) {
        let is_it = |image: &Image| {
            image.role == ImageRole::Disk && (image.hash, image.size) == (disk.hash, disk.size)
        };
        if !snapshot.images().iter().any(is_it) {
            return Err(DiskError::NotEmbedded(disk.name.clone()));
        }
    }
    Ok(())
}
