//! Which panes were where when somebody left: a small text file of this user, for the next time.
//!
//! One line a setting: its name, a blank, its value. What is strange in it is left out.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::layout::{Layout, Pane, Slot};
use crate::theme::Theme;

/// Bytes of a file that are read.
const MAX_FILE: u64 = 1 << 16;
/// Slots by name.
const SLOTS: [(&str, Slot); 3] = [("left", Slot::Left), ("right", Slot::Right), ("bottom", Slot::Bottom)];

/// Reads the panes and the colours; as they are at first where there is no file.
///
/// # Errors
/// There is one that cannot be read.
pub fn read(path: &Path) -> io::Result<(Layout, Theme)> {
    let mut text = String::new();
    match fs::File::open(path) {
        Ok(file) => file.take(MAX_FILE).read_to_string(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(parse(&text))
}

fn parse(text: &str) -> (Layout, Theme) {
    let (mut layout, mut theme) = (Layout::default(), Theme::default());
    for (name, value) in text.lines().filter_map(|line| line.split_once(' ')) {
        let slot = |name: &str| SLOTS.into_iter().find(|(other, _)| *other == name).map(|(_, slot)| slot);
        match name {
            "theme" => theme = Theme::named(value).unwrap_or(theme),
            "keys" => layout.focus_on(slot(value).unwrap_or(layout.focus())),
            "alone" => layout.zoomed = value == "yes",
            _ => {
                if let (Some(slot), Some(pane)) = (slot(name), Pane::named(value)) {
                    layout.put(slot, pane);
                }
            }
        }
    }
    (layout, theme)
}

fn text(layout: &Layout, theme: Theme) -> String {
    let mut text = String::new();
    for (name, slot) in SLOTS {
        text.push_str(&format!("{name} {}\n", layout.pane(slot).name()));
    }
    let keys = SLOTS.into_iter().find(|(_, slot)| *slot == layout.focus()).map_or("left", |(name, _)| name);
    let alone = if layout.zoomed { "yes" } else { "no" };
    text.push_str(&format!("keys {keys}\nalone {alone}\ntheme {}\n", theme.name()));
    text
}

/// Writes them; the file is there whole or as it was.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, layout: &Layout, theme: Theme) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text(layout, theme).as_bytes())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/tui");
        assert_eq!(read(&path).unwrap(), (Layout::default(), Theme::Dark));
        let mut layout = Layout::default();
        layout.put(Slot::Left, Pane::Memory);
        layout.focus_on(Slot::Right);
        layout.zoomed = true;
        write(&path, &layout, Theme::Light).unwrap();
        assert_eq!(read(&path).unwrap(), (layout, Theme::Light));
    }

    #[test]
    fn what_is_strange_is_left_out() {
        let strange = "left nonsense\nmiddle code\nkeys\ntheme pink\n\nright stack\n\u{0}";
        let (layout, theme) = parse(strange);
        assert_eq!((layout.pane(Slot::Left), layout.pane(Slot::Right)), (Pane::Exits, Pane::Stack));
        assert_eq!(theme, Theme::Dark);
    }
}
