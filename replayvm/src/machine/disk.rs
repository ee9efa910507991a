//! Disk images: what a disk holds at power-on. An image is never written.
//!
//! A recording holds small images itself and names large ones by path and BLAKE3; such an image is looked for and compared once,
//! before anything runs. Hashing reads all of it: half a second for 2 GiB that are in the host's page cache.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use recorder::{Disk, PAGE_BYTES};

/// Bytes of a sector, the unit of virtio-blk.
pub const SECTOR_BYTES: u64 = 512;
/// Disks of a machine at the most: with the entropy device they take the interrupt lines from 16 to 23.
pub const MAX_DISKS: usize = 7;
/// Bytes of all disks together that can be written at the most: their pages are numbered and tracked like RAM.
pub const MAX_DISK_BYTES: u64 = 256 << 30;
/// An image of at most this size goes into the recording unless told otherwise.
pub const DEFAULT_EMBEDDED_BYTES: u64 = 64 << 20;

/// What can be wrong with a disk image.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The file.
    #[error("cannot open the disk image {path}")]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory, a device, a pipe.
    #[error("the disk image {path} is not a regular file")]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
    /// No whole number of sectors.
    #[error("the disk image {path} has {bytes} bytes: a disk is a multiple of {SECTOR_BYTES}, and not empty")]
    Size {
        /// Which.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The recording does not hold the image, and the file is nowhere.
    #[error(
        "the disk image `{name}` is not in the recording and not to be found: looked for {}; say where it is with \
         --disk-path {name}=FILE",
        list(tried)
    )]
    Missing {
        /// The image's name.
        name: String,
        /// Where.
        tried: Vec<PathBuf>,
    },
    /// The file has another size than when it was recorded.
    #[error("{path} is not the disk image of the recording: it has {found} bytes, recorded were {expected}")]
    OtherSize {
        /// Which.
        path: PathBuf,
        /// Its size.
        found: u64,
        /// The recorded one.
        expected: u64,
    },
    /// The file holds something else than when it was recorded.
    #[error("{path} has changed since the recording: its BLAKE3 is {found}, recorded was {expected}")]
    OtherContent {
        /// Which.
        path: PathBuf,
        /// Its hash.
        found: blake3::Hash,
        /// The recorded one.
        expected: blake3::Hash,
    },
    /// A recording that names a disk, says that it holds it, and does not.
    #[error("the recording should hold the disk image `{0}`, but does not")]
    NotEmbedded(String),
    /// A machine with other disks than its description.
    #[error("the machine has {expected} disks, but {found} images were given")]
    Count {
        /// Images.
        found: usize,
        /// Disks.
        expected: usize,
    },
    /// More than there is room for.
    #[error("a machine takes at most {MAX_DISKS} disks, and at most {} GiB of them writable", MAX_DISK_BYTES >> 30)]
    TooMany,
    /// A description that cannot be true.
    #[error("the disk `{name}` claims {bytes} bytes: a disk is a multiple of {SECTOR_BYTES}, and not empty")]
    Claim {
        /// Its name.
        name: String,
        /// The size claimed.
        bytes: u64,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// An image's bytes; a clone shares them.
#[derive(Clone)]
enum Bytes {
    Mapped(Arc<Mmap>),
    Memory(Arc<[u8]>),
}

/// A disk image, opened and identified. A clone shares the bytes.
#[derive(Clone)]
pub struct DiskImage {
    disk: Disk,
    bytes: Bytes,
}

impl std::fmt::Debug for DiskImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.disk.fmt(f)
    }
}

impl PartialEq for DiskImage {
    fn eq(&self, other: &Self) -> bool {
        self.disk == other.disk
    }
}

impl Eq for DiskImage {}

impl DiskImage {
    /// Opens and hashes an image for a new recording. One of at most `embed_up_to` bytes is read, to become part of the recording;
    /// a larger one is mapped, and must not change as long as recordings name it.
    ///
    /// # Errors
    /// The file is missing, not to be read, no regular file, empty, or no whole number of sectors.
    pub fn open(path: &Path, read_only: bool, embed_up_to: u64) -> Result<Self, DiskError> {
        let (file, size) = open(path)?;
        if size == 0 || !size.is_multiple_of(SECTOR_BYTES) {
            return Err(DiskError::Size { path: path.to_owned(), bytes: size });
        }
        let embedded = size <= embed_up_to;
        let bytes = if embedded {
            let read =
                std::fs::read(path).map_err(|source| DiskError::Open { path: path.to_owned(), source })?;
            if read.len() as u64 != size {
                return Err(DiskError::OtherSize {
                    path: path.to_owned(),
                    found: read.len() as u64,
                    expected: size,
                });
            }
            Bytes::Memory(read.into())
        } else {
            Bytes::Mapped(map(&file, path)?)
        };
        let hash = *blake3::hash(bytes.as_slice()).as_bytes();
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let path = whole.to_string_lossy().into_owned();
        Ok(Self { disk: Disk { name, path, hash, size, embedded, read_only }, bytes })
    }

