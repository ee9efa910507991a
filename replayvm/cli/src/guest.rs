//! Finding a guest by path or by corpora name.

use std::path::Path;

use recorder::BootKind;
use replayvm::machine::{DiskImage, GuestImages, Module, boot};
use replayvm::session::{Perturbation, Settings};

use crate::args::{EntropyDevice, GuestOptions};
use crate::failure::Failure;

/// No image that boots in at most 3 GiB is larger.
const IMAGE_LIMIT: u64 = 1 << 30;

/// A guest, ready to be booted.
#[derive(Debug)]
pub struct Guest {
    /// Its corpora name, or the name of its file.
    pub name: String,
    /// What it boots from.
    pub images: GuestImages,
    /// Its disks.
    pub disks: Vec<DiskImage>,
    /// What its kernel is told before what the user adds.
    command_line: &'static str,
    /// What it prints when the interesting part begins.
    vary_after: Option<&'static str>,
}

impl Guest {
    /// The text from which seeds differ, if they do not from power-on.
    pub fn vary_after(&self, options: &GuestOptions) -> Option<String> {
        options.vary_after.clone().or_else(|| self.vary_after.map(str::to_owned))
    }

    fn command_line(&self, append: &str) -> String {
        match (self.command_line, append) {
            (own, "") => own.to_owned(),
            ("", append) => append.to_owned(),
            (own, append) => format!("{own} {append}"),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let wrong =
        |error: std::io::Error| Failure::input_text(format!("cannot read {}: {error}", path.display()));
    let size = std::fs::metadata(path).map_err(wrong)?.len();
    if size > IMAGE_LIMIT {
        return Err(Failure::input_text(format!("{} is too large for a guest image", path.display())));
    }
    std::fs::read(path).map_err(wrong)
}

/// The guest that the options name.
pub fn find(options: &GuestOptions) -> Result<Guest, Failure> {
    if let Some(guest) = corpora::linux::find(&options.guest) {
        return find_linux(guest, options);
    }
    let (name, kernel) = match corpora::find(&options.guest) {
        Some(guest) => (guest.name.to_owned(), guest.image.to_vec()),
        None => {
            let path = Path::new(&options.guest);
            if !path.exists() {
                return Err(Failure::input_text(format!(
                    "there is no guest `{}`: neither a file nor a corpora guest",
                    options.guest
                ))
                .hint("replayvm corpora"));
            }
            let name = path.file_name().map_or_else(|| options.guest.clone(), |n| n.to_string_lossy().into());
            (name, read(path)?)
        }
    };
    let mut modules = Vec::new();
    for module in &options.modules {
        let (file, command_line) = module.split_once(' ').unwrap_or((module, ""));
        let path = Path::new(file);
        modules.push(Module {
            name: path.file_name().map_or_else(|| file.to_owned(), |n| n.to_string_lossy().into()),
            command_line: command_line.to_owned(),
            bytes: read(path)?,
        });
    }
    let initrd = options.initrd.as_deref().map(read).transpose()?;
    Ok(Guest {
        name,
        images: GuestImages { kernel, modules, initrd },
        disks: disks(options)?,
        command_line: "",
        vary_after: None,
    })
}

/// The images of the `--disk`s.
fn disks(options: &GuestOptions) -> Result<Vec<DiskImage>, Failure> {
    options.disks.iter().map(|disk| open_disk(disk, options.embed_disks_up_to)).collect()
}

/// The image of a `--disk`.
fn open_disk(text: &str, embed_up_to: u64) -> Result<DiskImage, Failure> {
    let (path, read_only) = text.strip_suffix(",ro").map_or((text, false), |path| (path, true));
    DiskImage::open(Path::new(path), read_only, embed_up_to).map_err(|error| Failure::input(&error))
}

/// A Linux guest of the corpora, built from what has been fetched.
fn find_linux(guest: &corpora::linux::LinuxGuest, options: &GuestOptions) -> Result<Guest, Failure> {
    if options.initrd.is_some() {
        return Err(Failure::input_text(format!("{} has an initial RAM disk of its own", guest.name)));
    }
    let built = guest.images().map_err(|error| Failure::input(&error))?;
    let images = GuestImages { kernel: built.kernel, initrd: Some(built.initrd), ..GuestImages::default() };
    Ok(Guest {
        name: guest.name.to_owned(),
        images,
        disks: disks(options)?,
        command_line: guest.command_line,
        vary_after: guest.vary_after,
    })
}

/// How a run is meant to end, which says how long it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Somebody watches, and may stop it.
    Record,
    /// One of many that nobody watches.
    Hunt,
}

/// Ticks of a small guest that does not end by itself: a second of virtual time.
pub const LIMIT: u64 = 100_000_000;
/// Ticks of a system in a hunt: 20 seconds of virtual time, idle time not counted. A boot takes 0.8 to 2.5 of them.
const SYSTEM_HUNT_LIMIT: u64 = 2_000_000_000;
const LINUX_MEMORY_BYTES: u64 = 256 << 20;

/// Whether this is how a Linux kernel is started.
pub fn is_linux(boot: BootKind) -> bool {
    matches!(boot, BootKind::LinuxBzImage | BootKind::LinuxElf | BootKind::Pvh)
}

/// Whether what is started so may run as long as it likes.
pub fn is_system(boot: BootKind) -> bool {
    is_linux(boot) || boot == BootKind::Firmware
}

/// The settings that the options name, or that suit the guest.
pub fn settings(options: &GuestOptions, guest: &Guest, purpose: Purpose, seed: u64) -> Settings {
    // Whoever boots it says what is wrong with an image that is none.
    let boot = boot::detect(&guest.images.kernel).ok();
    let defaults = Settings::default();
    let limit = match purpose {
        _ if !boot.is_some_and(is_system) => LIMIT,
        Purpose::Record => u64::MAX,
        Purpose::Hunt => SYSTEM_HUNT_LIMIT,
    };
    let memory = if boot.is_some_and(is_linux) { LINUX_MEMORY_BYTES } else { defaults.memory_bytes };
    Settings {
        memory_bytes: options.memory.unwrap_or(memory),
        ns_per_tick: options.tick_ns,
        command_line: guest.command_line(&options.append),
        seed,
        perturbation: Perturbation {
            timer_delay_ns: options.timer_delay,
            hold_ticks: options.interrupt_hold,
        },
        checkpoint_ticks: options.checkpoint_every,
        limit_ticks: options.limit.unwrap_or(limit),
        pass_code: options.pass,
        vary_after: guest.vary_after(options),
        engine: options.engine.clone(),
        cpu_features: options.cpu_features.clone(),
        disks: guest.disks.clone(),
        entropy_device: match options.entropy_device {
            EntropyDevice::Auto => None,
            EntropyDevice::On => Some(true),
            EntropyDevice::Off => Some(false),
        },
        ..defaults
    }
}
