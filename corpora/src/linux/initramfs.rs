//! The first file system of a guest, built in memory: busybox, modules, programs, and an `/init` that runs a job.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use super::cache::{self, Missing};
use super::cpio::{self, Node};
use super::modules::Modules;

/// Why an initramfs or a guest cannot be built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// Something has not been fetched.
    Missing(Missing),
    /// A file cannot be read.
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The kernel's package has no module of this name, or it is damaged.
    NoModule(String),
    /// There was no C compiler that links statically when this crate was built. What the compiler said.
    NoPrograms(&'static str),
}

impl std::fmt::Display for BuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(missing) => missing.fmt(f),
            Self::Read { path, .. } => write!(f, "cannot read {}", path.display()),
            Self::NoModule(name) => write!(f, "the kernel's package has no module {name}"),
            Self::NoPrograms(because) => {
                write!(
                    f,
                    "the programs of the Linux guests were not built ({because}): install gcc and libc6-dev, and build again"
                )
            }
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl From<Missing> for BuildError {
    fn from(missing: Missing) -> Self {
        Self::Missing(missing)
    }
}

/// A file system to be, with busybox in it. The same calls make the same bytes: no times, no order but that of names.
///
/// ```no_run
/// # fn main() -> Result<(), corpora::linux::BuildError> {
/// let initrd = corpora::linux::Initramfs::new()?.module("virtio_blk")?.job("ls -l /dev/vda").build();
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Initramfs {
    /// By path, without the first `/`. A folder is before what lies in it.
    nodes: BTreeMap<String, Node>,
    /// Paths of modules, in the order of loading.
    modules: Vec<(String, Vec<u8>)>,
    job: String,
}

impl Initramfs {
    /// `/bin/busybox` and a link for each of its programs, `/dev/console`, folders to mount on; no job, so that it
    /// powers off at once.
    ///
    /// # Errors
    /// Busybox has not been fetched, or does not say which programs it is.
    pub fn new() -> Result<Self, BuildError> {
        let path = cache::busybox()?;
        let unreadable = |error| BuildError::Read { path: path.clone(), error };
        let busybox = std::fs::read(&path).map_err(unreadable)?;
        let list = Command::new(&path).arg("--list").env_clear().output().map_err(unreadable)?;
        let mut new = Self { nodes: BTreeMap::new(), modules: Vec::new(), job: String::new() };
        for folder in ["proc", "sys", "tmp", "root"] {
            new.folder(folder);
        }
        // The kernel opens it for init before anything can be mounted.
        new.put("dev/console", Node::CharacterDevice { permissions: 0o600, major: 5, minor: 1 });
        new.put("bin/busybox", Node::File { permissions: 0o755, bytes: busybox });
        let list = String::from_utf8_lossy(&list.stdout);
        for name in list.lines().filter(|name| !name.is_empty() && *name != "busybox") {
            new.put(&format!("bin/{name}"), Node::Link { target: "busybox".to_owned() });
        }
        Ok(new)
    }

    fn folder(&mut self, path: &str) {
        let mut end = 0;
        while end < path.len() {
            end = path[end + 1..].find('/').map_or(path.len(), |at| end + 1 + at);
            self.nodes.entry(path[..end].to_owned()).or_insert(Node::Directory { permissions: 0o755 });
        }
    }

    fn put(&mut self, path: &str, node: Node) {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder);
        }
        self.nodes.insert(path.to_owned(), node);
    }

    /// A file, with the folders on the way to it, in place of what was there.
    #[must_use]
    pub fn file(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.put(path.trim_matches('/'), Node::File { permissions: 0o644, bytes: bytes.into() });
        self
    }

    /// A file like [`Self::file`], to be executed: a program's dynamic linker is one too.
    #[must_use]
    pub fn executable(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.put(path.trim_matches('/'), Node::File { permissions: 0o755, bytes: bytes.into() });
        self
    }

    /// A program, as `/bin/NAME`. It must be linked statically, or find its libraries in other files.
    #[must_use]
    pub fn program(self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.executable(&format!("bin/{name}"), bytes)
    }

    /// A module of the fetched kernel and all that it depends on, as `/lib/modules/NAME.ko`, loaded before the job.
    ///
    /// # Errors
    /// The kernel has not been fetched, or has no such module.
    pub fn module(mut self, name: &str) -> Result<Self, BuildError> {
        let all = Modules::in_folder(&cache::modules()?)?;
        all.with_dependencies(name, &mut self.modules)?;
        Ok(self)
    }

    /// What `/init` does once file systems are mounted and modules loaded, as a shell script. It powers off after it.
    #[must_use]
    pub fn job(mut self, script: &str) -> Self {
        self.job = script.to_owned();
        self
    }

    /// A shell on the console as the job; leaving it powers off.
    #[must_use]
    pub fn shell(self) -> Self {
        // A terminal that controls the session makes Ctrl-C work.
        self.job("cd /root\nHOME=/root TERM=linux PS1='# ' setsid cttyhack sh")
    }

    /// The archive, uncompressed.
    #[must_use]
    pub fn build(mut self) -> Vec<u8> {
        let mut init = String::from("#!/bin/sh\n# Generated.\nexport PATH=/bin\n");
        for (kind, path) in [("proc", "proc"), ("sysfs", "sys"), ("devtmpfs", "dev"), ("tmpfs", "tmp")] {
            init += &format!("mount -t {kind} none /{path}\n");
        }
        for (name, content) in std::mem::take(&mut self.modules) {
            let path = format!("lib/modules/{name}.ko");
            init += &format!("insmod /{path}\n");
            self.put(&path, Node::File { permissions: 0o644, bytes: content });
        }
        init += &self.job;
        // Init must not end: the kernel panics if it does, and that is not how a good run ends.
        init += "\nsync\npoweroff -f\nhalt -f\n";
        self.put("init", Node::File { permissions: 0o755, bytes: init.into_bytes() });
        cpio::archive(self.nodes.iter().map(|(path, node)| (path.as_str(), node)))
    }
}
