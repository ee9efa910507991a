//! The Linux boot protocol, tested with kernels of a few bytes.

use replayvm_cpu::Mode;

use super::super::{BootError, GuestImages, detect};
use super::*;
use crate::machine::MachineError;
use crate::session::Settings;

const MEBI: u64 = 1 << 20;

/// A bzImage of 4 KiB with a header that can be changed.
struct BzImage(Vec<u8>);

impl BzImage {
    fn new() -> Self {
        let mut image = vec![0; 2 * 512 + 4096];
        image[1024..].fill(0xf4);
        Self(image)
            .put(0x1f1, &[1])
            .put(0x1f4, &(4096_u32 / 16).to_le_bytes())
            .put(0x1fe, &[0x55, 0xaa])
            .put(0x200, &[0xeb, 0x6a])
            .put(0x202, b"HdrS")
            .put(0x206, &0x20f_u16.to_le_bytes())
            .put(0x211, &[1])
            .put(0x214, &0x10_0000_u32.to_le_bytes())
            .put(0x22c, &0x7fff_ffff_u32.to_le_bytes())
            .put(0x230, &0x20_0000_u32.to_le_bytes())
            .put(0x234, &[1])
            .put(0x236, &1_u16.to_le_bytes())
            .put(0x238, &2047_u32.to_le_bytes())
            .put(0x258, &0x20_0000_u64.to_le_bytes())
            .put(0x260, &0x10_0000_u32.to_le_bytes())
    }

    fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn boot(
        self,
        memory_bytes: u64,
        command_line: &str,
        initrd: Option<Vec<u8>>,
    ) -> Result<Machine, BootError> {
        let images = GuestImages { kernel: self.0, initrd, ..GuestImages::default() };
        let boot = detect(&images.kernel)?;
        let settings =
            Settings { memory_bytes, command_line: command_line.to_owned(), ..Settings::default() };
        Machine::boot(&settings.description("test", boot), &images).map_err(|error| match error {
            MachineError::Boot(error) => error,
            other => panic!("{other}"),
        })
    }

    /// What is wrong with it.
    fn refused(self) -> String {
        self.boot(8 * MEBI, "", None).unwrap_err().to_string()
    }
}

fn word(machine: &Machine, gpa: u64) -> u32 {
    u32::from_le_bytes(machine.platform.ram.load(gpa).unwrap())
}

fn long(machine: &Machine, gpa: u64) -> u64 {
    u64::from_le_bytes(machine.platform.ram.load(gpa).unwrap())
}

#[test]
fn a_bzimage_is_entered_in_long_mode_where_it_prefers_to_be_with_the_zero_page() {
    let machine = BzImage::new().boot(8 * MEBI, "console=ttyS0", Some(vec![7; 5000])).unwrap();
    let (state, ram) = (&machine.cpu.state, &machine.platform.ram);
    assert_eq!((state.rip, state.mode()), (0x20_0200, Mode::Long64));
    assert_eq!(state.rflags & 0x200, 0, "interrupts are off");
    assert_eq!(ram.slice(0x20_0000, 4096).unwrap(), [0xf4; 4096]);
    let page = state.gpr[6];
    let command_line = u64::from(word(&machine, page + 0x228));
    assert_eq!(ram.slice(command_line, 14).unwrap(), b"console=ttyS0\0");
    assert_eq!(ram.slice(page + 0x202, 4).unwrap(), b"HdrS");
    assert_eq!(ram.slice(page + 0x210, 1).unwrap(), [0xff], "a loader without a number");
    assert_eq!(word(&machine, page + 0x214), 0x20_0000, "code32_start is where it is");
    let initrd = (u64::from(word(&machine, page + 0x218)), word(&machine, page + 0x21c));
    assert_eq!(initrd, (8 * MEBI - 0x2000, 5000), "as high as it goes, on a page");
    assert_eq!(ram.slice(initrd.0, 5000).unwrap(), [7; 5000]);
    assert_eq!(long(&machine, page + 0x70), 0xe_0000, "the RSDP");
    assert_eq!(ram.slice(0xe_0000, 8).unwrap(), b"RSD PTR ");
}

#[test]
fn the_zero_page_holds_nothing_of_the_image_but_the_header_and_says_what_is_memory() {
    let machine = BzImage::new().put(0x100, &[0xee; 0x80]).boot(8 * MEBI, "", None).unwrap();
    let page = machine.cpu.state.gpr[6];
    assert_eq!(machine.platform.ram.slice(page + 0x100, 0x70).unwrap(), [0; 0x70]);
    assert_eq!(machine.platform.ram.slice(page + 0x1ef, 1).unwrap(), [0], "the sentinel says: a clean page");
    assert_eq!(machine.platform.ram.slice(page + 0x1e8, 1).unwrap(), [3]);
    let entry = |n: u64| {
        let at = page + 0x2d0 + n * 20;
        (long(&machine, at), long(&machine, at + 8), word(&machine, at + 16))
    };
    assert_eq!(entry(0), (0, 0x9_fc00, 1));
    assert_eq!(entry(1), (0x9_fc00, 0x6_0400, 2));
    assert_eq!(entry(2), (0x10_0000, 7 * MEBI, 1));
}

