//! The keys: one table, from which the help line, the help and the documentation are made too.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::action::{Action, Landmark};
use crate::layout::Pane;

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

/// What bindings are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Along the run.
    Move,
    /// To what the recording knows.
    Jump,
    /// What is looked for.
    Search,
    /// What is shown.
    Show,
    /// In a pane.
    Pane,
    /// The rest.
    Other,
}

impl Group {
    /// All of them, in the order of the help.
    pub const ALL: [Self; 6] = [Self::Move, Self::Jump, Self::Search, Self::Show, Self::Pane, Self::Other];

    /// The heading.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Move => "Move the cursor",
            Self::Jump => "Jump to the next (small letter) or the one before (capital)",
            Self::Search => "Search",
            Self::Show => "Panes and timeline",
            Self::Pane => "In a pane",
            Self::Other => "Other",
        }
    }
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
    /// What it is about.
    pub group: Group,
    /// The same in a word or two for the help line; empty where that has no room for it.
    pub brief: &'static str,
    /// The same in a sentence for the help; empty where it is in that of the binding before.
    pub help: &'static str,
}

const fn binding(
    group: Group,
    keys: &'static [Key],
    label: &'static str,
    action: Action,
    brief: &'static str,
    help: &'static str,
) -> Binding {
    Binding { keys, label, action, group, brief, help }
}

const fn jump(to: Landmark, back: bool) -> Action {
    Action::Jump { to, back }
}

use Action as A;
use Group as G;
use Landmark as L;

