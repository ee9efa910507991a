//! Inputs from the host and from a seed; everything that they decide becomes an event.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use recorder::{Event, Position};

use super::branch::{BranchedEntropy, Kind, chance_up_to};
use super::host::{Host, Waited};
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

/// Virtual time that a guest beside a person may idle away at once, without a word, before its idling takes as long as
/// it says. Nobody knows what a silent guest waits for: a command may sleep, or a prompt may wait for a person. A command that
/// sleeps for less is over at once; a guest at its prompt stops running through its days (and filling the file with
/// them) while the person thinks.
pub(crate) const QUIET_NS: u64 = 60_000_000_000;

/// Takes the guest's console output while it comes.
pub trait ConsoleSink: Send + std::fmt::Debug {
    /// More output.
    fn output(&mut self, bytes: &[u8]);
}

/// Where chance comes from.
#[derive(Debug)]
enum Chance {
    /// One number after the other.
    Stream(Box<ChaCha8Rng>),
    /// Each number by its position, whatever came before.
    ByPosition {
        /// What else decides.
        seed: u64,
    },
}

/// Live inputs.
#[derive(Debug)]
pub struct Live {
    chance: Chance,
    perturbation: Perturbation,
    log: Log,
    host: Host,
    realtime: bool,
    /// Virtual time idled away since the guest last said or was told something.
    quiet_ns: u64,
    sink: Option<Box<dyn ConsoleSink>>,
    /// How many bytes of the output that waits to be taken have been shown.
    shown: usize,
}

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
            chance: Chance::Stream(Box::new(stream(seed, STREAM_TIMING))),
            perturbation,
            log: Log::default(),
            host: Host::new(host),
            realtime: false,
            quiet_ns: 0,
            sink: None,
            shown: 0,
        }
    }

    /// The same for a machine that does not come from power-on: what the seed decides depends on the position and on nothing
    /// before it, as in a branch. So does where such a run goes, wherever it is left and taken up again.
    #[must_use]
    pub fn by_position(seed: u64, perturbation: Perturbation, host: Option<Receiver<Vec<u8>>>) -> Self {
        Self { chance: Chance::ByPosition { seed }, ..Self::new(seed, perturbation, host) }
    }

    /// Once `stop` is set, waiting for the host ends.
    pub fn stop_when(&mut self, stop: Arc<AtomicBool>) {
        self.host.stop_when(stop);
    }

    /// Whether an idle guest waits in the host's time, instead of being at its next deadline at once.
    pub fn wait_in_real_time(&mut self, realtime: bool) {
        self.realtime = realtime;
    }

    /// Hands console output on while it comes.
    pub fn show_on(&mut self, sink: Box<dyn ConsoleSink>) {
        self.sink = Some(sink);
    }

    /// This output is taken: what of it has not been shown yet is shown.
    pub fn taken(&mut self, console: &[u8]) {
        self.said(console);
        self.shown = 0;
    }

    /// Whether waiting for the host has been ended that way.
    #[must_use]
    pub fn interrupted(&self) -> bool {
        self.host.interrupted()
    }

    /// From now on everything left to chance is decided by this seed.
    pub fn vary(&mut self, seed: u64, perturbation: Perturbation) {
        self.chance = match self.chance {
            Chance::Stream(_) => Chance::Stream(Box::new(stream(seed, STREAM_TIMING))),
            Chance::ByPosition { .. } => Chance::ByPosition { seed },
        };
        self.perturbation = perturbation;
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
        let source: Box<dyn Entropy> = match self.chance {
            Chance::Stream(_) => Box::new(StreamEntropy {
                random: stream(seed, STREAM_ENTROPY),
                device: stream(seed, STREAM_DEVICE_ENTROPY),
            }),
            Chance::ByPosition { .. } => Box::new(BranchedEntropy { seed }),
        };
        Box::new(LoggedEntropy { source, log: self.log.clone() })
    }

    /// The events since the last call, in order.
    pub fn take_events(&mut self) -> Vec<(Position, Event)> {
        std::mem::take(&mut *self.log.lock())
    }

    /// A number from 0 to `limit`.
    fn up_to(&mut self, limit: u64, at: Position, kind: Kind, index: u64) -> u64 {
        match &mut self.chance {
            _ if limit == 0 => 0,
            Chance::Stream(random) => random.next_u64() % limit.saturating_add(1),
            Chance::ByPosition { seed } => chance_up_to(limit, *seed, at, kind, index),
        }
    }

    /// Whether time that the guest idles away passes here too.
    fn waits(&self) -> bool {
        self.realtime || (self.host.is_there() && self.quiet_ns >= QUIET_NS)
    }

    /// A jump that is not simply to the next deadline.
    fn jump(&mut self, at: Position, ns: u64) -> u64 {
        self.log.push(at, Event::Idle { ns });
        ns
    }

    /// Only the host can wake the guest, and only with a byte that fits.
    fn idle_without_deadline(&mut self, at: Position, room: usize) -> Option<u64> {
        if room == 0 {
            return None;
        }
        match self.host.wait(None, true) {
            Waited::Bytes(ns) if self.realtime => Some(self.jump(at, ns)),
            Waited::Bytes(_) => Some(0),
            Waited::TimeUp | Waited::Stopped(_) | Waited::Never => None,
        }
    }
}

