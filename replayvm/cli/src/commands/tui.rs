//! `replayvm tui`: the timeline of a recording in the terminal.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tui::TuiError;

use crate::args::Tui;
use crate::failure::{FINE, Failure};
use crate::output::this_command;

/// `replayvm tui`
pub fn run(arguments: &Tui, stop: &Arc<AtomicBool>) -> Result<u8, Failure> {
    match tui::run(&arguments.file, &arguments.disks.paths(), stop) {
        Ok(()) => Ok(FINE),
        Err(TuiError::Timeline(error)) => Err(error.into()),
        Err(error @ TuiError::NoTerminal) => {
            let file = arguments.file.display();
            Err(Failure::input(&error).hint(format!("{} exits {file} --list", this_command())))
        }
        Err(error) => Err(Failure::internal(&error)),
    }
}
