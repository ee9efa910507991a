//! The rules of entry: held against this host's KVM, by states that break them, and against the states that real guests go
//! through.

use std::time::Duration;

use iced_x86::code_asm::*;
use recorder::{MachineDescription, Position};
use replayvm::engine::doctor;
use replayvm::engine::entry::{Attempt, Maker, Processor, attempt, check, check_system_registers};
use replayvm::machine::{GuestImages, Machine};
use replayvm_cpu::{Attributes, CpuState, Mode, Rflags, Segment, SegmentName, Shadow, cr0, cr4, efer};

use super::corpora::forms_ticks;
use super::guest::{
    DATA, USER_CODE, USER_CODE_SELECTOR, USER_DATA, USER_STACK, description, long64, place, protected32, real,
};
use super::run::{engine, run};

/// The vendor module of this host's KVM; without one nothing can be tried.
fn module() -> Option<&'static str> {
    match doctor().host.kvm {
        Ok(kvm) => Some(kvm.module),
        Err(why) => {
            println!("SKIPPED: {why}");
            None
        }
    }
}

/// A good state must come to its end; a broken one may well run for ever.
fn tried(machine: &mut Machine, patience: Duration) -> Attempt {
    attempt(machine, patience).unwrap_or_else(|error| panic!("{error}"))
}

const LONG: Duration = Duration::from_secs(120);
const SHORT: Duration = Duration::from_millis(300);

fn halting(start: Start) -> Machine {
    start(|a| a.hlt().unwrap())
}

/// At CPL 3, without an interrupt table.
fn user(program: impl FnOnce(&mut CodeAssembler)) -> Machine {
    let mut machine = long64(|_| {});
    place(&mut machine, 64, USER_CODE, program);
    let state = &mut machine.cpu.state;
    let flat = |selector, attributes| Segment {
        selector,
        base: 0,
        limit: u32::MAX,
        attributes: Attributes(attributes),
    };
    state.segments = [flat(USER_DATA, 0xc0f3); 6];
    *state.segment_mut(SegmentName::Cs) = flat(USER_CODE_SELECTOR, 0xa0fb);
    state.idtr.limit = 0;
    (state.rip, state.gpr[4]) = (USER_CODE, USER_STACK);
    machine.cpu.state_changed();
    machine
}

#[test]
fn kvm_enters_what_breaks_no_rule() {
    if module().is_none() {
        return;
    }
    for start in [real, protected32, long64] as [Start; 3] {
        let mut machine = halting(start);
        assert!(check(&machine.cpu.state, &Processor::of_this_host()).is_empty());
        let got = tried(&mut machine, LONG);
        assert_eq!(got, Attempt::Exited("a halt".to_owned()), "{:?}", machine.cpu.state.mode());
    }
}

/// A machine with a program, ready for its first instruction.
type Start = fn(fn(&mut CodeAssembler)) -> Machine;