impl Inputs for Live {
    fn idle(&mut self, at: Position, deadline_ns: Option<u64>, room: usize) -> Option<u64> {
        let Some(deadline_ns) = deadline_ns else { return self.idle_without_deadline(at, room) };
        self.quiet_ns = self.quiet_ns.saturating_add(deadline_ns);
        if !self.waits() {
            return Some(deadline_ns);
        }
        match self.host.wait(Some(deadline_ns), room > 0) {
            Waited::Bytes(ns) | Waited::Stopped(ns) if ns < deadline_ns => Some(self.jump(at, ns)),
            _ => Some(deadline_ns),
        }
    }

    fn timer_delay(&mut self, at: Position, source: TimerSource) -> u64 {
        let index = u64::from(u8::from(source));
        let ns = self.up_to(self.perturbation.timer_delay_ns, at, Kind::TimerDelay, index);
        if ns != 0 {
            self.log.push(at, Event::TimerDelay { source: source.into(), ns });
        }
        ns
    }

    fn interrupt_hold(&mut self, at: Position) -> u32 {
        let ticks = self.up_to(u64::from(self.perturbation.hold_ticks), at, Kind::InterruptHold, 0) as u32;
        if ticks != 0 {
            self.log.push(at, Event::InterruptHold { ticks });
        }
        ticks
    }

    fn serial(&mut self, at: Position, room: usize) -> Vec<u8> {
        self.host.poll();
        let bytes = self.host.take(room);
        if !bytes.is_empty() {
            self.quiet_ns = 0;
            self.log.push(at, Event::Serial { bytes: bytes.clone() });
        }
        bytes
    }

    fn next_tick(&mut self, after: u64) -> u64 {
        if self.host.is_there() || self.host.has_bytes() {
            after.saturating_add(POLL_TICKS)
        } else {
            u64::MAX
        }
    }

    fn said(&mut self, console: &[u8]) {
        let Some(new) = console.get(self.shown..).filter(|new| !new.is_empty()) else { return };
        self.quiet_ns = 0;
        if let Some(sink) = &mut self.sink {
            sink.output(new);
        }
        self.shown = console.len();
    }

    fn wants_rest(&self) -> bool {
        self.interrupted()
    }

    fn settled(&mut self, _at: Position) -> Result<(), Divergence> {
        Ok(())
    }

    fn check(&self) -> Result<(), Divergence> {
        Ok(())
    }
}

/// Entropy, one value after the other.
struct StreamEntropy {
    random: ChaCha8Rng,
    device: ChaCha8Rng,
}

impl Entropy for StreamEntropy {
    fn next(&mut self, _at: Position, size: u8) -> u64 {
        self.random.next_u64() >> (64 - u32::from(size.clamp(1, 8)) * 8)
    }

    fn bytes(&mut self, _at: Position, _index: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.device.fill_bytes(&mut bytes);
        bytes
    }
}

/// Entropy of which every value becomes an event.
struct LoggedEntropy {
    source: Box<dyn Entropy>,
    log: Log,
}

impl Entropy for LoggedEntropy {
    fn next(&mut self, at: Position, size: u8) -> u64 {
        let value = self.source.next(at, size);
        self.log.push(at, Event::Entropy { value });
        value
    }

    fn bytes(&mut self, at: Position, index: usize, len: usize) -> Vec<u8> {
        let bytes = self.source.bytes(at, index, len);
        self.log.push(at, Event::DeviceEntropy { bytes: bytes.clone() });
        bytes
    }
}
