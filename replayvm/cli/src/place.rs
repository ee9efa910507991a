//! Positions as a person writes them.

use recorder::Position;
use replayvm::timeline::Timeline;

use crate::failure::Failure;

/// `begin`, `end`, or a position of the recording under the cursor.
pub fn of(text: &str, timeline: &Timeline) -> Result<Position, Failure> {
    let at = match text {
        "begin" | "start" => timeline.begin(),
        "end" => timeline.end(),
        text => text.parse::<Position>().map_err(|error| Failure::input(&error))?,
    };
    if at > timeline.end() { Err(Failure::beyond(at, timeline.end())) } else { Ok(at) }
}
