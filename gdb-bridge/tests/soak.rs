//! Random commands of gdb's protocol, forwards and backwards, on two recordings; each stop is compared with what a plain
//! forward walk has seen: position, all registers, what has been hit.
//!
//! Short here. The long form, 10,000 commands on each recording, the second a whole boot of Linux, with two busy processes
//! beside it:
//!
//! ```text
//! REPLAYVM_SOAK=1 cargo test --release -p gdb-bridge --test soak -- --nocapture
//! ```
//!
//! `REPLAYVM_SOAK_ROUNDS` and `REPLAYVM_SOAK_SEED` choose other numbers; a failure prints the seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod client;
/// All registers in one number.
mod fingerprint;
/// What a plain forward walk sees.
mod truth;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use client::{Client, record, talk_about};
use corpora::linux::{BuildError, Initramfs, required};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use replayvm::machine::GuestImages;
use replayvm::session::{RecordSession, Settings};
use truth::{Kind, Truth, Watched};

const SHORT_COMMANDS: u64 = 250;
const LONG_COMMANDS: u64 = 10_000;

fn is_long() -> bool {
    std::env::var_os("REPLAYVM_SOAK").is_some()
}

fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// A process that does nothing as fast as it can.
struct Busy(Child);

impl Busy {
    fn start() -> Self {
        let spinning = Command::new("sh").args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn();
        Self(spinning.expect("there is a shell"))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("our own child can be ended");
    }
}

/// What gdb would have set.
#[derive(Debug, Default)]
struct Points {
    software: Vec<u64>,
    hardware: Vec<u64>,
    watched: Vec<Watched>,
}

/// What a step has hit that the client has not been told of.
#[derive(Debug)]
struct Untold {
    at: usize,
    forward: bool,
    watched: Vec<Watched>,
}

/// Somebody who does not know what they want.
struct Person<'a> {
    client: &'a mut Client,
    truth: &'a Truth,
    random: ChaCha8Rng,
    /// Where the machine must stand.
    at: usize,
    points: Points,
    untold: Option<Untold>,
    /// How often each reason of a stop was met: breakpoint, watchpoint, another watchpoint of the same step, end, interrupt.
    met: [u64; 5],
    what: String,
}

