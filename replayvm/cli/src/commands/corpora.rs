//! `replayvm corpora`: the guests that come with the command.

use std::path::Path;

use corpora::linux::{self, LinuxGuest};
use serde::Serialize;

use crate::args::Corpora;
use crate::failure::{FINE, Failure};
use crate::output;

#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    title: &'static str,
    bug: &'static str,
    oracle: &'static str,
    watch: Option<&'static str>,
    failing_of_1000: Option<u32>,
    /// Whether it is a Linux system, built of what `corpora/linux/fetch` gets.
    linux: bool,
    /// How many of how many seeds fail.
    failing: Option<(u32, u32)>,
}

/// The guests for a bare machine, then the Linux systems.
fn rows() -> impl Iterator<Item = Row> {
    let bare = corpora::all().iter().map(|guest| Row {
        name: guest.name,
        title: guest.title,
        bug: guest.bug,
        oracle: guest.oracle,
        watch: guest.watch,
        failing_of_1000: guest.failing_seeds,
        linux: false,
        failing: guest.failing_seeds.map(|failing| (failing, 1000)),
    });
    bare.chain(linux::all().iter().map(|guest| Row {
        name: guest.name,
        title: guest.title,
        bug: guest.bug,
        oracle: guest.oracle,
        watch: None,
        failing_of_1000: None,
        linux: true,
        failing: guest.failing_seeds,
    }))
}

/// `replayvm corpora`
pub fn run(arguments: &Corpora) -> Result<u8, Failure> {
    if let Some(folder) = &arguments.export {
        return export(folder);
    }
    if arguments.json {
        output::json(&rows().collect::<Vec<_>>())?;
        return Ok(FINE);
    }
    for row in rows() {
        println!("{}: {}", row.name, row.title);
        println!("  bug     {}", row.bug);
        println!("  oracle  {}", row.oracle);
        if let Some((failing, of)) = row.failing {
            println!(
                "  fails   {failing} of seeds 0..{of} ({:.1} %)",
                f64::from(failing * 100) / f64::from(of)
            );
        }
        if let Some(watch) = row.watch {
            println!("  watch   {watch}");
        }
    }
    if let Err(missing) = linux::kernel() {
        println!("The Linux guests cannot be built yet: {missing}");
    }
    Ok(FINE)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes)
        .map_err(|error| Failure::input_text(format!("cannot write {}: {error}", path.display())))?;
    println!("{}", path.display());
    Ok(())
}

/// Writes every image into a folder, which is made if it is not there.
fn export(folder: &Path) -> Result<u8, Failure> {
    std::fs::create_dir_all(folder)
        .map_err(|error| Failure::input_text(format!("cannot write into {}: {error}", folder.display())))?;
    for guest in corpora::all() {
        write(&folder.join(guest.name).with_extension("elf"), guest.image)?;
    }
    if let Err(missing) = linux::kernel() {
        println!("No Linux guests: {missing}");
        return Ok(FINE);
    }
    for (number, guest) in linux::all().iter().enumerate() {
        export_linux(guest, folder, number == 0)?;
    }
    Ok(FINE)
}

/// A Linux guest: its file system, its command line, its program, and the kernel that all of them share.
fn export_linux(guest: &LinuxGuest, folder: &Path, with_kernel: bool) -> Result<(), Failure> {
    let images = guest.images().map_err(|error| Failure::input(&error))?;
    if with_kernel {
        write(&folder.join("vmlinuz"), &images.kernel)?;
    }
    write(&folder.join(guest.name).with_extension("initrd"), &images.initrd)?;
    write(&folder.join(guest.name).with_extension("cmdline"), guest.command_line.as_bytes())?;
    match guest.program.map(|name| (name, linux::program(name))) {
        Some((name, Ok(program))) => write(&folder.join(name), program),
        _ => Ok(()),
    }
}
