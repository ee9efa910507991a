//! Checkpoints: whole machine states whose cost follows the pages written between them.

/// Which page of RAM holds what, shared between checkpoints.
mod map;
/// Which checkpoints in memory to keep.
mod spacing;
/// Where the contents of pages are kept.
mod store;
/// Following the pages of a machine.
mod tracker;
/// Which pages were written between stored checkpoints.
mod written;

pub use map::PageMap;
pub use spacing::{Cache, approach};
pub use store::{PageStore, StoreError};
pub use tracker::{RamTracker, WrittenPage};
pub use written::WrittenLists;

use recorder::{Position, Section};

/// The whole machine state at a position.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Where.
    pub position: Position,
    /// Everything but RAM.
    pub sections: Vec<Section>,
    /// RAM by page contents.
    pub pages: PageMap,
}
