//! Places that stay in memory: `checkpoint` and `checkpoints`.

use std::fmt::Write;

use recorder::Position;

use super::chain;
use crate::target::ReplayTarget;

impl ReplayTarget<'_> {
    pub(super) fn checkpoint(&mut self) -> Result<String, String> {
        let here = self.timeline.pin().map_err(|error| chain(&error))?;
        Ok(format!("{here} is kept in memory\n"))
    }

    /// Gives up one, or all.
    pub(super) fn drop_checkpoint(&mut self, position: Option<Position>) -> Result<String, String> {
        let pins: Vec<Position> = match position {
            Some(position) => vec![position],
            None => self.timeline.pins().collect(),
        };
        let dropped = pins.into_iter().filter(|pin| self.timeline.unpin(*pin)).count();
        match (position, dropped) {
            (Some(position), 0) => {
                Err(format!("{position} is not kept: `monitor checkpoints` lists what is"))
            }
            _ => Ok(format!("{dropped} given up\n")),
        }
    }

    pub(super) fn checkpoints(&self) -> String {
        let mut text = self.timeline.pins().fold(String::new(), |mut text, pin| {
            let _ = writeln!(text, "{pin}");
            text
        });
        let memory = self.timeline.in_memory();
        let _ = writeln!(
            text,
            "{} kept, {} others in memory, {} in the recording",
            self.timeline.pins().count(),
            memory.checkpoints,
            self.timeline.opened().checkpoints()
        );
        text
    }
}
