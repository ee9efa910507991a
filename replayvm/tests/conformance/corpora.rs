//! Real guests: a part of each of the corpora on every engine.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use recorder::{ExitKind, MachineDescription, Position};
use replayvm::engine::Stop;
use replayvm::machine::{ExitFilter, GuestImages, Machine};

use super::guest;
use super::run::{digests, engine, on_every_engine, run};

/// Ticks of each guest on the engine, and how often its state is looked at; `REPLAYVM_CONFORMANCE_TICKS` overrides the first.
const TICKS: u64 = 2000;
const LOOK_EVERY: u64 = 250;
/// Ticks of each guest in both forms of the software CPU; `REPLAYVM_FORMS_TICKS` overrides.
const FORMS_TICKS: u64 = 300_000;

/// A machine with a guest in it.
fn booted(images: &GuestImages) -> Machine {
    let boot = replayvm::machine::boot::detect(&images.kernel).unwrap();
    let description = MachineDescription { boot, ..guest::description(16 << 20) };
    let mut machine = Machine::boot(&description, images).unwrap();
    machine.platform.devices_changed(0);
    machine
}

#[test]
fn every_corpora_guest_runs_alike() {
    let ticks =
        std::env::var("REPLAYVM_CONFORMANCE_TICKS").ok().and_then(|n| n.parse().ok()).unwrap_or(TICKS);
    let images: Vec<_> = ::corpora::all()
        .iter()
        .map(|guest| (guest.name, GuestImages { kernel: guest.image.to_vec(), ..GuestImages::default() }))
        .collect();
    let mut expected = Vec::new();
    on_every_engine(|name| {
        let mut seen = Vec::new();
        for (guest, images) in &images {
            let mut machine = booted(images);
            // The start is the same for all; then they set up their devices.
            machine.platform.stop_on = ExitFilter::NONE.with(ExitKind::PortWrite);
            let stop = run(&mut *engine("soft", &machine), &mut machine, Position::MAX, &[]).unwrap();
            assert!(matches!(stop, Stop::Exit(..)), "{guest}: {stop:?}");
            machine.platform.stop_on = ExitFilter::NONE;
            let mut engine = engine(name, &machine);
            let mut next = machine.position().tick + LOOK_EVERY;
            let ticks = next + ticks;
            loop {
                let stop = run(&mut *engine, &mut machine, Position::new(next, 0), &[])
                    .unwrap_or_else(|error| panic!("{guest} on {name}: {error}"));
                seen.push((*guest, machine.position(), machine.instructions(), digests(&machine)));
                next = machine.position().tick + LOOK_EVERY;
                if stop != Stop::Reached || next > ticks {
                    break;
                }
            }
            eprintln!("{guest} on {name} to {}: {}", machine.position(), engine.statistics());
        }
        if name == "plain" {
            expected = seen;
        } else {
            for (got, expected) in seen.iter().zip(&expected) {
                assert_eq!(got, expected, "{name}");
            }
            assert_eq!(seen.len(), expected.len());
        }
    });
}

/// Ticks of each guest on the software CPU alone.
pub fn forms_ticks() -> u64 {
    std::env::var("REPLAYVM_FORMS_TICKS").ok().and_then(|n| n.parse().ok()).unwrap_or(FORMS_TICKS)
}

#[test]
fn the_fast_form_of_the_cpu_comes_to_the_states_of_the_plain_one() {
    let ticks = forms_ticks();
    for (seed, guest) in ::corpora::all().iter().enumerate() {
        let images = GuestImages { kernel: guest.image.to_vec(), ..GuestImages::default() };
        let mut rng = ChaCha8Rng::seed_from_u64(seed as u64);
        let mut machines = ["plain", "soft"].map(|name| {
            let machine = booted(&images);
            let engine = engine(name, &machine);
            (machine, engine)
        });
        loop {
            let from = machines[0].0.position();
            // Some looks close together, some far apart, most in the middle of a tick.
            let far = 1 << (rng.next_u32() % 16);
            let until =
                Position::new(from.tick + rng.next_u64() % far, from.offset + 1 + rng.next_u32() % 12);
            let [expected, got] = machines.each_mut().map(|(machine, engine)| {
                let stop = run(&mut **engine, machine, until, &[]);
                let stop = stop.unwrap_or_else(|error| panic!("{}: {error}", guest.name));
                (stop, machine.position(), machine.cpu.state.clone(), digests(machine))
            });
            assert_eq!(got, expected, "{} from {from} to {until}", guest.name);
            if expected.0 != Stop::Reached || expected.1.tick > ticks {
                break;
            }
        }
    }
}