impl Person<'_> {
    fn below(&mut self, limit: usize) -> usize {
        (self.random.next_u64() % limit as u64) as usize
    }

    /// The machine stands where it must, in the state that the walk has seen there.
    fn check(&mut self) {
        let registers = self.client.registers();
        let expected = &self.truth.steps[self.at];
        assert_eq!(
            fingerprint::of_bytes(&registers),
            expected.registers,
            "{}: not in the state of {}",
            self.what,
            expected.position
        );
    }

    fn ask(&mut self, body: &str) -> String {
        self.client.ask(body)
    }

    fn command(&mut self) {
        match self.below(16) {
            0 | 1 => self.seek(),
            2..=4 => self.steps(true),
            5..=7 => self.steps(false),
            8 => self.range(),
            9 => self.interrupt(),
            10 => self.mark_and_come_back(),
            _ => self.run(),
        }
        self.check();
    }

    fn seek(&mut self) {
        self.untold = None;
        self.at = self.below(self.truth.steps.len());
        let position = self.truth.steps[self.at].position;
        let said = self.client.said(&format!("seek {position} quiet"));
        assert!(said.starts_with(&format!("position {position}")), "{}: {said}", self.what);
    }

    fn mark_and_come_back(&mut self) {
        let here = self.at;
        self.client.said("mark here");
        self.seek();
        self.check();
        self.client.said("back here quiet");
        self.at = here;
    }

    fn steps(&mut self, forward: bool) {
        for _ in 0..self.below(12) {
            self.untold = None;
            let stop = self.ask(if forward { "vCont;s:p1.1;c:p1.-1" } else { "bs" });
            if self.truth.is_end(self.at, forward) {
                let end = if forward { "replaylog:end" } else { "replaylog:begin" };
                assert!(stop.contains(end), "{}: {stop}", self.what);
                return;
            }
            if !forward && self.at == 0 {
                // The walk has begun later than the recording.
                self.seek();
                return;
            }
            self.at = if forward { self.at + 1 } else { self.at - 1 };
            assert!(stop.starts_with("T05"), "{}: {stop}", self.what);
            self.check();
        }
    }

    /// Steps as long as the instruction pointer is in a range, over interrupts, to a breakpoint at the farthest.
    fn range(&mut self) {
        self.untold = None;
        let rip = self.truth.steps[self.at].rip;
        let (start, end) = (rip - self.below(8) as u64, rip + self.below(40) as u64);
        // Somewhere near, or anywhere.
        let near = (self.at + self.below(20)).min(self.truth.steps.len() - 1);
        let anywhere = self.below(self.truth.steps.len());
        self.points.hardware = [near, anywhere].map(|index| self.truth.steps[index].rip).to_vec();
        self.points.hardware.dedup();
        self.send_points('Z');
        let stop = self.ask(&format!("vCont;r{start:x},{end:x}:p1.1;c:p1.-1"));
        assert!(stop.starts_with("T05"), "{}: {stop}", self.what);
        self.at = self.truth.after_range(self.at, start..end, &self.points.hardware);
        self.what.push_str(&format!(" range {start:x}..{end:x} {:x?}: {stop}", self.points.hardware));
        self.check();
        self.clear_points();
    }

    /// A run that is interrupted somewhere, or too late.
    fn interrupt(&mut self) {
        self.untold = None;
        let forward = self.below(2) == 0;
        if !forward && !self.truth.begins_at_begin {
            return;
        }
        let run = if forward { "vCont;c:p1.-1" } else { "bc" };
        self.client.send(run);
        self.client.interrupt();
        let stop = self.client.reply();
        let registers = self.client.registers();
        self.at = self.truth.index_of(&registers).unwrap_or_else(|| panic!("{}: {stop}", self.what));
        if stop.starts_with("T02") {
            self.met[4] += 1;
        } else {
            assert!(self.truth.is_end(self.at, forward), "{}: {stop}", self.what);
            // It has come too late, and is for the run after that, if that comes soon.
            let again = self.ask(run);
            assert!(again.starts_with("T02") || again.contains("replaylog:"), "{}: {again}", self.what);
        }
    }

    /// Sets points at random, runs some times, and takes the points back.
    fn run(&mut self) {
        self.set_points();
        let mut forward = self.below(2) == 0;
        for _ in 0..1 + self.below(5) {
            forward ^= self.below(4) == 0;
            self.run_once(forward);
            // As gdb does it, between two runs.
            if self.below(2) == 0 {
                self.take_back_and_set_again();
            }
        }
        self.clear_points();
    }

    fn run_once(&mut self, forward: bool) {
        let what = format!("{} forward {forward} {:x?}", self.what, self.points);
        let untold = self.untold.take().filter(|untold| (untold.at, untold.forward) == (self.at, forward));
        if let Some(mut untold) = untold {
            untold.watched.retain(|watched| self.points.watched.contains(watched));
            if !untold.watched.is_empty() {
                let stop = self.ask(if forward { "vCont;c:p1.-1" } else { "bc" });
                let told = told(&stop, &untold.watched).unwrap_or_else(|| panic!("{what}: {stop}"));
                untold.watched.retain(|other| !other.covers(told.linear));
                self.untold = Some(untold);
                self.met[2] += 1;
                return;
            }
        }
        let addresses = [&self.points.software[..], &self.points.hardware[..]].concat();
        let expected = self.truth.run(self.at, forward, &addresses, &self.points.watched);
        let Some(expected) = expected else {
            // Out of what the walk has seen: a long way, that need not be gone each time.
            if self.below(64) == 0 {
                let stop = self.ask("bc");
                assert!(stop.starts_with("T05"), "{what}: {stop}");
                let registers = self.client.registers();
                assert_eq!(self.truth.index_of(&registers), None, "{what}: {stop}");
                self.seek();
            }
            return;
        };
        let stop = self.ask(if forward { "vCont;c:p1.-1" } else { "bc" });
        self.at = expected.at;
        let what = format!("{what}: {stop}, expected {expected:x?}");
        self.what.clone_from(&what);
        self.check();
        if let Some(told) = told(&stop, &expected.watched) {
            let others = expected.watched.iter().filter(|other| !other.covers(told.linear));
            self.untold = Some(Untold { at: self.at, forward, watched: others.copied().collect() });
            self.met[1] += 1;
        } else if expected.breaks {
            let here = self.truth.steps[self.at].rip;
            let name = if self.points.software.contains(&here) { "swbreak" } else { "hwbreak" };
            assert!(stop.contains(name), "{what}");
            self.met[0] += 1;
        } else {
            assert!(expected.watched.is_empty(), "{what}");
            assert!(stop.contains(if forward { "replaylog:end" } else { "replaylog:begin" }), "{what}");
            self.met[3] += 1;
        }
    }

    fn set_points(&mut self) {
        for _ in 0..self.below(4) {
            let rip = self.truth.steps[self.below(self.truth.steps.len())].rip;
            let software = self.below(2) == 0;
            let list = if software { &mut self.points.software } else { &mut self.points.hardware };
            if !list.contains(&rip) {
                list.push(rip);
            }
        }
        for _ in 0..self.below(4) {
            // Neighbours: one step may hit both.
            let first = self.below(self.truth.places.len());
            for place in self.truth.places.iter().skip(first).take(1 + self.below(2)) {
                let watched =
                    place.watched([Kind::Write, Kind::Read, Kind::Access, Kind::Access][self.below(4)]);
                if !self.points.watched.contains(&watched) {
                    self.points.watched.push(watched);
                }
            }
        }
        self.send_points('Z');
    }

    fn take_back_and_set_again(&mut self) {
        self.send_points('z');
        self.send_points('Z');
    }

    fn clear_points(&mut self) {
        self.send_points('z');
        self.points = Points::default();
    }

    fn send_points(&mut self, verb: char) {
        // What is not mapped where the machine stands cannot be watched from there.
        let mut watched = Vec::new();
        for point in std::mem::take(&mut self.points.watched) {
            let kind = match point.kind {
                Kind::Write => 2,
                Kind::Read => 3,
                Kind::Access => 4,
            };
            let answer = self.ask(&format!("{verb}{kind},{:x},{:x}", point.linear, point.len));
            if (verb, &*answer) != ('Z', "E0e") {
                assert_eq!(answer, "OK", "{}: {point:x?}", self.what);
                watched.push(point);
            }
        }
        self.points.watched = watched;
        let software = self.points.software.iter().map(|rip| format!("{verb}0,{rip:x},1"));
        let hardware = self.points.hardware.iter().map(|rip| format!("{verb}1,{rip:x},1"));
        let packets: Vec<String> = software.chain(hardware).collect();
        for packet in packets {
            assert_eq!(self.ask(&packet), "OK", "{}: {packet}", self.what);
        }
    }
}

