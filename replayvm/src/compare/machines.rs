//! What the machines of two recordings differ in, by their descriptions and images.

use std::fmt::{self, Debug, Display};

use recorder::{Disk, Image, ImageRole, Recording};

/// Something that is different, and what it is on each side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineDifference {
    /// What.
    pub what: &'static str,
    /// A's and B's, in words.
    pub sides: [String; 2],
}

impl Display for MachineDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b] = &self.sides;
        write!(f, "{} is {a} in the one, {b} in the other", self.what)
    }
}

/// First what the guest could notice, then what it could not.
pub(super) fn differences(a: &Recording, b: &Recording) -> (Vec<MachineDifference>, Vec<MachineDifference>) {
    let (one, other) = (a.description(), b.description());
    let (mut machine, mut made) = (Vec::new(), Vec::new());
    note(&mut made, "guest", &one.guest_name, &other.guest_name);
    note(&mut made, "seed", &one.seed, &other.seed);
    note(&mut made, "engine", &one.engine, &other.engine);
    note(&mut made, "pass code", &one.pass_code, &other.pass_code);

    let [images, other_images] = [a, b].map(|recording| images(recording.images()));
    note(&mut machine, "image", &images, &other_images);
    note(&mut machine, "boot", &one.boot, &other.boot);
    note(&mut machine, "command line", &one.command_line, &other.command_line);
    note(&mut machine, "memory", &one.memory_bytes, &other.memory_bytes);
    note(&mut machine, "CPU", &one.cpu_model, &other.cpu_model);
    note(&mut machine, "CPU features", &one.cpu_features, &other.cpu_features);
    note(&mut machine, "flags profile", &one.flags_profile, &other.flags_profile);
    note(&mut machine, "nanoseconds a tick", &one.ns_per_tick, &other.ns_per_tick);
    note(&mut machine, "rules version", &one.rules_version, &other.rules_version);
    note(&mut machine, "disks", &disks(&one.disks), &disks(&other.disks));
    note(&mut machine, "entropy device", &one.entropy_device, &other.entropy_device);
    (machine, made)
}

fn note<T: PartialEq + Debug>(list: &mut Vec<MachineDifference>, what: &'static str, a: &T, b: &T) {
    if a != b {
        list.push(MachineDifference { what, sides: [format!("{a:?}"), format!("{b:?}")] });
    }
}

/// What the guest booted from, without disks and what only a reader wants.
fn images(images: &[Image]) -> Vec<Content> {
    images
        .iter()
        .filter(|image| !matches!(image.role, ImageRole::Disk | ImageRole::Symbols))
        .map(|image| {
            let role = format!("{:?}", image.role).to_lowercase();
            let about = format!("{role} {} {}", image.name, image.command_line);
            let told = [role, image.command_line.clone()];
            Content { about: about.trim_end().to_owned(), told, hash: image.hash }
        })
        .collect()
}

fn disks(disks: &[Disk]) -> Vec<Content> {
    disks
        .iter()
        .map(|disk| {
            let access = if disk.read_only { "read only" } else { "" };
            let about = format!("{} {access}", disk.name);
            let told = [access.to_owned(), disk.size.to_string()];
            Content { about: about.trim_end().to_owned(), told, hash: disk.hash }
        })
        .collect()
}

/// An image: the same if it holds the same and the guest is told the same of it, whatever its name.
struct Content {
    about: String,
    told: [String; 2],
    hash: [u8; 32],
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.told == other.told && self.hash == other.hash
    }
}

impl Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (blake3 ", self.about.escape_debug())?;
        self.hash.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}
