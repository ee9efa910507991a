//! What a person may want. Nothing here knows a key.

use crate::layout::Pane;

/// Something to look for forward or backward, where the recording itself knows where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landmark {
    /// An exit of the kind of the selected one.
    SameKind,
    /// Any exit.
    Exit,
    /// An interrupt.
    Interrupt,
    /// An exception.
    Exception,
    /// An input.
    Input,
    /// A line of the console.
    Line,
    /// A mark.
    Mark,
}

/// What a person may want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A row down.
    Down,
    /// A row up.
    Up,
    /// A screen down.
    PageDown,
    /// A screen up.
    PageUp,
    /// The first row.
    First,
    /// The last row.
    Last,
    /// To the left: a byte of memory, the device before, or a part of the timeline.
    Left,
    /// To the right.
    Right,
    /// What the selected row is for: going there, showing it.
    Enter,
    /// Run to the selected line of code.
    RunToLine {
        /// Which way.
        back: bool,
    },
    /// One step.
    Step {
        /// Which way.
        back: bool,
    },
    /// One step, calls and interrupts whole.
    Over {
        /// Which way.
        back: bool,
    },
    /// Out of the function.
    Out {
        /// Which way.
        back: bool,
    },
    /// To a breakpoint or a write to watched memory.
    Run {
        /// Which way.
        back: bool,
    },
    /// To the next or previous landmark.
    Jump {
        /// Of what.
        to: Landmark,
        /// Which way.
        back: bool,
    },
    /// To the begin.
    Begin,
    /// To the end.
    End,
    /// To a place that is asked for.
    GoTo,
    /// Where the cursor was before.
    HistoryBack,
    /// Where it was after that.
    HistoryForward,
    /// Name the place of the cursor.
    Mark,
    /// Take the selected mark, or breakpoint, away.
    Delete,
    /// A breakpoint at the selected line, or not any more.
    Breakpoint,
    /// Watch the selected memory, or not any more.
    Watch,
    /// Who wrote the selected byte last?
    LastWrite,
    /// Everybody who wrote it.
    Writes,
    /// Every call of the function of the selected line.
    Calls,
    /// Look for something in the pane.
    Find,
    /// The next match, and the one before.
    Match {
        /// Which way.
        back: bool,
    },
    /// List some exits only.
    Filter,
    /// List those of the kind of the selected one only, or all again.
    FilterKind,
    /// List exits in another order.
    Sort,
    /// Select the exit at the cursor.
    SelectAtCursor,
    /// Show memory or code at an address that is asked for.
    Address,
    /// Linear or physical memory.
    Physical,
    /// A closer look at the timeline.
    ZoomIn,
    /// A wider look.
    ZoomOut,
    /// The whole run.
    WholeRun,
    /// Columns by ticks or by time.
    Axis,
    /// An earlier or a later part of the timeline.
    Pan {
        /// Which way.
        back: bool,
    },
    /// Show a pane.
    Show(Pane),
    /// The keys to the next pane, or the one before.
    Focus {
        /// Which way.
        back: bool,
    },
    /// The pane with the keys alone, or all again.
    ZoomPane,
    /// Other colours.
    Theme,
    /// Go on in gdb, here.
    Gdb,
    /// The same in a split of tmux.
    GdbSplit,
    /// To the recording that this one is compared with.
    OtherRecording,
    /// Show or hide the help.
    Help,
    /// Stop what is running; hide what is in front.
    Cancel,
    /// Leave.
    Quit,
}
