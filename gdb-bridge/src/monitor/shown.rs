//! As what gdb is shown the machine, and by what names.

use std::fmt::Write;

use crate::architecture::Architecture;
use crate::files::PATH;
use crate::target::ReplayTarget;

const ADD: &str = "\
To add a file of your own, where the guest has it:
  add-symbol-file FILE               a program that is linked to where it runs
  add-symbol-file FILE -o OFFSET     one that runs OFFSET bytes from there (position-independent: its base)
  add-symbol-file FILE ADDRESS       one whose section .text begins at ADDRESS (a kernel module)
Breakpoints stop in whatever address space: `monitor break-in CR3` binds them, `info threads` shows CR3.
";

impl ReplayTarget<'_> {
    /// In what mode the guest is, as what gdb is shown it, and what to type where those are not the same.
    pub(super) fn architecture(&self) -> String {
        let bits = self.timeline.cpu().mode().bitness();
        let shown = self.shown.now();
        let wanted = self.shown.wanted.unwrap_or(Architecture::of_code(bits));
        let how = if self.shown.wanted.is_some() { "asked for" } else { "auto" };
        let mut text = format!(
            "the guest runs {bits}-bit code; gdb is shown {}; {} is {how}\n",
            shown.name(),
            wanted.name()
        );
        if shown != wanted {
            let _ = writeln!(
                text,
                "`exec-file` and then `unset tdesc filename` make gdb take it for {}; symbols stay",
                wanted.name()
            );
        }
        text
    }

    /// What gdb can read of the guest's symbols, and how to add a file.
    pub(super) fn symbols_text(&self) -> String {
        let mut text = String::new();
        match (self.symbols.elf(), self.symbols.table()) {
            (Some(elf), Some(table)) => {
                let (count, origin) = (table.count(), table.origin());
                let _ = writeln!(text, "target:{PATH}: {} bytes, {count} symbols, of {origin}", elf.len());
            }
            (Some(elf), None) => {
                let _ = writeln!(text, "target:{PATH}: {} bytes", elf.len());
            }
            (None, _) => text.push_str("the recording has no symbols\n"),
        }
        if let Some(first) = self.symbols.first_segment() {
            let slide = self.symbols.slide();
            let _ = writeln!(
                text,
                "the guest runs {slide:#x} bytes from where the file says, its first segment at {first:#x}; gdb has been told if it\n\
                 has read the file from here, and one of your own wants `symbol-file FILE -o {slide:#x}`"
            );
        }
        if self.symbols.elf().is_some() && !self.opened.ever() {
            let _ = writeln!(text, "gdb has not read it from here: `file target:{PATH}` makes it");
        }
        text.push_str(ADD);
        text
    }
}