/// Every binding.
#[rustfmt::skip]
pub static BINDINGS: &[Binding] = &[
    binding(G::Other, &[char('?'), plain(KeyCode::F(1))], "? F1", A::Help, "help", "this help; Up and Down scroll it"),
    binding(G::Other, &[char('q'), ctrl('c')], "q Ctrl-C", A::Quit, "quit", "quit"),
    binding(G::Other, &[plain(KeyCode::Esc)], "Esc", A::Cancel, "", "stop what is running; close what is in front"),
    binding(G::Other, &[char('g')], "g", A::Gdb, "gdb", "go on in gdb, and come back to where it stopped"),
    binding(G::Other, &[ctrl('g')], "Ctrl-G", A::GdbSplit, "", "the same in a split, within tmux"),
    binding(G::Other, &[char('B')], "B", A::OtherRecording, "", "to the recording of --against, at the same position"),
    binding(G::Other, &[char('T')], "T", A::Theme, "", "other colours: dark, light, none"),

    binding(G::Move, &[plain(KeyCode::Enter)], "Enter", A::Enter, "go there", "go to, or show, what is selected"),
    binding(G::Move, &[char('s')], "s", A::Step { back: false }, "step", "one step"),
    binding(G::Move, &[char('S')], "S", A::Step { back: true }, "back", "one step back"),
    binding(G::Move, &[char('n')], "n", A::Over { back: false }, "", "one step; a call or an interrupt whole"),
    binding(G::Move, &[char('N')], "N", A::Over { back: true }, "", "the same back"),
    binding(G::Move, &[char('o')], "o", A::Out { back: false }, "", "out of the function, to where it returns"),
    binding(G::Move, &[char('O')], "O", A::Out { back: true }, "", "back to where the function was called"),
    binding(G::Move, &[char('c')], "c", A::Run { back: false }, "run", "to the next breakpoint or write to watched memory"),
    binding(G::Move, &[char('C')], "C", A::Run { back: true }, "", "the same back"),
    binding(G::Move, &[char('h')], "h", A::RunToLine { back: false }, "", "to where the selected line of code is executed next"),
    binding(G::Move, &[char('H')], "H", A::RunToLine { back: true }, "", "to where it was executed last"),
    binding(G::Move, &[char(':')], ":", A::GoTo, "go to", "go to a position, time, part of the run, mark or symbol"),
    binding(G::Move, &[char('<')], "<", A::Begin, "", "to the begin of the recording"),
    binding(G::Move, &[char('>')], ">", A::End, "", "to the end"),
    binding(G::Move, &[char('u'), plain(KeyCode::Backspace)], "u Backspace", A::HistoryBack, "", "to where the cursor was"),
    binding(G::Move, &[char('U')], "U", A::HistoryForward, "", "to where it was after that"),

    binding(G::Jump, &[char('e')], "e E", jump(L::SameKind, false), "", "exit of the kind of the selected one"),
    binding(G::Jump, &[char('E')], "E", jump(L::SameKind, true), "", ""),
    binding(G::Jump, &[char('.')], ". ,", jump(L::Exit, false), "", "exit of any kind"),
    binding(G::Jump, &[char(',')], ",", jump(L::Exit, true), "", ""),
    binding(G::Jump, &[char('i')], "i I", jump(L::Interrupt, false), "", "interrupt"),
    binding(G::Jump, &[char('I')], "I", jump(L::Interrupt, true), "", ""),
    binding(G::Jump, &[char('x')], "x X", jump(L::Exception, false), "", "exception"),
    binding(G::Jump, &[char('X')], "X", jump(L::Exception, true), "", ""),
    binding(G::Jump, &[char('l')], "l L", jump(L::Line, false), "", "line of the console"),
    binding(G::Jump, &[char('L')], "L", jump(L::Line, true), "", ""),
    binding(G::Jump, &[char('v')], "v V", jump(L::Input, false), "", "input (event)"),
    binding(G::Jump, &[char('V')], "V", jump(L::Input, true), "", ""),
    binding(G::Jump, &[char(')')], ") (", jump(L::Mark, false), "", "mark"),
    binding(G::Jump, &[char('(')], "(", jump(L::Mark, true), "", ""),

    binding(G::Search, &[char('/')], "/", A::Find, "find", "find in the pane: exits, instructions, bytes, console text"),
    binding(G::Search, &[char(']')], "] [", A::Match { back: false }, "", "go to the next result, or the one before"),
    binding(G::Search, &[char('[')], "[", A::Match { back: true }, "", ""),
    binding(G::Search, &[char('W')], "W", A::LastWrite, "", "who wrote the selected byte of memory last: go there"),
    binding(G::Search, &[char('R')], "R", A::Writes, "", "everybody who wrote it: a list"),
    binding(G::Search, &[char('K')], "K", A::Calls, "", "when was the function of the selected line called: a list"),

    binding(G::Show, &[char('1')], "1", A::Show(Pane::Exits), "", "exits"),
    binding(G::Show, &[char('2')], "2", A::Show(Pane::Code), "", "code"),
    binding(G::Show, &[char('3')], "3", A::Show(Pane::Registers), "", "registers"),
    binding(G::Show, &[char('4')], "4", A::Show(Pane::Memory), "", "memory"),
    binding(G::Show, &[char('5')], "5", A::Show(Pane::Stack), "", "stack and backtrace"),
    binding(G::Show, &[char('6')], "6", A::Show(Pane::Console), "", "console"),
    binding(G::Show, &[char('7')], "7", A::Show(Pane::Devices), "", "devices, descriptor tables, page tables"),
    binding(G::Show, &[char('8')], "8", A::Show(Pane::Tasks), "", "processes"),
    binding(G::Show, &[char('9')], "9", A::Show(Pane::Results), "", "results of the last search"),
    binding(G::Show, &[char('0')], "0", A::Show(Pane::Summary), "", "how many exits of each kind the timeline shows"),
    binding(G::Show, &[char('\'')], "'", A::Show(Pane::Marks), "", "marks, breakpoints, watches"),
    binding(G::Show, &[char('"')], "\"", A::Show(Pane::Inputs), "", "inputs"),
    binding(G::Show, &[plain(KeyCode::Tab)], "Tab", A::Focus { back: false }, "", "the keys to the next pane"),
    binding(G::Show, &[plain(KeyCode::BackTab)], "Shift-Tab", A::Focus { back: true }, "", "the keys to the pane before"),
    binding(G::Show, &[char('z')], "z", A::ZoomPane, "", "this pane alone, and back"),
    binding(G::Show, &[char('+')], "+", A::ZoomIn, "", "a closer look at the timeline, at last single steps"),
    binding(G::Show, &[char('-')], "-", A::ZoomOut, "", "a wider look"),
    binding(G::Show, &[char('=')], "=", A::WholeRun, "", "the whole run"),
    binding(G::Show, &[char('}')], "} {", A::Pan { back: false }, "", "a later part of the timeline, or an earlier one"),
    binding(G::Show, &[char('{')], "{", A::Pan { back: true }, "", ""),
    binding(G::Show, &[char('t')], "t", A::Axis, "", "the timeline by ticks or by virtual time"),

    binding(G::Pane, &[char('j'), plain(KeyCode::Down)], "j Down", A::Down, "", "the next row"),
    binding(G::Pane, &[char('k'), plain(KeyCode::Up)], "k Up", A::Up, "", "the row before"),
    binding(G::Pane, &[plain(KeyCode::PageDown)], "PgDn", A::PageDown, "", "a screen down"),
    binding(G::Pane, &[plain(KeyCode::PageUp)], "PgUp", A::PageUp, "", "a screen up"),
    binding(G::Pane, &[plain(KeyCode::Home)], "Home", A::First, "", "the first row"),
    binding(G::Pane, &[plain(KeyCode::End)], "End", A::Last, "", "the last row"),
    binding(G::Pane, &[plain(KeyCode::Right)], "Right Left", A::Right, "", "memory: a byte; devices: another; else the timeline"),
    binding(G::Pane, &[plain(KeyCode::Left)], "Left", A::Left, "", ""),
    binding(G::Pane, &[char('f')], "f", A::Filter, "filter", "exits: list some only"),
    binding(G::Pane, &[char('F')], "F", A::FilterKind, "", "exits: the kind of the selected one only, or all again"),
    binding(G::Pane, &[char('r')], "r", A::Sort, "", "exits: another order"),
    binding(G::Pane, &[char('y')], "y", A::SelectAtCursor, "", "exits: select the one at the cursor"),
    binding(G::Pane, &[char('a')], "a", A::Address, "", "memory, code: show an address; memory follows a register"),
    binding(G::Pane, &[char('p')], "p", A::Physical, "", "memory: linear or physical addresses"),
    binding(G::Pane, &[char('b')], "b", A::Breakpoint, "", "code: a breakpoint at the selected line, or not; else asks where"),
    binding(G::Pane, &[char('w')], "w", A::Watch, "", "memory: watch the selected 8 bytes, or not"),
    binding(G::Pane, &[char('m')], "m", A::Mark, "mark", "name the place of the cursor"),
    binding(G::Pane, &[char('d'), plain(KeyCode::Delete)], "d Del", A::Delete, "", "marks: take the selected one away"),
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

/// The bindings of a group that the help has a line for.
pub fn of_group(group: Group) -> impl Iterator<Item = &'static Binding> {
    BINDINGS.iter().filter(move |binding| binding.group == group && !binding.help.is_empty())
}

