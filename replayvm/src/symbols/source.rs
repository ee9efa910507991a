//! Where the symbols of a recording come from.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use recorder::ImageRole;

use super::{Symbols, SymbolsError};
use crate::machine::Machine;
use crate::recording::OpenRecording;
use crate::timeline::{Timeline, unsupervised};

/// No file of symbols is larger: a kernel with all its debug information has less.
const MAX_FILE: u64 = 2 << 30;
/// A symbol whose address a running kernel has in a register (IA32_LSTAR): where system calls go.
const ANCHOR: &str = "entry_SYSCALL_64";

/// Where symbols come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// An image of the recording, by name.
    Image(String),
    /// The memory of a Linux kernel.
    Memory,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Image(name) => write!(f, "the image `{name}` of the recording"),
            Self::Memory => f.write_str("the memory of the kernel"),
        }
    }
}

/// The symbols of a recording, the machine as it is at its last checkpoint.
///
/// # Errors
/// As [`of_machine`], or the recording cannot be opened.
pub fn of_recording(path: &Path, file: Option<&Path>) -> Result<Option<Symbols>, SymbolsError> {
    let mut timeline = Timeline::open_to_look(path)?;
    let opened = timeline.opened();
    let last = opened.checkpoint_position(opened.checkpoints().saturating_sub(1));
    timeline.seek(last, &mut unsupervised())?;
    of_machine(timeline.opened(), timeline.machine(), file)
}

/// The symbols of a machine: of `file`, if one is given; else those that were recorded with it, those of its image, or those
/// in its memory, whichever there are first.
///
/// # Errors
/// The file cannot be read or has no symbols, or the recording is damaged.
pub fn of_machine(
    opened: &OpenRecording,
    machine: &Machine,
    file: Option<&Path>,
) -> Result<Option<Symbols>, SymbolsError> {
    let syscalls = machine.cpu.state.lstar;
    if let Some(path) = file {
        let bytes = read(path)?;
        let mut symbols = Symbols::parse(&bytes, Origin::File(path.to_owned()))
            .ok_or_else(|| SymbolsError::None { name: path.display().to_string() })?;
        symbols.slide_to(ANCHOR, syscalls);
        return Ok(Some(symbols));
    }
    let images = opened.recording().images();
    for role in [ImageRole::Symbols, ImageRole::Kernel] {
        for (index, image) in images.iter().enumerate().filter(|(_, image)| image.role == role) {
            let bytes = opened.recording().image_bytes(index)?;
            // A kernel that is no ELF file is no text with symbols either.
            if role == ImageRole::Kernel && !bytes.starts_with(b"\x7fELF") {
                continue;
            }
            if let Some(mut symbols) = Symbols::parse(&bytes, Origin::Image(image.name.clone())) {
                symbols.slide_to(ANCHOR, syscalls);
                return Ok(Some(symbols));
            }
        }
    }
    let ram = &machine.platform.ram;
    let Ok(bytes) = ram.slice(0, ram.bytes() as usize) else { return Ok(None) };
    let read = |gpa| ram.load(gpa).map(u64::from_le_bytes);
    Ok(Symbols::of_kernel_memory(bytes, |linear| replayvm_cpu::translate(&machine.cpu.state, linear, read)))
}

fn read(path: &Path) -> Result<Vec<u8>, SymbolsError> {
    let wrong = |source| SymbolsError::File { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    // What is no plain file has no length to ask for beforehand.
    File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes)).map_err(wrong)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(SymbolsError::TooLarge { path: path.to_owned(), limit: MAX_FILE });
    }
    Ok(bytes)
}
