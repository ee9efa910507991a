//! The keys: one table, from which the help line and the help window are made too.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::app::Action;

/// A key, with Ctrl or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    code: KeyCode,
    ctrl: bool,
}

const fn plain(code: KeyCode) -> Key {
    Key { code, ctrl: false }
}

const fn char(c: char) -> Key {
    plain(KeyCode::Char(c))
}

const fn ctrl(c: char) -> Key {
    Key { code: KeyCode::Char(c), ctrl: true }
}

/// What some keys do.
#[derive(Debug)]
pub struct Binding {
    /// The keys.
    pub keys: &'static [Key],
    /// The keys in words.
    pub label: &'static str,
    /// What they do.
    pub action: Action,
    /// The same in a word or two for the help line; empty where that has no room for it.
    pub brief: &'static str,
    /// The same in a sentence for the help window.
    pub help: &'static str,
}

/// Every binding, the ones that matter most first.
pub static BINDINGS: &[Binding] = &[
    Binding { keys: &[char('?')], label: "?", action: Action::Help, brief: "help", help: "this help" },
    Binding { keys: &[char('q'), ctrl('c')], label: "q", action: Action::Quit, brief: "quit", help: "quit" },
    Binding {
        keys: &[plain(KeyCode::Enter)],
        label: "Enter",
        action: Action::SeekSelected,
        brief: "go there",
        help: "move the cursor to the selected exit",
    },
    Binding {
        keys: &[char('s')],
        label: "s",
        action: Action::StepForward,
        brief: "step",
        help: "one step forward",
    },
    Binding {
        keys: &[char('S')],
        label: "S",
        action: Action::StepBackward,
        brief: "step back",
        help: "one step backward",
    },
    Binding {
        keys: &[char('n')],
        label: "n",
        action: Action::NextOfKind,
        brief: "next",
        help: "run forward to the next exit of the selected kind",
    },
    Binding {
        keys: &[char('N')],
        label: "N",
        action: Action::PreviousOfKind,
        brief: "previous",
        help: "run backward to the exit of the selected kind before",
    },
    Binding {
        keys: &[char('f')],
        label: "f",
        action: Action::NextFilter,
        brief: "filter",
        help: "list the next kind of exit alone, at last all again",
    },
    Binding {
        keys: &[char('F')],
        label: "F",
        action: Action::PreviousFilter,
        brief: "",
        help: "the same the other way round",
    },
    Binding {
        keys: &[char('g')],
        label: "g",
        action: Action::Begin,
        brief: "begin",
        help: "move the cursor to the begin of the recording",
    },
    Binding {
        keys: &[char('G')],
        label: "G",
        action: Action::End,
        brief: "end",
        help: "move the cursor to the end of the recording",
    },
    Binding {
        keys: &[char('m')],
        label: "m",
        action: Action::Mark,
        brief: "mark",
        help: "mark where the cursor is",
    },
    Binding {
        keys: &[char('\'')],
        label: "'",
        action: Action::GoToMark,
        brief: "to mark",
        help: "move the cursor back to the mark",
    },
    Binding {
        keys: &[char('c')],
        label: "c",
        action: Action::SelectAtCursor,
        brief: "",
        help: "select the first exit at or after the cursor",
    },
    Binding {
        keys: &[char('j'), plain(KeyCode::Down)],
        label: "j Down",
        action: Action::Down,
        brief: "",
        help: "select the next exit of the list",
    },
    Binding {
        keys: &[char('k'), plain(KeyCode::Up)],
        label: "k Up",
        action: Action::Up,
        brief: "",
        help: "select the exit before",
    },
    Binding {
        keys: &[plain(KeyCode::PageDown)],
        label: "PgDn",
        action: Action::PageDown,
        brief: "",
        help: "a screen further down the list",
    },
    Binding {
        keys: &[plain(KeyCode::PageUp)],
        label: "PgUp",
        action: Action::PageUp,
        brief: "",
        help: "a screen further up",
    },
    Binding {
        keys: &[plain(KeyCode::Home)],
        label: "Home",
        action: Action::First,
        brief: "",
        help: "select the first exit",
    },
    Binding {
        keys: &[plain(KeyCode::End)],
        label: "End",
        action: Action::Last,
        brief: "",
        help: "select the last exit",
    },
    Binding {
        keys: &[plain(KeyCode::Esc)],
        label: "Esc",
        action: Action::Cancel,
        brief: "",
        help: "stop what is running; close this help",
    },
];

/// What a key does.
#[must_use]
pub fn action(event: KeyEvent) -> Option<Action> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    let ctrl = event.modifiers.contains(KeyModifiers::CONTROL);
    let pressed = Key { code: event.code, ctrl };
    BINDINGS.iter().find(|binding| binding.keys.contains(&pressed)).map(|binding| binding.action)
}

/// Whether a key stops a long operation.
#[must_use]
pub fn interrupts(event: KeyEvent) -> bool {
    let ctrl_c = event.code == KeyCode::Char('c') && event.modifiers.contains(KeyModifiers::CONTROL);
    ctrl_c || action(event) == Some(Action::Cancel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_does_two_things() {
        let keys: Vec<&Key> = BINDINGS.iter().flat_map(|binding| binding.keys).collect();
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(key), "{key:?}");
        }
    }

    #[test]
    fn keys_become_actions_by_the_table() {
        let press = |code, modifiers| action(KeyEvent::new(code, modifiers));
        assert_eq!(press(KeyCode::Char('j'), KeyModifiers::NONE), Some(Action::Down));
        assert_eq!(press(KeyCode::Down, KeyModifiers::NONE), Some(Action::Down));
        assert_eq!(press(KeyCode::Char('G'), KeyModifiers::SHIFT), Some(Action::End));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Action::Quit));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::NONE), Some(Action::SelectAtCursor));
        assert_eq!(press(KeyCode::Char('z'), KeyModifiers::NONE), None);
    }

    #[test]
    fn escape_and_control_c_stop_a_long_operation() {
        assert!(interrupts(KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE)));
        assert!(interrupts(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(!interrupts(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::NONE)));
    }
}
