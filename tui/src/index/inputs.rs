//! What the guest could not have computed, with positions.

use recorder::{Position, Recording};

/// Inputs that are kept.
const MAX_INPUTS: usize = 200_000;

/// An input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Where the guest saw it.
    pub at: Position,
    /// What it was, in a few words.
    pub text: String,
}

/// The inputs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// In order.
    pub list: Vec<Input>,
    /// There are more, which are not kept.
    pub cut: bool,
}

impl Inputs {
    /// Reads the inputs.
    #[must_use]
    pub fn build(recording: &Recording) -> Self {
        let mut inputs = Self::default();
        for (at, event) in recording.events().map_while(Result::ok) {
            if inputs.list.len() >= MAX_INPUTS {
                inputs.cut = true;
                break;
            }
            inputs.list.push(Input { at, text: event.to_string() });
        }
        inputs
    }
}