/// What is done to a state.
type Change = (&'static str, fn(&mut CpuState));

/// The first of them, which KVM or VMRUN looks at before anything else happens.
const CHECKED_FIRST: usize = 10;

const CHANGES: &[Change] = &[
    ("CR0.NW", |s| s.cr0 |= cr0::NW),
    ("CR0 bit 40", |s| s.cr0 |= 1 << 40),
    ("CR0.PE", |s| s.cr0 ^= cr0::PE),
    ("CR4 bit 15", |s| s.cr4 |= 1 << 15),
    ("CR4.PAE", |s| s.cr4 ^= cr4::PAE),
    ("EFER.LME", |s| s.efer ^= efer::LME),
    ("EFER.LMA", |s| s.efer ^= efer::LMA),
    ("EFER bit 9", |s| s.efer |= 1 << 9),
    ("CR3 bit 60", |s| s.cr3 |= 1 << 60),
    ("L and D of CS", |s| rights(s, SegmentName::Cs, 0, 0x6000)),
    ("RFLAGS bit 3", |s| s.rflags |= 8),
    ("RFLAGS bit 1", |s| s.rflags &= !2),
    ("RFLAGS.VM", |s| s.rflags |= Rflags::VM.bits()),
    ("type of CS", |s| rights(s, SegmentName::Cs, 0xf, 2)),
    ("S of CS", |s| rights(s, SegmentName::Cs, 0x10, 0)),
    ("limit of CS", |s| s.segment_mut(SegmentName::Cs).limit ^= 1),
    ("type of SS", |s| rights(s, SegmentName::Ss, 1, 0)),
    ("type of DS", |s| rights(s, SegmentName::Ds, 1, 0)),
    ("base of FS", |s| s.segment_mut(SegmentName::Fs).base = 1 << 62),
    ("type of TR", |s| s.tr.attributes = Attributes(0x89)),
    ("TI of TR", |s| s.tr.selector |= 4),
    ("type of LDTR", |s| s.ldtr.attributes = Attributes(0x83)),
    ("base of GDTR", |s| s.gdtr.base = 1 << 62),
    ("shadow without IF", |s| s.shadow = Shadow::Sti),
    ("shadow with TF", |s| {
        s.shadow = Shadow::MovSs;
        s.rflags |= Rflags::TF.bits();
    }),
];

fn rights(state: &mut CpuState, name: SegmentName, clear: u16, set: u16) {
    let attributes = &mut state.segment_mut(name).attributes;
    *attributes = Attributes(attributes.0 & !clear | set);
}

/// KVM repairs or emulates much of what the manuals forbid; but what it or the processor refuses, the rules must explain.
#[test]
fn what_kvm_or_the_processor_refuses_is_explained() {
    let Some(module) = module() else { return };
    let processor = Processor::of_this_host();
    let mut refused = Vec::new();
    let starts: [Start; 4] = [long64, |_| user(|a| a.hlt().unwrap()), protected32, real];
    // Where a processor enters, it is not to be given what may hang it: emulated ones have been seen to.
    let (starts, changes) = match module {
        "pvm" => (&starts[..], CHANGES),
        _ => (&starts[..2], &CHANGES[..CHECKED_FIRST]),
    };
    for start in starts {
        for (what, change) in changes {
            let mut machine = halting(*start);
            let mode = machine.cpu.state.mode();
            change(&mut machine.cpu.state);
            let got = tried(&mut machine, SHORT);
            let state = &machine.cpu.state;
            let words = got.to_string();
            match got {
                Attempt::Refused(_) => {
                    let broken =
                        check_system_registers(state, &processor).len() + check(state, &processor).len();
                    assert!(broken > 0 && !words.contains("no rule"), "{mode:?}, {what}: {words}");
                }
                Attempt::FailedEntry(_) => {
                    assert!(!check(state, &processor).is_empty(), "{mode:?}, {what}: {words}");
                    assert!(words.contains("KVM_EXIT_FAIL_ENTRY") && !words.contains("no rule"), "{words}");
                }
                Attempt::InternalError(_) => assert!(words.contains("KVM_EXIT_INTERNAL_ERROR"), "{words}"),
                Attempt::Shutdown(_) => assert!(words.contains("KVM_EXIT_SHUTDOWN"), "{words}"),
                Attempt::Exited(_) | Attempt::Endless => continue,
            }
            println!("{module}, {mode:?}, {what}: {words}");
            refused.push((mode, *what, words));
        }
    }
    // What every KVM has refused since it has long mode.
    let words = refused.iter().find(|(mode, what, _)| (*mode, *what) == (Mode::Long64, "CR4.PAE"));
    let (_, _, words) = words.expect("long mode without CR4.PAE is refused");
    assert!(words.starts_with("KVM_SET_SREGS refuses the system registers (Invalid argument"), "{words}");
    assert!(words.contains("EFER.LME and CR0.PG need CR4.PAE (KVM_SET_SREGS)"), "{words}");
    if module == "amd" {
        // KVM leaves these to VMRUN.
        for (what, rule) in
            [("EFER bit 9", "EFER has a bit set"), ("L and D of CS", "L and D of CS do not go together")]
        {
            let failed = refused.iter().any(|(_, refused, words)| {
                *refused == what && words.contains("VMEXIT_INVALID") && words.contains(rule)
            });
            assert!(failed, "{what}: {refused:#?}");
        }
    }
}

#[test]
fn an_instruction_that_kvm_does_not_have_is_named() {
    let Some(module) = module() else { return };
    let mut machine = long64(|a| {
        a.mov(rdi, DATA).unwrap();
        a.cmpxchg16b(xmmword_ptr(rdi)).unwrap();
        a.hlt().unwrap();
    });
    let got = tried(&mut machine, LONG);
    println!("{module}: {got}");
    match got {
        Attempt::InternalError(words) => {
            let expected = "KVM's instruction emulator does not have the instruction `cmpxchg16b (%rdi)` [48, 0f, c7, 0f]";
            assert!(words.starts_with(expected), "{words}");
        }
        other => {
            assert_ne!(module, "pvm", "its emulator does not have it: {other}");
            assert_eq!(other, Attempt::Exited("a halt".to_owned()));
        }
    }
}

#[test]
fn a_shutdown_tells_what_led_to_it() {
    let Some(module) = module() else { return };
    let unmapped = 0x12_3456_7000_u64;
    let mut machine = user(|a| {
        a.mov(rdi, unmapped).unwrap();
        a.mov(qword_ptr(rdi), rax).unwrap();
    });
    let Attempt::Shutdown(words) = tried(&mut machine, LONG) else { panic!("no triple fault") };
    println!("{module}: {words}");
    let told = words.starts_with("#PF with error code 0x6 at address 0x1234567000 could not be delivered");
    assert!(words.contains("a triple fault, KVM_EXIT_SHUTDOWN"), "{words}");
    assert!(told || module != "pvm", "{words}");
}

/// Processors of all kinds whose rules a guest's states may not break.
const PROCESSORS: [Processor; 3] = {
    let intel = Processor { maker: Maker::Vmx, unrestricted: true, physical_bits: 39, linear_bits: 48 };
    [intel, Processor { unrestricted: false, ..intel }, Processor { maker: Maker::Svm, ..intel }]
};

/// States of a guest that were looked at, by mode and privilege.
#[derive(Debug, Default)]
struct Sampled {
    states: u64,
    real: u64,
    protected: u64,
    kernel: u64,
    user: u64,
}

impl Sampled {
    fn look(&mut self, name: &str, machine: &Machine) {
        let state = &machine.cpu.state;
        self.states += 1;
        match state.mode() {
            Mode::Real => self.real += 1,
            _ if state.cpl() == 3 => self.user += 1,
            Mode::Long64 => self.kernel += 1,
            _ => self.protected += 1,
        }
        for processor in PROCESSORS {
            // Without unrestricted guests KVM makes other states of those without paging.
            if processor.unrestricted || state.cr0 & cr0::PG != 0 {
                let broken = check(state, &processor);
                assert!(broken.is_empty(), "{name} at {}: {broken:#?}", machine.position());
            }
        }
        let broken = check_system_registers(state, &PROCESSORS[0]);
        assert!(broken.is_empty(), "{name} at {}: {broken:#?}", machine.position());
    }

    /// Runs a guest, its first steps one by one, then by so many ticks.
    fn run(name: &str, description: &MachineDescription, images: &GuestImages, ticks: u64, by: u64) -> Self {
        let mut machine =
            Machine::boot(description, images).unwrap_or_else(|error| panic!("{name}: {error}"));
        machine.platform.devices_changed(0);
        let mut engine = engine("soft", &machine);
        let mut sampled = Self::default();
        loop {
            sampled.look(name, &machine);
            let now = machine.position();
            let until = match sampled.states < 20_000 {
                true => Position { offset: now.offset + 1, ..now },
                false => Position::new(now.tick + by, 0),
            };
            let stop = run(&mut *engine, &mut machine, until, &[]);
            let stop = stop.unwrap_or_else(|error| panic!("{name}: {error}"));
            if stop != replayvm::engine::Stop::Reached || now.tick > ticks {
                println!("{name} to {}: {sampled:?}", machine.position());
                return sampled;
            }
        }
    }
}

#[test]
fn no_rule_is_broken_by_a_state_that_the_corpora_go_through() {
    for guest in ::corpora::all() {
        let images = GuestImages { kernel: guest.image.to_vec(), ..GuestImages::default() };
        let sampled = Sampled::run(guest.name, &description(16 << 20), &images, forms_ticks(), 37);
        assert!(sampled.states > 1000, "{}: {sampled:?}", guest.name);
    }
}

#[test]
fn no_rule_is_broken_by_a_state_that_firmware_and_linux_go_through() {
    use ::corpora::linux::{Initramfs, kernel, required, seabios};
    let read = |path: std::path::PathBuf| std::fs::read(&path).unwrap();
    let Some(bios) = required(seabios("bios-microvm.bin")) else { return };
    let images = GuestImages { kernel: read(bios), ..GuestImages::default() };
    let firmware = MachineDescription { boot: recorder::BootKind::Firmware, ..description(64 << 20) };
    let sampled = Sampled::run("SeaBIOS", &firmware, &images, 3_000_000, 101);
    assert!(sampled.real > 1000 && sampled.protected > 1000, "{sampled:?}");

    let Some(path) = required(kernel()) else { return };
    let Some(initramfs) = required(Initramfs::new()) else { return };
    let initrd =
        Some(initramfs.job("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; ls -l /proc/self; ").build());
    let images = GuestImages { kernel: read(path), initrd, ..GuestImages::default() };
    let linux = MachineDescription {
        boot: recorder::BootKind::LinuxBzImage,
        command_line: "console=ttyS0 panic=-1 nokaslr mitigations=off cryptomgr.notests random.trust_cpu=on"
            .to_owned(),
        ..description(256 << 20)
    };
    let sampled = Sampled::run("Linux", &linux, &images, 2_000_000_000, 2_003);
    assert!(sampled.kernel > 1000 && sampled.user > 100, "{sampled:?}");
}
