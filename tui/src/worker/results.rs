//! What a search comes to: a list that one can walk.

use recorder::Position;

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// When, if it is a moment.
    pub at: Option<Position>,
    /// Where in memory or code, if it is a place.
    pub address: Option<u64>,
    /// What.
    pub text: String,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Results {
    /// What was looked for.
    pub title: String,
    /// In order.
    pub list: Vec<Found>,
    /// Whether addresses are of code, of memory, or of physical memory.
    pub of: Of,
    /// Why there may be more.
    pub more: Option<String>,
}

/// What addresses are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Of {
    /// Moments only.
    #[default]
    Moments,
    /// Code.
    Code,
    /// Linear memory.
    Linear,
    /// Physical memory.
    Physical,
}