#[test]
fn without_a_64_bit_entry_it_is_entered_in_protected_mode() {
    let machine = BzImage::new().put(0x236, &[0, 0]).boot(8 * MEBI, "", None).unwrap();
    let state = &machine.cpu.state;
    assert_eq!((state.rip, state.mode()), (0x20_0000, Mode::Protected32));
    assert_eq!(word(&machine, state.gpr[6] + 0x202), 0x5372_6448);
}

#[test]
fn a_kernel_that_cannot_be_moved_goes_to_1_mib() {
    let machine = BzImage::new().put(0x234, &[0]).boot(8 * MEBI, "", None).unwrap();
    assert_eq!(machine.cpu.state.rip, 0x10_0200);
}

#[test]
fn an_initrd_ends_where_the_kernel_says_and_begins_behind_the_kernel_or_is_refused() {
    let below = |max: u64, size: usize| {
        let image = BzImage::new().put(0x22c, &(max as u32).to_le_bytes());
        image.boot(8 * MEBI, "", Some(vec![1; size]))
    };
    let machine = below(5 * MEBI - 1, 0x3000).unwrap();
    assert_eq!(u64::from(word(&machine, machine.cpu.state.gpr[6] + 0x218)), 5 * MEBI - 0x3000);
    // From 3 MiB, where the kernel's memory ends, to 5 MiB, and no byte more.
    assert!(below(5 * MEBI - 1, 2 << 20).is_ok());
    let error = below(5 * MEBI - 1, (2 << 20) + 1).unwrap_err();
    assert!(matches!(error, BootError::Initrd { top, .. } if top == 5 * MEBI), "{error}");
    assert!(below(u64::from(u32::MAX), 9 << 20).unwrap_err().to_string().contains("--memory"));
}

#[test]
fn an_initrd_is_only_for_kernels_that_take_one() {
    let mut sector = vec![0x90; 512];
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    let error = BzImage(sector).boot(8 * MEBI, "", Some(vec![0])).unwrap_err();
    assert!(matches!(error, BootError::NoInitrd));
}

#[test]
fn a_command_line_may_be_as_long_as_the_kernel_says() {
    let limited = || BzImage::new().put(0x238, &10_u32.to_le_bytes());
    assert!(limited().boot(8 * MEBI, "0123456789", None).is_ok());
    let error = limited().boot(8 * MEBI, "0123456789a", None).unwrap_err();
    assert!(matches!(error, BootError::CommandLine { limit: 10 }), "{error}");
    let endless = BzImage::new().put(0x238, &u32::MAX.to_le_bytes());
    assert!(matches!(endless.boot(8 * MEBI, &"x".repeat(1 << 17), None), Err(BootError::CommandLine { .. })));
}

#[test]
fn too_little_memory_for_what_the_kernel_says_it_needs_is_refused() {
    assert!(BzImage::new().boot(3 * MEBI, "", None).is_ok());
    let error = BzImage::new().boot(3 * MEBI - 4096, "", None).unwrap_err();
    assert!(matches!(error, BootError::TooLarge { end, .. } if end == 3 * MEBI), "{error}");
    assert!(BzImage::new().put(0x260, &u32::MAX.to_le_bytes()).refused().contains("--memory"));
}

#[test]
fn headers_that_make_no_sense_are_refused() {
    assert!(BzImage::new().put(0x206, &[0, 2]).refused().contains("2.02"));
    assert!(BzImage::new().put(0x211, &[0]).refused().contains("zImage"));
    assert!(BzImage::new().put(0x258, &0x12_3456_u64.to_le_bytes()).refused().contains("0x123456"));
    assert!(BzImage::new().put(0x258, &u64::MAX.to_le_bytes()).refused().contains("0xffffffffffffffff"));
    assert!(BzImage::new().put(0x258, &[0; 8]).refused().contains("0x0"));
    assert!(BzImage::new().put(0x1f4, &u32::MAX.to_le_bytes()).refused().contains("cut off"));
    assert!(BzImage::new().put(0x1f1, &[200]).refused().contains("cut off"));
    let mut cut = BzImage::new();
    cut.0.truncate(2 * 512 + 100);
    assert!(cut.refused().contains("cut off"));
}

#[test]
fn a_damaged_header_or_a_short_file_panics_nowhere() {
    for (at, value) in (0x1f0..0x270).flat_map(|at| [0, 1, 0x7f, 0x80, 0xff].map(|value| (at, value))) {
        let _ = BzImage::new().put(at, &[value]).boot(4 * MEBI, "x", Some(vec![0; 10]));
    }
    for length in 0x1f0..0x420 {
        let mut image = BzImage::new();
        image.0.truncate(length);
        let _ = image.boot(4 * MEBI, "x", None);
    }
}
