//! Starting gdb on a recording, with the guest's symbols and with commands of our own.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::door::Listen;
use crate::symbols::GuestSymbols;

/// A gdb script: `when`, `seek`, `mark`, `marks`, `back`. For a gdb without Python.
pub const GDB_COMMANDS: &str = include_str!("commands.gdb");

/// The same and more in Python, for gdb's `source`: completion, `tt-marks`, `last-write`, `$rvm_position`, the prompt.
pub const GDB_PYTHON: &str = include_str!("commands.py");

const COMMANDS_FILE: &str = "commands.gdb";
const PYTHON_FILE: &str = "commands.py";
const SYMBOLS_FILE: &str = "guest.elf";

/// Files that gdb needs, in a folder of this user only. They go when this is dropped.
#[derive(Debug)]
pub struct GdbFiles {
    folder: TempDir,
    /// How far the guest runs from where its ELF file says, if there is one.
    slide: Option<u64>,
}

impl GdbFiles {
    /// Writes the guest's ELF file, if there is one, and our commands.
    ///
    /// gdb could read that file over the connection, as one does that comes by itself, but only 50 MB of it in a second.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn new(symbols: &GuestSymbols) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("replayvm-gdb-").tempdir()?;
        let python = folder.path().join(PYTHON_FILE);
        File::create_new(&python)?.write_all(GDB_PYTHON.as_bytes())?;
        File::create_new(folder.path().join(COMMANDS_FILE))?.write_all(&commands(&python))?;
        if let Some(elf) = symbols.elf() {
            File::create_new(folder.path().join(SYMBOLS_FILE))?.write_all(elf)?;
        }
        Ok(Self { folder, slide: symbols.elf().map(|_| symbols.slide()) })
    }

    /// gdb, ready to be started, on a server at `listen`. `extra` are arguments of gdb.
    #[must_use]
    pub fn command(&self, listen: &Listen, extra: &[OsString]) -> Command {
        let symbols = self.folder.path().join(SYMBOLS_FILE);
        let commands = self.folder.path().join(COMMANDS_FILE);
        gdb(listen, Some(&commands), self.slide.map(|slide| (symbols.as_path(), slide)), extra)
    }
}

/// gdb, ready to be started, on a server at `listen`, without the commands of [`GDB_COMMANDS`].
///
/// `extra` are arguments of gdb and come after ours, so that their commands find the machine connected.
#[must_use]
pub fn launch_gdb(listen: &Listen, symbol_file: Option<&Path>, extra: &[OsString]) -> Command {
    gdb(listen, None, symbol_file.map(|file| (file, 0)), extra)
}

fn gdb(
    listen: &Listen,
    commands: Option<&PathBuf>,
    symbols: Option<(&Path, u64)>,
    extra: &[OsString],
) -> Command {
    let mut command = Command::new("gdb");
    command.arg("-q");
    if let Some(path) = commands {
        command.arg("-x").arg(path);
    }
    match symbols {
        Some((path, 0)) => {
            command.arg("-ex").arg(with_path("file ", path));
        }
        Some((path, slide)) => {
            command.arg("-ex").arg(with_path("exec-file ", path));
            command.arg("-ex").arg(with_path(&format!("symbol-file -o {slide:#x} "), path));
        }
        None => {}
    }
    let target = match listen {
        Listen::Tcp(address) => OsString::from(format!("target remote {address}")),
        Listen::Unix(path) => with_path("target remote ", path),
    };
    command.arg("-ex").arg(target);
    command.args(extra);
    command
}

/// [`GDB_COMMANDS`], and the ones in Python over them in a gdb that can run them.
///
/// `$_strlen` is one of gdb's own functions that are written in Python: where there is none, there is no Python.
fn commands(python: &Path) -> Vec<u8> {
    [
        GDB_COMMANDS.as_bytes(),
        b"\nif !$_isvoid($_strlen)\n  source ",
        python.as_os_str().as_bytes(),
        b"\nend\n",
    ]
    .concat()
}

fn with_path(command: &str, path: &Path) -> OsString {
    let mut text = OsString::from(command);
    text.push::<&OsStr>(path.as_ref());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols(image: &[u8]) -> GuestSymbols {
        GuestSymbols::new(image.to_vec(), None)
    }

    fn arguments(command: &Command) -> Vec<String> {
        command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn gdb_is_told_the_symbols_then_the_server_then_what_the_caller_adds() {
        let listen = Listen::Unix("/run/x.sock".into());
        let command = launch_gdb(&listen, Some(Path::new("/tmp/guest.elf")), &["-batch".into()]);
        let arguments = arguments(&command);
        let at = |text: &str| arguments.iter().position(|argument| argument == text).unwrap();
        assert!(at("file /tmp/guest.elf") < at("target remote /run/x.sock"));
        assert_eq!(arguments.last().unwrap(), "-batch");
    }

    #[test]
    fn our_commands_are_there_before_the_caller_s() {
        let files = GdbFiles::new(&symbols(b"\x7fELF...")).unwrap();
        let listen = Listen::Unix("/run/x.sock".into());
        let arguments = arguments(&files.command(&listen, &["-ex".into(), "when".into()]));
        let at = |text: &str| arguments.iter().position(|argument| argument.ends_with(text)).unwrap();
        assert!(at("commands.gdb") < at("when"));
    }

    #[test]
    fn an_image_without_symbols_gives_gdb_no_file() {
        let files = GdbFiles::new(&symbols(b"\x55\xaa")).unwrap();
        let listen = Listen::Tcp(([127, 0, 0, 1], 1234).into());
        let arguments = arguments(&files.command(&listen, &[]));
        assert!(!arguments.iter().any(|argument| argument.starts_with("file ")));
        assert!(arguments.iter().any(|argument| argument == "target remote 127.0.0.1:1234"));
    }

    #[test]
    fn the_files_go_with_their_owner() {
        let files = GdbFiles::new(&symbols(b"\x7fELF...")).unwrap();
        let folder = files.folder.path().to_owned();
        assert!(folder.join("guest.elf").exists());
        drop(files);
        assert!(!folder.exists());
    }
}
