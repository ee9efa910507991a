//! Where clients come in: a listening socket of either kind, and what is said to who comes too early.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType};

use crate::refusal;
use crate::stream::{Stream, readable};

/// How often a wait for a client looks whether the server is to stop.
const WAIT: Duration = Duration::from_millis(100);
/// Clients that may wait for their turn.
const BACKLOG: i32 = 4;
/// What a client is told that comes while another is served.
const BUSY: &[u8] = b"E.another debugger is connected to this recording: one at a time";
/// Clients that have been told so whose connections are kept.
const TOLD_MAX: usize = 4;

/// Where gdb can connect. Whoever can connect can read all of the recorded machine's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A TCP port; 0 takes a free one. The caller decides whether the address is a loopback one.
    Tcp(SocketAddr),
    /// A socket in the file system, for this user only.
    Unix(PathBuf),
}

/// As gdb's `target remote` takes it.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Why nobody can be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody else listens there.
    #[error("{0} is in use: choose another place, or end whoever listens there")]
    InUse(Listen),
    /// The place cannot be listened at.
    #[error("cannot listen at {at}")]
    Listen {
        /// Where.
        at: Listen,
        /// Why.
        source: io::Error,
    },
    /// The listening socket has failed.
    #[error("waiting for gdb failed")]
    Accept(#[source] io::Error),
}

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Door {
    at: Listen,
    socket: Socket,
    /// Clients that have been let in too early to be served at once.
    next: RefCell<VecDeque<Stream>>,
    /// Clients that have been turned away. Their connections stay for a while: closed with something unread in them, they
    /// would take along what was said.
    told: RefCell<VecDeque<Stream>>,
    /// Takes the file away at the end.
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(socket) => socket.accept().map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(socket) => socket.accept().map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl Door {
    pub(crate) fn open(at: &Listen) -> Result<Self, ServeError> {
        let wrong = |source: io::Error| match source.kind() {
            ErrorKind::AddrInUse => ServeError::InUse(at.clone()),
            _ => ServeError::Listen { at: at.clone(), source },
        };
        match at {
            Listen::Tcp(address) => {
                let socket = TcpListener::bind(address).map_err(wrong)?;
                socket.set_nonblocking(true).map_err(wrong)?;
                let at = Listen::Tcp(socket.local_addr().map_err(wrong)?);
                Ok(Self {
                    at,
                    socket: Socket::Tcp(socket),
                    next: RefCell::default(),
                    told: RefCell::default(),
                    _file: None,
                })
            }
            Listen::Unix(path) => {
                let (socket, file) = bind_private(path).map_err(wrong)?;
                socket.set_nonblocking(true).map_err(wrong)?;
                Ok(Self {
                    at: at.clone(),
                    socket: Socket::Unix(socket),
                    next: RefCell::default(),
                    told: RefCell::default(),
                    _file: Some(file),
                })
            }
        }
    }

    /// Where it is.
    pub(crate) fn at(&self) -> &Listen {
        &self.at
    }

    /// The next client; `None` when the server is to stop.
    pub(crate) fn accept(&self, stop: &AtomicBool) -> Result<Option<Stream>, ServeError> {
        loop {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if let Some(stream) = self.next.borrow_mut().pop_front() {
                return Ok(Some(stream));
            }
            if !readable(&self.socket, WAIT).map_err(ServeError::Accept)? {
                continue;
            }
            match self.socket.accept() {
                Ok(stream) => return Ok(Some(stream)),
                // The client has gone before its turn came.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => return Err(ServeError::Accept(error)),
            }
        }
    }

    /// Tells whoever is at the door that somebody else is served, in answer to what any client says first. gdb shows the
    /// text; it would else wait, and then complain of a broken protocol. Once the one that is served `has_gone`, whoever comes is
    /// next. Does not wait.
    pub(crate) fn see_who_is_there(&self, has_gone: impl Fn() -> bool) {
        while let Ok(stream) = self.socket.accept() {
            // Asked now: who comes after the other has gone must not be told otherwise.
            if has_gone() {
                self.next.borrow_mut().push_back(stream);
                return;
            }
            tracing::info!(at = %self.at, "another client is turned away");
            let answer = [b"+", &refusal::packet(BUSY)[..]].concat();
            // Whoever does not get it has gone, or sees the end.
            let _ = rustix::net::send(&stream, &answer, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            let _ = rustix::net::shutdown(&stream, Shutdown::Write);
            let mut told = self.told.borrow_mut();
            told.push_back(stream);
            if told.len() > TOLD_MAX {
                told.pop_front();
            }
        }
    }

    /// Ends the connections of those that have been turned away.
    pub(crate) fn let_go(&self) {
        self.told.borrow_mut().clear();
    }
}

/// A listening socket in the file system that only this user can connect to, from its first moment on. What a server that
/// was killed has left there is taken away first.
fn bind_private(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // The file that bind makes takes its mode from the socket (unix(7) says so of Linux).
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    let address = SocketAddrUnix::new(path)?;
    match rustix::net::bind(&socket, &address) {
        Err(rustix::io::Errno::ADDRINUSE) if is_abandoned(path) => {
            std::fs::remove_file(path)?;
            rustix::net::bind(&socket, &address)?;
        }
        result => result?,
    }
    let file = SocketFile::of(path)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok((UnixListener::from(socket), file))
}

/// Whether a socket is there that nobody listens at.
fn is_abandoned(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    is_socket && UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// Our socket's file, taken away when the server ends, if it is still ours.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == (self.device, self.inode));
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the socket's file stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_port_in_use_is_said_to_be_in_use() {
        let first = Door::open(&Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
        let Listen::Tcp(address) = first.at else { panic!("not TCP") };
        assert_ne!(address.port(), 0);
        let error = Door::open(&first.at).unwrap_err();
        assert!(matches!(error, ServeError::InUse(_)), "{error}");
    }

    #[test]
    fn a_socket_file_is_private_and_goes_with_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gdb.sock");
        let door = Door::open(&Listen::Unix(path.clone())).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Door::open(&door.at), Err(ServeError::InUse(_))));
        drop(door);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_server_has_left_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gdb.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        Door::open(&Listen::Unix(path)).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        std::fs::write(&path, "data").unwrap();
        assert!(Door::open(&Listen::Unix(path.clone())).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"data");
    }

    #[test]
    fn a_stop_ends_the_wait_for_a_client() {
        let door = Door::open(&Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
        assert!(door.accept(&AtomicBool::new(true)).unwrap().is_none());
    }
}