/// The watchpoint that a stop tells of, which must be one of these. `None` if it tells of none.
fn told(stop: &str, hit: &[Watched]) -> Option<Watched> {
    let names = [("rwatch:", Kind::Read), ("awatch:", Kind::Access), (";watch:", Kind::Write)];
    let (kind, rest) = names.iter().find_map(|(name, kind)| Some((*kind, stop.split_once(name)?.1)))?;
    let linear = u64::from_str_radix(rest.split(';').next()?, 16).ok()?;
    let told = hit.iter().find(|watched| (watched.kind, watched.linear) == (kind, linear));
    Some(*told.unwrap_or_else(|| panic!("{stop} tells of what is not hit: {hit:x?}")))
}

fn soak(name: &str, recording: &Path, window_ticks: u64) {
    let (long, fresh) = (is_long(), u64::from(std::process::id()));
    let seed = number_from_environment("REPLAYVM_SOAK_SEED").unwrap_or(if long { fresh } else { 1 });
    let commands = number_from_environment("REPLAYVM_SOAK_ROUNDS").unwrap_or(if long {
        LONG_COMMANDS
    } else {
        SHORT_COMMANDS
    });
    println!("{name}: REPLAYVM_SOAK_SEED={seed}, {commands} commands");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let truth = Truth::walk(recording, window_ticks, &mut random);
    let _busy = long.then(|| [Busy::start(), Busy::start()]);
    let goodbye = talk_about(recording, |client| {
        // Back over a whole boot, on a busy machine.
        client.0.set_read_timeout(Some(Duration::from_secs(1200))).unwrap();
        let mut person = Person {
            client,
            truth: &truth,
            random,
            at: 0,
            points: Points::default(),
            untold: None,
            met: [0; 5],
            what: String::new(),
        };
        person.seek();
        for command in 0..commands {
            let position = truth.steps[person.at].position;
            person.what = format!("{name} seed {seed} command {command} from {position}");
            person.command();
        }
        println!(
            "{name}: stops at breakpoints {}, watchpoints {}, a second watchpoint {}, ends {}, by Ctrl-C {}",
            person.met[0], person.met[1], person.met[2], person.met[3], person.met[4]
        );
        assert!(person.met[0] > 0 && person.met[1] > 0 && person.met[2] > 0, "{:?}", person.met);
    });
    goodbye.unwrap();
}

#[test]
fn random_commands_stop_where_a_walk_says_with_interrupts_and_ring_3() {
    let (_folder, path) = record(corpora::find("process-race").unwrap().image.to_vec(), 30_000);
    soak("process-race", &path, 30_000);
}

fn linux() -> Result<GuestImages, BuildError> {
    let path = corpora::linux::kernel()?;
    let kernel = std::fs::read(&path).map_err(|error| BuildError::Read { path, error })?;
    let initrd = Initramfs::new()?.job("echo hello").build();
    Ok(GuestImages { kernel, initrd: Some(initrd), ..GuestImages::default() })
}

#[test]
fn random_commands_stop_where_a_walk_says_in_a_boot_of_linux() {
    let Some(images) = required(linux()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("boot.rvm");
    let settings = Settings {
        memory_bytes: 256 << 20,
        command_line: "console=ttyS0 panic=-1 nokaslr cryptomgr.notests random.trust_cpu=on".to_owned(),
        limit_ticks: if is_long() { u64::MAX } else { 40_000_000 },
        ..Settings::default()
    };
    let session = RecordSession::start(&path, "boot", &images, &settings, None, Arc::default()).unwrap();
    session.run().unwrap();
    soak("boot", &path, 30_000);
}