/// The table as it is in the documentation.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::new();
    for group in Group::ALL {
        text.push_str(&format!("### {}\n\n| key | what it does |\n|---|---|\n", group.title()));
        for binding in of_group(group) {
            let keys = binding.label.split(' ').map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" ");
            text.push_str(&format!("| {keys} | {} |\n", binding.help));
        }
        text.push('\n');
    }
    text
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
    fn the_help_fits_on_a_small_screen() {
        for binding in BINDINGS {
            assert!(binding.help.chars().count() <= 64, "{}", binding.help);
        }
    }

    #[test]
    fn every_key_is_in_the_help_as_it_is_labelled() {
        for binding in BINDINGS {
            assert_eq!(binding.label.is_empty(), binding.keys.is_empty());
            let characters = binding.keys.iter().filter_map(|key| match key.code {
                KeyCode::Char(c) if !key.ctrl => Some(c),
                _ => None,
            });
            for c in characters {
                let labels = of_group(binding.group).flat_map(|binding| binding.label.split(' '));
                assert!(labels.into_iter().any(|label| label == c.to_string()), "{c}");
            }
        }
    }

    #[test]
    fn keys_become_actions_by_the_table() {
        let press = |code, modifiers| action(KeyEvent::new(code, modifiers));
        assert_eq!(press(KeyCode::Char('j'), KeyModifiers::NONE), Some(Action::Down));
        assert_eq!(press(KeyCode::Down, KeyModifiers::NONE), Some(Action::Down));
        assert_eq!(press(KeyCode::Char('S'), KeyModifiers::SHIFT), Some(Action::Step { back: true }));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Action::Quit));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::NONE), Some(Action::Run { back: false }));
        assert_eq!(press(KeyCode::Char('ä'), KeyModifiers::NONE), None);
    }
}
