//! The counter of retired conditional branches that processors have: whether this host lets us have it. A fact, and no more: no
//! engine needs it.

use std::fmt;
use std::fs::File;
use std::hint::black_box;
use std::io::{self, Read};
use std::os::fd::FromRawFd;

use perf_event_open_sys::bindings::{PERF_FLAG_FD_CLOEXEC, PERF_TYPE_RAW, perf_event_attr};

use super::host::Processor;

/// Conditional branches that are executed to see whether it counts.
const BRANCHES: u64 = 1000;

/// The branch counter, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BranchCounter {
    /// It counts, by this event.
    There(u64),
    /// No event is known for this processor.
    Unknown,
    /// The host has no counters, or does not pass them on.
    Absent,
    /// The kernel does not let this user have it; `perf_event_paranoid`, if that could be read.
    NotPermitted(Option<i32>),
    /// Somebody else has it.
    Taken,
    /// It can be had, but has counted only so many of a thousand branches.
    Wrong(u64),
    /// Something else, in words.
    Failed(String),
}

impl fmt::Display for BranchCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::There(event) => write!(f, "there (event {event:#x})")?,
            Self::Unknown => f.write_str("unknown: no event is known for this processor")?,
            Self::Absent => f.write_str(
                "absent: the processor has no performance counters, or the hypervisor around this host does not pass them on",
            )?,
            Self::NotPermitted(Some(level)) => write!(
                f,
                "not permitted: kernel.perf_event_paranoid is {level}; 2 or less, or CAP_PERFMON, would permit it"
            )?,
            Self::NotPermitted(None) => {
                f.write_str("not permitted: a sandbox forbids perf_event_open, or CAP_PERFMON is missing")?;
            }
            Self::Taken => f.write_str(
                "taken by someone else: end the other profiler, or switch the NMI watchdog off (kernel.nmi_watchdog=0)",
            )?,
            Self::Wrong(count) => {
                write!(f, "not to be trusted: it has counted {count} of at least {BRANCHES} branches")?;
            }
            Self::Failed(why) => write!(f, "not to be had ({why})")?,
        }
        f.write_str("; not needed")
    }
}

/// Tries it.
pub(super) fn branch_counter(processor: &Processor) -> BranchCounter {
    match event(&processor.vendor, processor.family, processor.model) {
        Some(event) => judge(event, open(event), paranoia),
        None => BranchCounter::Unknown,
    }
}

/// The raw event of retired conditional branches: BR_INST_RETIRED.COND or .CONDITIONAL, or AMD's PMCx0D1.
fn event(vendor: &str, family: u32, model: u32) -> Option<u64> {
    match (vendor, family) {
        ("AuthenticAMD", 0x17..) | ("HygonGenuine", 0x18..) => Some(0xd1),
        ("GenuineIntel", 6) => match model {
            // Nehalem to Comet Lake.
            0x1a | 0x1e | 0x1f | 0x2e | 0x25 | 0x2c | 0x2f | 0x2a | 0x2d | 0x3a | 0x3e => Some(0x01c4),
            0x3c | 0x3f | 0x45 | 0x46 | 0x3d | 0x47 | 0x4f | 0x56 => Some(0x01c4),
            0x4e | 0x5e | 0x55 | 0x8e | 0x9e | 0x66 | 0xa5 | 0xa6 => Some(0x01c4),
            // Atoms before Gracemont, and Knights Mill.
            0x7a | 0x85 | 0x86 | 0x96 | 0x9c => None,
            // From Ice Lake on.
            0x6a.. => Some(0x11c4),
            _ => None,
        },
        // Diamond Rapids and its like.
        ("GenuineIntel", 0x12 | 0x13) => Some(0x11c4),
        _ => None,
    }
}

