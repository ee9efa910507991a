//! From a cursor over a recording to a file.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use recorder::{
    Digest, EndReason, Image, ImageRole, MAX_IMAGE_BYTES, MachineDescription, NewSnapshot, Position,
    ReadError, Source, WriteError,
};

use crate::checkpoint::PageMap;
use crate::machine::{Machine, RamError};
use crate::recording::OpenRecording;
use crate::stored;
use crate::timeline::Timeline;

/// Why a snapshot could not be saved. There is no new file then, and an old one is as it was.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// There is nothing to go on with.
    #[error("the guest's run is over at {at}: {reason}; a snapshot is of a machine that goes on")]
    Over {
        /// The end of the recording.
        at: Position,
        /// How it ended.
        reason: EndReason,
    },
    /// The recording would be lost.
    #[error("{0} is the recording itself")]
    Source(PathBuf),
    /// A directory, a device, a pipe.
    #[error("{0} is not a regular file")]
    NotAFile(PathBuf),
    /// The file system.
    #[error("cannot write {path}")]
    File {
        /// The snapshot.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An image of the recording.
    #[error("an image of the recording is damaged")]
    Image(#[from] ReadError),
    /// What is written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// RAM.
    #[error(transparent)]
    Ram(#[from] RamError),
}

/// What has been saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Where the machine stands.
    pub position: Position,
    /// Its digest.
    pub digest: Digest,
    /// Bytes of the file.
    pub bytes: u64,
    /// Pages that are not zeros, those that the guest has written to its disks included.
    pub pages: u64,
    /// Disks whose images are not in it and must be had to go on.
    pub disks_left_out: Vec<String>,
}

/// Saves the machine under the cursor to `path`. An older file is replaced once the new one is whole. Disk images of at most
/// `embed_up_to` bytes become part of it, as long as all images together are no more than [`MAX_IMAGE_BYTES`].
///
/// # Errors
/// The guest's run is over, or the file cannot be written.
pub fn save(timeline: &mut Timeline, path: &Path, embed_up_to: u64) -> Result<Saved, SaveError> {
    check_target(path, timeline.opened().path())?;
    let position = timeline.position();
    if let Some(end) = timeline.opened().recording().end()
        && position >= end.position
        && !matches!(end.reason, EndReason::TickLimit | EndReason::Interrupted | EndReason::Hung)
    {
        return Err(SaveError::Over { at: position, reason: end.reason.clone() });
    }
    let checkpoint = timeline.checkpoint_here()?;
    let map = &checkpoint.pages;
    let digests = Machine::digests(&checkpoint.sections, map.digest());
    let digest = Digest::combine(digests.iter().map(|(name, digest)| (name.as_str(), *digest)));
    let opened = timeline.opened();
    let (machine, images) = machine_and_images(opened, embed_up_to)?;
    let gfns = PageMap::zero(map.pages()).differing(map);
    let snapshot = NewSnapshot {
        machine,
        images,
        source: Source {
            name: opened.path().file_name().unwrap_or_default().to_string_lossy().into_owned(),
            hash: opened.recording().file_hash(),
        },
        position,
        instructions: timeline.instructions(),
        digest,
        ram: map.digest(),
        sections: checkpoint.sections.iter().cloned().chain([super::nested()]).collect(),
        pages: gfns.into_iter().map(|gfn| (gfn, map.get(gfn))).collect(),
    };
    let wrong = |source| SaveError::File { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::Builder::new()
        .prefix(".replayvm-")
        .suffix(".rvs.partial")
        // What the umask leaves of it, as of any new file.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(wrong)?;
    let ram = &timeline.machine().platform.ram;
    let bytes = snapshot.write(file.as_file().try_clone().map_err(wrong)?, path, |gfn| ram.page(gfn).ok())?;
    file.persist(path).map_err(|error| wrong(error.error))?;
    let disks_left_out = snapshot.machine.disks.iter().filter(|disk| !disk.embedded);
    Ok(Saved {
        position,
        digest,
        bytes,
        pages: snapshot.pages.len() as u64,
        disks_left_out: disks_left_out.map(|disk| disk.name.clone()).collect(),
    })
}

/// What is renamed over must be a snapshot, or nothing.
fn check_target(path: &Path, recording: &Path) -> Result<(), SaveError> {
    let Ok(target) = std::fs::metadata(path) else { return Ok(()) };
    if !target.is_file() {
        return Err(SaveError::NotAFile(path.to_owned()));
    }
    if stored::is_same_file(path, recording) {
        return Err(SaveError::Source(path.to_owned()));
    }
    Ok(())
}

/// The machine, and what is needed of its images: ROM and symbols, which are the kernel's, and disks. What a guest was only booted
/// from is in its memory.
#[allow(clippy::type_complexity, reason = "as the writer takes them")]
fn machine_and_images(
    opened: &OpenRecording,
    embed_up_to: u64,
) -> Result<(MachineDescription, Vec<(Image, Vec<u8>)>), ReadError> {
    let recording = opened.recording();
    let mut machine = recording.description().clone();
    let mut images = Vec::new();
    for (index, image) in recording.images().iter().enumerate() {
        if matches!(image.role, ImageRole::Kernel | ImageRole::Disk | ImageRole::Symbols) {
            images.push((image.clone(), recording.image_bytes(index)?.into_owned()));
        }
    }
    let mut total: u64 = images.iter().map(|(image, _)| image.size).sum();
    for (disk, image) in machine.disks.iter_mut().zip(opened.disk_images()) {
        let after = total.saturating_add(disk.size);
        if !disk.embedded && disk.size <= embed_up_to && after <= MAX_IMAGE_BYTES as u64 {
            disk.embedded = true;
            total = after;
            let (role, name, bytes) = (ImageRole::Disk, disk.name.clone(), image.bytes());
            let command_line = String::new();
            images
                .push((Image { role, name, command_line, hash: disk.hash, size: disk.size }, bytes.to_vec()));
        }
    }
    Ok((machine, images))
}
