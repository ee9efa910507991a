//! Inputs from the host and from a seed; everything that they decide becomes an event.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use recorder::{Event, Position};

use super::{Divergence, Inputs};
use crate::devices::TimerSource;
use crate::machine::Entropy;

/// How far chance may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Perturbation {
    /// A timer fires up to this many nanoseconds after its deadline.
    pub timer_delay_ns: u64,
    /// An interrupt is held back for up to this many ticks.
    pub hold_ticks: u32,
}

impl Perturbation {
    /// Nothing is left to chance but entropy and the power-on clock.
    pub const NONE: Self = Self { timer_delay_ns: 0, hold_ticks: 0 };
}

impl Default for Perturbation {
    fn default() -> Self {
        Self { timer_delay_ns: 20_000, hold_ticks: 64 }
    }
}

/// Events in the order in which they came about, shared by all that make them.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<(Position, Event)>>>);

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<(Position, Event)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, at: Position, event: Event) {
        self.lock().push((at, event));
    }
}

/// How many ticks may pass before a host that has something to say is heard.
const POLL_TICKS: u64 = 10_000;
/// 2020-01-01T00:00:00Z: where the seeded power-on clock starts.
const CLOCK_BASE: u64 = 1_577_836_800;
/// How far it may lie from there: ten years.
const CLOCK_RANGE: u64 = 10 * 365 * 86_400;

/// Live inputs.
#[derive(Debug)]
pub struct Live {
    random: ChaCha8Rng,
    perturbation: Perturbation,
    log: Log,
    host: Option<Receiver<Vec<u8>>>,
    received: VecDeque<u8>,
    stop: Arc<AtomicBool>,
    interrupted: bool,
}

/// How long a person who wants to stop is not heard while the guest waits for the host.
const STOP_LATENCY: Duration = Duration::from_millis(50);

/// One stream of the generator a use, so that one use does not shift another.
const STREAM_TIMING: u64 = 0;
const STREAM_ENTROPY: u64 = 1;
const STREAM_CLOCK: u64 = 2;
const STREAM_DEVICE_ENTROPY: u64 = 3;

fn stream(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(stream);
    random
}

impl Live {
    /// Inputs decided by a seed; `host` brings bytes for the serial port.
    #[must_use]
    pub fn new(seed: u64, perturbation: Perturbation, host: Option<Receiver<Vec<u8>>>) -> Self {
        Self {
            random: stream(seed, STREAM_TIMING),
            perturbation,
            log: Log::default(),
            host,
            received: VecDeque::new(),
            stop: Arc::default(),
            interrupted: false,
        }
    }

    /// Once `stop` is set, waiting for the host ends.
    pub fn stop_when(&mut self, stop: Arc<AtomicBool>) {
        self.stop = stop;
    }

    /// Whether waiting for the host has been ended that way.
    #[must_use]
    pub fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// The power-on clock that the seed decides, as the first event.
    pub fn power_on_clock(&mut self, seed: u64) -> u64 {
        let unix_seconds = CLOCK_BASE + stream(seed, STREAM_CLOCK).next_u64() % CLOCK_RANGE;
        self.log.push(Position::START, Event::Clock { unix_seconds });
        unix_seconds
    }

    /// The source of entropy that the seed decides.
    #[must_use]
    pub fn entropy(&self, seed: u64) -> Box<dyn Entropy> {
        Box::new(LiveEntropy {
            random: stream(seed, STREAM_ENTROPY),
            device: stream(seed, STREAM_DEVICE_ENTROPY),
            log: self.log.clone(),
        })
    }

    /// The events since the last call, in order.
    pub fn take_events(&mut self) -> Vec<(Position, Event)> {
        std::mem::take(&mut *self.log.lock())
    }

    fn poll(&mut self) {
        let Some(host) = &self.host else { return };
        loop {
            match host.try_recv() {
                Ok(bytes) => self.received.extend(bytes),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.host = None;
                    return;
                }
            }
        }
    }

    /// A number from 0 to `limit`.
    fn up_to(&mut self, limit: u64) -> u64 {
        match limit {
            0 => 0,
            limit => self.random.next_u64() % limit.saturating_add(1),
        }
    }

    /// Waits for bytes from the host. `None`: there will be none.
    fn wait(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.host.as_ref()?.recv_timeout(STOP_LATENCY) {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Some(bytes),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.stop.load(Ordering::Relaxed) {
                self.interrupted = true;
                return None;
            }
        }
    }
}

impl Inputs for Live {
    fn idle(&mut self, _at: Position, deadline_ns: Option<u64>, room: usize) -> Option<u64> {
        if deadline_ns.is_some() {
            return deadline_ns;
        }
        // Only the host can wake the guest now, and only with a byte that fits.
        if room == 0 {
            return None;
        }
        if self.received.is_empty() {
            let bytes = self.wait()?;
            self.received.extend(bytes);
        }
        Some(0)
    }

    fn timer_delay(&mut self, at: Position, source: TimerSource) -> u64 {
        let ns = self.up_to(self.perturbation.timer_delay_ns);
        if ns != 0 {
            self.log.push(at, Event::TimerDelay { source: source.into(), ns });
        }
        ns
    }

    fn interrupt_hold(&mut self, at: Position) -> u32 {
        let ticks = self.up_to(u64::from(self.perturbation.hold_ticks)) as u32;
        if ticks != 0 {
            self.log.push(at, Event::InterruptHold { ticks });
        }
        ticks
    }

    fn serial(&mut self, at: Position, room: usize) -> Vec<u8> {
        self.poll();
        let count = room.min(self.received.len());
        let bytes: Vec<u8> = self.received.drain(..count).collect();
        if !bytes.is_empty() {
            self.log.push(at, Event::Serial { bytes: bytes.clone() });
        }
        bytes
    }

    fn next_tick(&mut self, after: u64) -> u64 {
        if self.host.is_some() || !self.received.is_empty() {
            after.saturating_add(POLL_TICKS)
        } else {
            u64::MAX
        }
    }

    fn settled(&mut self, _at: Position) -> Result<(), Divergence> {
        Ok(())
    }

    fn check(&self) -> Result<(), Divergence> {
        Ok(())
    }
}

struct LiveEntropy {
    random: ChaCha8Rng,
    device: ChaCha8Rng,
    log: Log,
}

impl Entropy for LiveEntropy {
    fn next(&mut self, at: Position, size: u8) -> u64 {
        let value = self.random.next_u64() >> (64 - u32::from(size.clamp(1, 8)) * 8);
        self.log.push(at, Event::Entropy { value });
        value
    }

    fn bytes(&mut self, at: Position, _index: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.device.fill_bytes(&mut bytes);
        self.log.push(at, Event::DeviceEntropy { bytes: bytes.clone() });
        bytes
    }
}