/// This thread's, in user mode, counting at once; pinned: on the processor always or not at all.
fn open(event: u64) -> io::Result<File> {
    let mut attributes = perf_event_attr {
        type_: PERF_TYPE_RAW,
        size: size_of::<perf_event_attr>() as u32,
        config: event,
        ..perf_event_attr::default()
    };
    attributes.set_pinned(1);
    attributes.set_exclude_kernel(1);
    attributes.set_exclude_hv(1);
    // SAFETY: the structure is initialised, says its own size and outlives the call, which keeps no pointer to it.
    let fd = unsafe {
        perf_event_open_sys::perf_event_open(&mut attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC.into())
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

fn paranoia() -> Option<i32> {
    std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok()?.trim().parse().ok()
}

fn judge(event: u64, opened: io::Result<File>, paranoia: impl Fn() -> Option<i32>) -> BranchCounter {
    let mut counter = match opened {
        Ok(counter) => counter,
        Err(error) => {
            return match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP | libc::ENOSYS) => BranchCounter::Absent,
                // From this level on not even one's own user mode.
                Some(libc::EACCES | libc::EPERM) => {
                    BranchCounter::NotPermitted(paranoia().filter(|level| *level > 2))
                }
                Some(libc::EBUSY) => BranchCounter::Taken,
                _ => BranchCounter::Failed(error.to_string()),
            };
        }
    };
    // Each round's condition is computed anew: one branch a round, however the loop is unrolled.
    let mut left = BRANCHES;
    while black_box(left) > 0 {
        left -= 1;
    }
    let mut count = [0; 8];
    match counter.read(&mut count) {
        // A pinned event that the processor has no counter left for is in error, and at its end.
        Ok(0) => BranchCounter::Taken,
        Ok(8) => match u64::from_ne_bytes(count) {
            count if count < BRANCHES => BranchCounter::Wrong(count),
            _ => BranchCounter::There(event),
        },
        Ok(bytes) => BranchCounter::Failed(format!("{bytes} bytes where 8 were to be read")),
        Err(error) => BranchCounter::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    #[test]
    fn each_processor_has_its_event() {
        for (vendor, family, model, expected) in [
            ("AuthenticAMD", 0x17, 0x31, Some(0xd1)),
            ("AuthenticAMD", 0x1a, 0x44, Some(0xd1)),
            ("HygonGenuine", 0x18, 1, Some(0xd1)),
            ("AuthenticAMD", 0x15, 2, None),
            // Haswell, Cascade Lake, Comet Lake.
            ("GenuineIntel", 6, 0x3c, Some(0x01c4)),
            ("GenuineIntel", 6, 0x55, Some(0x01c4)),
            ("GenuineIntel", 6, 0xa5, Some(0x01c4)),
            // Ice Lake, Sapphire Rapids, Granite Rapids, Diamond Rapids.
            ("GenuineIntel", 6, 0x6a, Some(0x11c4)),
            ("GenuineIntel", 6, 0x7e, Some(0x11c4)),
            ("GenuineIntel", 6, 0x8f, Some(0x11c4)),
            ("GenuineIntel", 6, 0xad, Some(0x11c4)),
            ("GenuineIntel", 0x13, 1, Some(0x11c4)),
            // Goldmont Plus, Core 2, Pentium 4.
            ("GenuineIntel", 6, 0x7a, None),
            ("GenuineIntel", 6, 0x17, None),
            ("GenuineIntel", 15, 4, None),
            ("CentaurHauls", 6, 0x6a, None),
        ] {
            assert_eq!(event(vendor, family, model), expected, "{vendor} {family:#x} {model:#x}");
        }
    }

    #[test]
    fn what_is_in_the_way_is_told_by_the_error() {
        let refused = |errno, paranoia| {
            judge(0xd1, Err(io::Error::from_raw_os_error(errno)), move || paranoia).to_string()
        };
        for errno in [libc::ENOENT, libc::ENODEV, libc::EOPNOTSUPP] {
            assert!(refused(errno, None).starts_with("absent: "));
        }
        assert_eq!(
            refused(libc::EACCES, Some(4)),
            "not permitted: kernel.perf_event_paranoid is 4; 2 or less, or CAP_PERFMON, would permit it; not needed"
        );
        // A setting that permits it is not to blame.
        for paranoia in [Some(2), None] {
            assert_eq!(
                refused(libc::EPERM, paranoia),
                "not permitted: a sandbox forbids perf_event_open, or CAP_PERFMON is missing; not needed"
            );
        }
        assert!(refused(libc::EBUSY, None).starts_with("taken by someone else: "));
        assert_eq!(
            refused(libc::EMFILE, None),
            "not to be had (Too many open files (os error 24)); not needed"
        );
    }

    #[test]
    fn what_is_read_tells_a_counter_from_one_that_somebody_else_has() {
        let read = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            file.rewind().unwrap();
            judge(0x11c4, Ok(file), || None).to_string()
        };
        assert_eq!(read(&1002_u64.to_ne_bytes()), "there (event 0x11c4); not needed");
        assert_eq!(
            read(&[]),
            "taken by someone else: end the other profiler, or switch the NMI watchdog off (kernel.nmi_watchdog=0); \
             not needed"
        );
        assert_eq!(
            read(&3_u64.to_ne_bytes()),
            "not to be trusted: it has counted 3 of at least 1000 branches; not needed"
        );
        assert_eq!(read(&[1, 2, 3]), "not to be had (3 bytes where 8 were to be read); not needed");
    }
}
