//! What this session has done: `stats`.

use std::fmt::Write;

use replayvm::timeline::{InMemory, Statistics};

use crate::target::ReplayTarget;

impl ReplayTarget<'_> {
    pub(super) fn stats(&self) -> String {
        let timeline = &*self.timeline;
        let Statistics { seeks, restores, ticks, instructions, checkpoints } = timeline.statistics();
        let InMemory { checkpoints: cached, bytes, limit } = timeline.in_memory();
        let recording = timeline.opened();
        let mut text = format!("replayed             {ticks} ticks, {instructions} instructions\n");
        let _ = writeln!(text, "seeks                {seeks}");
        let _ = writeln!(text, "checkpoints          {restores} restored, {checkpoints} taken");
        let _ = writeln!(text, "in memory            {cached} checkpoints, {} kept", timeline.pins().count());
        let _ = writeln!(text, "pages in memory      {bytes} bytes of at most {limit}");
        let _ = writeln!(text, "in the recording     {} checkpoints", recording.checkpoints());
        let _ = writeln!(text, "engine               {}", timeline.engine_name());
        if let Some((what, took)) = self.timing.last() {
            let _ = writeln!(text, "the last command     {what}, {:.3} ms", took.as_secs_f64() * 1e3);
        }
        text
    }
}
