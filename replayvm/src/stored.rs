//! What a file of ours holds of a machine beside its state: its description, its images. A recording and a snapshot alike.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use memmap2::Mmap;
use recorder::{BootKind, ImageRole, ReadError, Recording};

use crate::machine::{self, DiskError, DiskImage, DiskPaths, GuestImages, Machine, MachineError, Module};
use crate::recording::OpenError;

/// Opens a file and maps it.
pub(crate) fn map(path: &Path) -> Result<(File, Mmap), OpenError> {
    let wrong = |source| OpenError::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(wrong)?;
    if file.metadata().map_err(wrong)?.is_dir() {
        return Err(wrong(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
    }
    // SAFETY: the mapping is read-only and every use of its bytes is checked. Somebody who cuts the file short while it
    // is open can end this process with a bus error, as with any mapped file; docs/trace-format.md says so.
    let mapping = unsafe { Mmap::map(&file) }.map_err(wrong)?;
    Ok((file, mapping))
}

/// Whether both are names of one file.
pub(crate) fn is_same_file(path: &Path, other: &Path) -> bool {
    let place = |path: &Path| std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    place(path).is_some_and(|here| place(other) == Some(here))
}

/// Whether this version can build the machine of a file.
pub(crate) fn check(recording: &Recording) -> Result<(), MachineError> {
    let rules = recording.header().rules_version;
    if rules != recorder::RULES_VERSION {
        return Err(MachineError::Rules(rules));
    }
    machine::check(recording.description())
}

/// The images that the guest was booted from, as far as the file holds them.
pub(crate) fn guest_images(recording: &Recording) -> Result<GuestImages, ReadError> {
    let mut images = GuestImages::default();
    for (index, image) in recording.images().iter().enumerate() {
        let bytes = recording.image_bytes(index)?.into_owned();
        match image.role {
            ImageRole::Module => images.modules.push(Module {
                name: image.name.clone(),
                command_line: image.command_line.clone(),
                bytes,
            }),
            ImageRole::Kernel => images.kernel = bytes,
            ImageRole::Initrd => images.initrd = Some(bytes),
            // Disks and symbols are not what a guest is booted from.
            _ => {}
        }
    }
    Ok(images)
}

/// The images of the machine's disks: those that the file at `path` holds, and others compared with what it says of them.
pub(crate) fn disk_images(
    recording: &Recording,
    path: &Path,
    paths: &DiskPaths,
) -> Result<Vec<DiskImage>, OpenError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let disks = recording.description().disks.iter().map(|disk| {
        if !disk.embedded {
            return Ok(DiskImage::find(disk, folder, paths)?);
        }
        let same = |image: &recorder::Image| image.role == ImageRole::Disk && image.hash == disk.hash;
        let index = recording.images().iter().position(same);
        let index = index.ok_or_else(|| DiskError::NotEmbedded(disk.name.clone()))?;
        let bytes = recording.image_bytes(index);
        let bytes = bytes.map_err(|source| OpenError::Read { path: path.to_owned(), source })?;
        Ok(DiskImage::embedded(disk, bytes.into_owned())?)
    });
    disks.collect()
}

/// The machine of a file, with all that is not state: its ROM, and its disks' images where they are given.
pub(crate) fn machine(
    recording: &Recording,
    path: &Path,
    disks: Option<&[DiskImage]>,
) -> Result<Machine, OpenError> {
    let description = recording.description();
    let mut machine = Machine::bare(description)?;
    if let Some(disks) = disks {
        machine.insert_disks(description, disks)?;
    }
    if description.boot == BootKind::Firmware {
        let images =
            guest_images(recording).map_err(|source| OpenError::Read { path: path.to_owned(), source })?;
        machine.attach(description, &images)?;
    }
    Ok(machine)
}
