//! The machine of a recording or of a snapshot, told to a person.

use recorder::{Image, MachineDescription};
use serde::Serialize;

use crate::output::bytes;

/// A machine, as JSON.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// What the guest is called.
    pub guest: String,
    boot: String,
    command_line: String,
    memory_bytes: u64,
    ns_per_tick: u32,
    cpu_model: String,
    cpu_features: Vec<String>,
    flags_profile: String,
    rules_version: u32,
    seed: u64,
    engine: String,
    images: Vec<ImageRow>,
    disks: Vec<DiskRow>,
    entropy_device: bool,
}

#[derive(Debug, Serialize)]
struct ImageRow {
    role: String,
    name: String,
    size: u64,
    blake3: String,
}

#[derive(Debug, Serialize)]
struct DiskRow {
    name: String,
    path: String,
    size: u64,
    blake3: String,
    embedded: bool,
    read_only: bool,
}

impl Machine {
    /// The machine of a file with these images.
    pub fn new(description: &MachineDescription, images: &[Image]) -> Self {
        let image_row = |image: &Image| ImageRow {
            role: format!("{:?}", image.role).to_lowercase(),
            name: image.name.clone(),
            size: image.size,
            blake3: hex(&image.hash),
        };
        let disk_row = |disk: &recorder::Disk| DiskRow {
            name: disk.name.clone(),
            path: disk.path.clone(),
            size: disk.size,
            blake3: hex(&disk.hash),
            embedded: disk.embedded,
            read_only: disk.read_only,
        };
        Self {
            guest: description.guest_name.clone(),
            boot: format!("{:?}", description.boot).to_lowercase(),
            command_line: description.command_line.clone(),
            memory_bytes: description.memory_bytes,
            ns_per_tick: description.ns_per_tick,
            cpu_model: description.cpu_model.clone(),
            cpu_features: description.cpu_features.clone(),
            flags_profile: description.flags_profile.clone(),
            rules_version: description.rules_version,
            seed: description.seed,
            engine: description.engine.clone(),
            images: images.iter().map(image_row).collect(),
            disks: description.disks.iter().map(disk_row).collect(),
            entropy_device: description.entropy_device,
        }
    }

    /// Prints it, as part of what the `file` holds.
    pub fn print(&self, file: &str) {
        let changes: String =
            self.cpu_features.iter().map(|change| format!(" {}", change.escape_debug())).collect();
        println!(
            "  machine      {} RAM, CPU {}{changes}, flags {}, {} ns a tick, rules {}",
            bytes(self.memory_bytes),
            self.cpu_model,
            self.flags_profile,
            self.ns_per_tick,
            self.rules_version
        );
        println!("  boot         {}, command line `{}`", self.boot, self.command_line);
        println!("  recorded     engine {}, seed {}", self.engine, self.seed);
        for image in &self.images {
            println!(
                "  {:<12} {} ({}), blake3 {}",
                image.role,
                image.name,
                bytes(image.size),
                &image.blake3[..16]
            );
        }
        for disk in &self.disks {
            let access = if disk.read_only { ", read only" } else { "" };
            let place = match disk.embedded {
                true => format!("in the {file}"),
                false => format!("blake3 {}, not in the {file}, was {}", &disk.blake3[..16], disk.path),
            };
            println!("  virtio-blk   {} ({}{access}), {place}", disk.name, bytes(disk.size));
        }
        if self.entropy_device {
            println!("  virtio-rng   entropy device");
        }
    }
}

/// A hash in digits.
pub fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