    /// The image of a recorded disk, from a file: the first that exists of those in `elsewhere` under the image's name, of the path it
    /// had, and of a file of its name in `folder`. It is compared with what was recorded; if it is another, the next one is tried, and
    /// the first difference reported.
    ///
    /// # Errors
    /// The image is nowhere, or is another one.
    pub fn find(disk: &Disk, folder: &Path, elsewhere: &DiskPaths) -> Result<Self, DiskError> {
        let named = elsewhere.0.iter().filter(|(name, _)| *name == disk.name).map(|(_, path)| path.clone());
        // A name from a recording is a name, not a way out of the folder.
        let beside = Path::new(&disk.name).file_name().map(|name| folder.join(name));
        let mut tried: Vec<_> = named.chain([PathBuf::from(&disk.path)]).chain(beside).collect();
        tried.dedup();
        let mut first_wrong = None;
        for path in tried.iter().filter(|path| path.exists()) {
            match Self::compared(disk, path) {
                Ok(image) => return Ok(image),
                Err(error) => {
                    first_wrong.get_or_insert(error);
                }
            }
        }
        Err(first_wrong.unwrap_or(DiskError::Missing { name: disk.name.clone(), tried }))
    }

    fn compared(disk: &Disk, path: &Path) -> Result<Self, DiskError> {
        let (file, found) = open(path)?;
        if found != disk.size {
            return Err(DiskError::OtherSize { path: path.to_owned(), found, expected: disk.size });
        }
        let bytes = Bytes::Mapped(map(&file, path)?);
        let (found, expected) = (blake3::hash(bytes.as_slice()), blake3::Hash::from_bytes(disk.hash));
        if found != expected {
            return Err(DiskError::OtherContent { path: path.to_owned(), found, expected });
        }
        Ok(Self { disk: disk.clone(), bytes })
    }

    /// The image of a recorded disk that the recording itself holds; `bytes` have been compared with `disk.hash`.
    ///
    /// # Errors
    /// They are not as many as the disk has.
    pub fn embedded(disk: &Disk, bytes: Vec<u8>) -> Result<Self, DiskError> {
        if bytes.len() as u64 != disk.size {
            return Err(DiskError::NotEmbedded(disk.name.clone()));
        }
        Ok(Self { disk: disk.clone(), bytes: Bytes::Memory(bytes.into()) })
    }

    /// What a recording says of it.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// What it holds.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(mapping) => mapping,
            Self::Memory(bytes) => bytes,
        }
    }
}

fn open(path: &Path) -> Result<(File, u64), DiskError> {
    let wrong = |source| DiskError::Open { path: path.to_owned(), source };
    // Before opening: that of a pipe would wait for a writer.
    if !std::fs::metadata(path).map_err(wrong)?.is_file() {
        return Err(DiskError::NotAFile { path: path.to_owned() });
    }
    let file = File::open(path).map_err(wrong)?;
    let size = file.metadata().map_err(wrong)?.len();
    Ok((file, size))
}

fn map(file: &File, path: &Path) -> Result<Arc<Mmap>, DiskError> {
    // SAFETY: the mapping is read-only, and any bytes in it are valid. Somebody who cuts the image short while it is mapped can
    // end this process with a bus error, and who changes it makes the run another one: docs/determinism.md says so.
    let mapping = unsafe { Mmap::map(file) };
    Ok(Arc::new(mapping.map_err(|source| DiskError::Open { path: path.to_owned(), source })?))
}

/// Where disk images are now, by their names in the recording.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskPaths(pub Vec<(String, PathBuf)>);

/// Where in the hidden pages a disk keeps what the guest has written: a bit for each of its pages that tells whether it was
/// written, and the pages themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenPages {
    /// First page of the bits.
    pub bits: u64,
    /// First page of the contents.
    pub contents: u64,
}

/// Where each disk keeps what is written; `None` for those that cannot be written. And how many hidden pages that takes.
pub(super) fn layout(disks: &[Disk]) -> (Vec<Option<WrittenPages>>, u64) {
    let mut next = super::hidden::FIRST_HIDDEN_GFN;
    let mut place = |disk: &Disk| {
        if disk.read_only {
            return None;
        }
        let pages = disk.size.div_ceil(PAGE_BYTES as u64);
        let bits = next;
        let contents = bits + pages.div_ceil(8 * PAGE_BYTES as u64);
        next = contents + pages;
        Some(WrittenPages { bits, contents })
    };
    let places = disks.iter().map(&mut place).collect();
    (places, next - super::hidden::FIRST_HIDDEN_GFN)
}

/// Whether a machine can have these disks.
///
/// # Errors
/// It cannot.
pub(super) fn check(disks: &[Disk]) -> Result<(), DiskError> {
    for disk in disks {
        if disk.size == 0 || !disk.size.is_multiple_of(SECTOR_BYTES) {
            return Err(DiskError::Claim { name: disk.name.clone(), bytes: disk.size });
        }
    }
    let writable = disks.iter().filter(|disk| !disk.read_only);
    let bytes = writable.fold(0_u64, |sum, disk| sum.saturating_add(disk.size));
    if disks.len() > MAX_DISKS || bytes > MAX_DISK_BYTES {
        return Err(DiskError::TooMany);
    }
    Ok(())
}
