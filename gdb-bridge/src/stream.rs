//! A socket to one client, of either kind, and waiting for it.

use std::io::{self, Read};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A connected stream socket.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a socket in the file system, or one of a pair.
    Unix(UnixStream),
}

impl Stream {
    pub(crate) fn prepare(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                // Packets are small and each waits for its answer.
                stream.set_nodelay(true)?;
                stream.set_nonblocking(false)
            }
            Self::Unix(stream) => stream.set_nonblocking(false),
        }
    }

    pub(crate) fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(bytes),
            Self::Unix(stream) => stream.read(bytes),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// Waits at most `wait` for something to read, or for the end.
pub(crate) fn readable(socket: impl AsFd, wait: Duration) -> io::Result<bool> {
    ready(socket, PollFlags::IN, wait)
}

/// Waits at most `wait` for one of these.
pub(crate) fn ready(socket: impl AsFd, what: PollFlags, wait: Duration) -> io::Result<bool> {
    let mut fds = [PollFd::new(&socket, what)];
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
    match poll(&mut fds, Some(&timeout)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Ok(false),
        Ok(_) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
