//! A Linux boot, as far as it has what no small guest has: symbols in its memory, processes, functions without frame pointers.

use replayvm::machine::GuestImages;
use replayvm::session::{RecordSession, Settings};
use tui::action::Action;
use tui::layout::Pane;
use tui::machine::{FrameKind, Tasks};

use crate::support::{Front, LARGE};

#[test]
fn a_linux_boot_has_names_processes_and_callers() {
    let guest = corpora::linux::find("linux-hello").expect("a guest");
    let Some(images) = corpora::linux::required(guest.images()) else { return };
    let images = GuestImages { kernel: images.kernel, initrd: Some(images.initrd), ..GuestImages::default() };
    let settings = Settings {
        memory_bytes: guest.memory_bytes,
        command_line: guest.command_line.to_owned(),
        ..Settings::default()
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("linux.rvm");
    RecordSession::start(&path, guest.name, &images, &settings, None, Default::default())
        .and_then(RecordSession::run)
        .expect("records");
    let mut front = Front::with(&path, None, LARGE);

    front.act(&[Action::End]).show(Pane::Console);
    assert!(front.screen().contains("hello from init"), "{}", front.screen());

    front.go_to("95%").show(Pane::Tasks);
    let Tasks::List(tasks) = &front.side().machine.tasks else {
        panic!("{:?}", front.side().machine.tasks);
    };
    let named =
        |name: &str| tasks.iter().find(|task| task.name == name).unwrap_or_else(|| panic!("{tasks:?}"));
    assert_eq!((named("kthreadd").pid, named("kthreadd").kernel), (2, true));
    assert_eq!((named("ksoftirqd/0").parent, named("swapper/0").pid), (2, 0));
    assert_eq!(tasks.iter().filter(|task| task.current).count(), 1);

    front.go_to("end").go_to("-schedule");
    assert_eq!(front.place(), "schedule+0x0");
    let frames = &front.side().machine.frames;
    assert!(frames.len() > 2 && frames[1].kind == FrameKind::Known, "{frames:?}");
    assert!(frames.iter().all(|frame| frame.name.is_some()), "{frames:?}");

    front.show(Pane::Memory).write(Action::Address, "jiffies_64");
    front.act(&[Action::LastWrite]);
    let next = &front.side().machine.next;
    assert!(next.contains("jiffies"), "{next} in {}", front.place());
}
