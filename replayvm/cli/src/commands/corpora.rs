//! `replayvm corpora`: the guests that come with the command.

use std::path::Path;

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
}

/// `replayvm corpora`
pub fn run(arguments: &Corpora) -> Result<u8, Failure> {
    if let Some(folder) = &arguments.export {
        return export(folder);
    }
    let rows = corpora::all().iter().map(|guest| Row {
        name: guest.name,
        title: guest.title,
        bug: guest.bug,
        oracle: guest.oracle,
        watch: guest.watch,
        failing_of_1000: guest.failing_seeds,
    });
    if arguments.json {
        output::json(&rows.collect::<Vec<_>>())?;
        return Ok(FINE);
    }
    for row in rows {
        println!("{}: {}", row.name, row.title);
        println!("  bug     {}", row.bug);
        println!("  oracle  {}", row.oracle);
        if let Some(rate) = row.failing_of_1000 {
            println!("  fails   {rate} of seeds 0..1000 ({:.1} %)", f64::from(rate) / 10.0);
        }
        if let Some(watch) = row.watch {
            println!("  watch   {watch}");
        }
    }
    Ok(FINE)
}

/// Writes every image into a folder, which is made if it is not there.
fn export(folder: &Path) -> Result<u8, Failure> {
    let wrong = |error: std::io::Error| {
        Failure::input_text(format!("cannot write into {}: {error}", folder.display()))
    };
    std::fs::create_dir_all(folder).map_err(wrong)?;
    for guest in corpora::all() {
        let path = folder.join(guest.name).with_extension("elf");
        std::fs::write(&path, guest.image).map_err(wrong)?;
        println!("{}", path.display());
    }
    Ok(FINE)
}
