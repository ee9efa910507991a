//! The host's side of a recording: bytes that come, time that passes, and somebody who wants to stop.
//!
//! The one place of a session that reads the host's clock. What comes of it reaches the guest as events only.
#![allow(clippy::disallowed_methods, reason = "how long a wait took becomes an event")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

/// How long a person who wants to stop is not heard while the guest waits.
const STOP_LATENCY: Duration = Duration::from_millis(50);

/// How a wait ended. Times are in nanoseconds of the host's clock, never more than was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// The time is over.
    TimeUp,
    /// There are bytes, after so long.
    Bytes(u64),
    /// Somebody wants to stop, after so long.
    Stopped(u64),
    /// Neither bytes nor an end of the time will ever come.
    Never,
}

/// Whoever is at the other end of the serial line.
#[derive(Debug)]
pub(super) struct Host {
    bytes: Option<Receiver<Vec<u8>>>,
    received: VecDeque<u8>,
    /// Brings nothing: what is waited on while nobody is listened to.
    silence: (Sender<()>, Receiver<()>),
    stop: Arc<AtomicBool>,
    interrupted: bool,
}

impl Host {
    pub(super) fn new(bytes: Option<Receiver<Vec<u8>>>) -> Self {
        Self {
            bytes,
            received: VecDeque::new(),
            silence: channel(),
            stop: Arc::default(),
            interrupted: false,
        }
    }

    /// Once `stop` is set, waits end.
    pub(super) fn stop_when(&mut self, stop: Arc<AtomicBool>) {
        self.stop = stop;
    }

    /// Whether a wait has been ended that way.
    pub(super) fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// Whether more bytes may come.
    pub(super) fn is_there(&self) -> bool {
        self.bytes.is_some()
    }

    /// Whether there are bytes that the guest has not got yet.
    pub(super) fn has_bytes(&self) -> bool {
        !self.received.is_empty()
    }

    /// Takes in what has come.
    pub(super) fn poll(&mut self) {
        let Some(bytes) = &self.bytes else { return };
        loop {
            match bytes.try_recv() {
                Ok(bytes) => self.received.extend(bytes),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.bytes = None;
                    return;
                }
            }
        }
    }

    /// At most so many of the bytes that have come.
    pub(super) fn take(&mut self, most: usize) -> Vec<u8> {
        let count = most.min(self.received.len());
        self.received.drain(..count).collect()
    }

    /// Waits so long, or without an end; if it `listens`, at most until there are bytes.
    pub(super) fn wait(&mut self, limit_ns: Option<u64>, listens: bool) -> Waited {
        let start = Instant::now();
        let passed = || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let within = |ns: u64| limit_ns.map_or(ns, |limit| ns.min(limit));
        if listens {
            self.poll();
            if self.has_bytes() {
                return Waited::Bytes(0);
            }
        }
        loop {
            let now = passed();
            if limit_ns.is_some_and(|limit| now >= limit) {
                return Waited::TimeUp;
            }
            if self.stop.load(Ordering::Relaxed) {
                self.interrupted = true;
                return Waited::Stopped(within(now));
            }
            let left = limit_ns.map_or(STOP_LATENCY, |limit| Duration::from_nanos(limit - now));
            let slice = left.min(STOP_LATENCY);
            match &self.bytes {
                Some(bytes) if listens => match bytes.recv_timeout(slice) {
                    Ok(bytes) if bytes.is_empty() => {}
                    Ok(bytes) => {
                        self.received.extend(bytes);
                        return Waited::Bytes(within(passed()));
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => self.bytes = None,
                },
                _ if limit_ns.is_none() => return Waited::Never,
                // Its sender is ours: this is a wait and nothing else.
                _ => {
                    let _ = self.silence.1.recv_timeout(slice);
                }
            }
        }
    }
}
