//! Colours: dark, light, or none.

use ratatui::style::{Color, Modifier, Style};
use recorder::ExitKind;

/// A theme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Theme {
    /// For a dark background.
    #[default]
    Dark,
    /// For a light background.
    Light,
    /// Without colour: bold, underlined and reversed only.
    Plain,
}

/// What something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Titles, and the pane that has the keys.
    Title,
    /// Keys in the help.
    Key,
    /// Names before values.
    Label,
    /// What is other than at the last stop.
    Changed,
    /// Where the cursor is.
    Cursor,
    /// What is selected.
    Selected,
    /// What is not so important.
    Dim,
    /// What is said.
    Info,
    /// What went wrong.
    Error,
    /// Marks, and names of places.
    Mark,
    /// Inputs.
    Input,
    /// Console.
    Console,
    /// An exit of this kind.
    Exit(ExitKind),
}

impl Theme {
    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Dark => Self::Light,
            Self::Light => Self::Plain,
            Self::Plain => Self::Dark,
        }
    }

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dark => "dark",
            Self::Light => "light",
            Self::Plain => "plain",
        }
    }

    /// By its word.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Dark, Self::Light, Self::Plain].into_iter().find(|theme| theme.name() == name)
    }

    /// How it looks.
    #[must_use]
    pub fn style(self, role: Role) -> Style {
        let plain = Style::new();
        let modifier = match role {
            Role::Title | Role::Changed | Role::Cursor | Role::Error | Role::Key => Modifier::BOLD,
            Role::Selected => Modifier::REVERSED,
            Role::Dim => Modifier::DIM,
            _ => Modifier::empty(),
        };
        let style = plain.add_modifier(modifier);
        match self {
            Self::Plain if role == Role::Changed => style.add_modifier(Modifier::UNDERLINED),
            Self::Plain => style,
            Self::Dark => dark(role).map_or(style, |color| style.fg(color)),
            Self::Light => light(role).map_or(style, |color| style.fg(color)),
        }
    }
}

fn dark(role: Role) -> Option<Color> {
    Some(match role {
        Role::Title => Color::White,
        Role::Key | Role::Mark | Role::Info => Color::Yellow,
        Role::Label => Color::Cyan,
        Role::Changed => Color::LightRed,
        Role::Cursor => Color::Green,
        Role::Error => Color::Red,
        Role::Input => Color::Magenta,
        Role::Console => Color::LightBlue,
        Role::Dim => Color::DarkGray,
        Role::Exit(kind) => match kind {
            ExitKind::PortRead | ExitKind::PortWrite => Color::Cyan,
            ExitKind::MmioRead | ExitKind::MmioWrite => Color::Blue,
            ExitKind::Interrupt | ExitKind::Nmi | ExitKind::SoftwareInterrupt => Color::Yellow,
            ExitKind::Exception | ExitKind::Shutdown => Color::Red,
            ExitKind::Halt => Color::Gray,
            _ => Color::Magenta,
        },
        Role::Selected => return None,
    })
}

fn light(role: Role) -> Option<Color> {
    Some(match role {
        Role::Title => Color::Black,
        Role::Key | Role::Label => Color::Blue,
        Role::Mark | Role::Info => Color::Magenta,
        Role::Changed | Role::Error => Color::Red,
        Role::Cursor => Color::Green,
        Role::Input => Color::Magenta,
        Role::Console => Color::Blue,
        Role::Dim => Color::Gray,
        Role::Exit(kind) => match kind {
            ExitKind::PortRead | ExitKind::PortWrite => Color::Blue,
            ExitKind::MmioRead | ExitKind::MmioWrite => Color::Cyan,
            ExitKind::Exception | ExitKind::Shutdown => Color::Red,
            ExitKind::Halt => Color::DarkGray,
            ExitKind::Interrupt | ExitKind::Nmi | ExitKind::SoftwareInterrupt => Color::Magenta,
            _ => Color::Green,
        },
        Role::Selected => return None,
    })
}

/// The letter of a kind of exit where there is room for one only: what is read without colour.
#[must_use]
pub const fn letter(kind: ExitKind) -> char {
    match kind {
        ExitKind::PortRead => 'p',
        ExitKind::PortWrite => 'P',
        ExitKind::MmioRead => 'm',
        ExitKind::MmioWrite => 'M',
        ExitKind::MsrRead => 'r',
        ExitKind::MsrWrite => 'R',
        ExitKind::Cpuid => 'c',
        ExitKind::Tsc => 't',
        ExitKind::Entropy => 'e',
        ExitKind::Halt => 'h',
        ExitKind::Interrupt => 'i',
        ExitKind::Nmi => 'n',
        ExitKind::Exception => 'x',
        ExitKind::SoftwareInterrupt => 's',
        ExitKind::Shutdown => '!',
        // A kind that this version does not know is in no recording that it reads.
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_letter_of_its_own() {
        let mut letters: Vec<char> = ExitKind::ALL.into_iter().map(letter).collect();
        letters.sort_unstable();
        letters.dedup();
        assert_eq!(letters.len(), ExitKind::ALL.len());
    }

    #[test]
    fn without_colour_there_is_none() {
        for role in [Role::Changed, Role::Error, Role::Exit(ExitKind::Halt), Role::Selected, Role::Dim] {
            assert_eq!(Theme::Plain.style(role).fg, None);
        }
    }

    #[test]
    fn themes_are_found_by_name() {
        for theme in [Theme::Dark, Theme::Light, Theme::Plain] {
            assert_eq!(Theme::named(theme.name()), Some(theme));
        }
        assert_eq!(Theme::named("pink"), None);
    }
}
