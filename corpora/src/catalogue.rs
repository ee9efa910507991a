//! The table of the guests. Words only; the images come from the build script.

use crate::Guest;

macro_rules! image {
    ($name:expr) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".elf"))
    };
}

macro_rules! fixed {
    ($($name:literal)*) => {
        &[$(Guest {
            name: concat!($name, "-fixed"),
            title: concat!($name, " without its bug"),
            bug: "none",
            oracle: concat!("that of ", $name),
            watch: None,
            failing_seeds: None,
            image: image!(concat!($name, "-fixed")),
            fixed: None,
        }),*]
    };
}

pub(crate) static GUESTS: &[Guest] = &[
    Guest {
        name: "lost-update",
        title: "a counter that the main loop and the timer interrupt both increment",
        bug: "count() loads the counter, checks it and stores it; an interrupt between load and store loses its own increment",
        oracle: "the counter equals packets plus beacons",
        watch: Some("lost_update::COUNTER"),
        failing_seeds: Some(52),
        image: image!("lost-update"),
        fixed: Some(image!("lost-update-fixed")),
    },
    Guest {
        name: "torn-read",
        title: "a 64-bit clock that is read as two words while the timer interrupt advances it",
        bug: "copy_words() copies the clock's low word, then its high word, with interrupts on",
        oracle: "the clock never goes back from one reading to the next",
        watch: Some("torn_read::CLOCK"),
        failing_seeds: Some(58),
        image: image!("torn-read"),
        fixed: Some(image!("torn-read-fixed")),
    },
    Guest {
        name: "lost-wakeup",
        title: "a client that sleeps until the reply to its request is there",
        bug: "wait_for_reply() looks for the reply and then notes that it sleeps; a reply in between wakes nobody",
        oracle: "no reply waits for 50 timer ticks with the client asleep",
        watch: Some("lost_wakeup::ASLEEP"),
        failing_seeds: Some(91),
        image: image!("lost-wakeup"),
        fixed: Some(image!("lost-wakeup-fixed")),
    },
    Guest {
        name: "stack-overflow",
        title: "an interrupt handler that lets itself be interrupted, on a stack of 4 KiB",
        bug: "poll() turns interrupts on before it works off its frames; the fourth level overruns the stack into the routes below",
        oracle: "every route is what it was set to",
        watch: Some("stack_overflow::CPU0"),
        failing_seeds: Some(87),
        image: image!("stack-overflow"),
        fixed: Some(image!("stack-overflow-fixed")),
    },
    Guest {
        name: "heap-reentry",
        title: "a pool of blocks that the main program and the timer interrupt allocate from",
        bug: "allocate() and release() read the head of the free list, check it and change it, with interrupts on",
        oracle: "no message is overwritten, no block freed twice, and all blocks are free at the end",
        watch: Some("heap_reentry::FREE"),
        failing_seeds: Some(87),
        image: image!("heap-reentry"),
        fixed: Some(image!("heap-reentry-fixed")),
    },
    Guest {
        name: "hash-collision",
        title: "a hash table with a random seed that keeps a server's sessions",
        bug: "remove() empties a slot in the middle of a probe sequence; sessions beyond it are no longer found",
        oracle: "every open session is found",
        watch: Some("hash_collision::SEED"),
        failing_seeds: Some(89),
        image: image!("hash-collision"),
        fixed: Some(image!("hash-collision-fixed")),
    },
    Guest {
        name: "priority-inversion",
        title: "three preemptive threads and a bus that the lowest and the highest share",
        bug: "lock_bus() has no priority inheritance: the middle thread keeps the holder, and so the highest, waiting",
        oracle: "the motor thread meets its deadline in every round",
        watch: Some("priority_inversion::BUS_OWNER"),
        failing_seeds: Some(106),
        image: image!("priority-inversion"),
        fixed: Some(image!("priority-inversion-fixed")),
    },
    Guest {
        name: "process-race",
        title: "two processes in ring 3 that share a page, and the system call that reads it",
        bug: "post() checks the length in the shared page and reads it again while it copies; the other process changes it in between",
        oracle: "no credit behind the kernel's message buffer has changed",
        watch: Some("process_race::OFFICE"),
        failing_seeds: Some(71),
        image: image!("process-race"),
        fixed: Some(image!("process-race-fixed")),
    },
    Guest {
        name: "ring-buffer",
        title: "a ring that the main program fills and the timer interrupt empties",
        bug: "push() moves the head on before it has filled the slot",
        oracle: "every sample arrives as it was pushed",
        watch: Some("ring_buffer::HEAD"),
        failing_seeds: Some(64),
        image: image!("ring-buffer"),
        fixed: Some(image!("ring-buffer-fixed")),
    },
    Guest {
        name: "rtc-rollover",
        title: "leases of 45 minutes by the wall clock",
        bug: "grant() keeps the end of a lease as a minute of the day; after 23:15 it is over before it begins",
        oracle: "no lease has expired when it is granted",
        watch: Some("rtc_rollover::EXPIRY"),
        failing_seeds: Some(30),
        image: image!("rtc-rollover"),
        fixed: Some(image!("rtc-rollover-fixed")),
    },
];

/// The twins of the guests, as guests of their own.
pub(crate) static FIXED: &[Guest] = fixed![
    "lost-update"
    "torn-read"
    "lost-wakeup"
    "stack-overflow"
    "heap-reentry"
    "hash-collision"
    "priority-inversion"
    "process-race"
    "ring-buffer"
    "rtc-rollover"
];

pub(crate) static WORKLOAD: &[u8] = image!("workload");
pub(crate) static DIRTY: &[u8] = image!("dirty");

/// What measurements and persons run.
pub(crate) static WORKLOADS: &[Guest] = &[
    Guest {
        name: "workload",
        title: "what a kernel does all day, under a timer interrupt of 1 kHz; never ends",
        bug: "none",
        oracle: "none",
        watch: None,
        failing_seeds: None,
        image: WORKLOAD,
        fixed: None,
    },
    Guest {
        name: "dirty",
        title: "writes to pages all over memory, the same ones in every round; never ends",
        bug: "none",
        oracle: "none",
        watch: None,
        failing_seeds: None,
        image: DIRTY,
        fixed: None,
    },
    Guest {
        name: "echo",
        title: "a prompt on the serial port that says back what is typed; `quit` ends it",
        bug: "none",
        oracle: "none",
        watch: None,
        failing_seeds: None,
        image: image!("echo"),
        fixed: None,
    },
];
