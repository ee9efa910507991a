//! Finding a guest by path or by corpora name.

use std::path::Path;

use replayvm::machine::{GuestImages, Module};
use replayvm::session::{Perturbation, Settings};

use crate::args::GuestOptions;
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
    Ok(Guest { name, images: GuestImages { kernel, modules } })
}

/// The settings that the options name.
pub fn settings(options: &GuestOptions, seed: u64) -> Settings {
    Settings {
        memory_bytes: options.memory,
        command_line: options.append.clone(),
        seed,
        perturbation: Perturbation {
            timer_delay_ns: options.timer_delay,
            hold_ticks: options.interrupt_hold,
        },
        checkpoint_ticks: options.checkpoint_every,
        limit_ticks: options.limit,
        pass_code: options.pass,
        engine: options.engine.clone(),
        cpu_features: options.cpu_features.clone(),
        ..Settings::default()
    }
}
