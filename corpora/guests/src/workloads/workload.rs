//! A workload: what a kernel does all day, in turns and in small portions, under a timer interrupt of 1 kHz.
//!
//! A table of sessions, sorting, packets that are copied and summed, lists, matrices, recursion; about 1 MiB of
//! memory in all. Every 50 ms it prints a line and takes a fresh random number. It never ends.
#![no_std]
#![no_main]

use core::hint::black_box;
use kit::entropy::{self, Random};
use kit::{cpu, get, irq, pit, println, set};

kit::guest!(main);

const TIMER_HZ: u32 = 1000;
/// Timer ticks from one line to the next.
const LINE_TICKS: u32 = 50;
const WHEEL_SLOTS: usize = 64;

/// Timer interrupts so far.
#[unsafe(no_mangle)]
pub static mut TICKS: u32 = 0;
/// The load, a decaying average in 22.10 fixed point.
static mut LOAD: u32 = 0;
/// The job under way.
static mut JOB: usize = 0;
/// Timer ticks that found each job under way.
static mut SPENT: [u32; JOBS.len()] = [0; JOBS.len()];
/// Timers that expire in each slot of the wheel: they are counted and put off.
static mut WHEEL: [u32; WHEEL_SLOTS] = [2; WHEEL_SLOTS];
/// A sum over all that was computed.
#[unsafe(no_mangle)]
pub static mut SUM: u64 = 0;

/// What there is to do, in turns.
const JOBS: [fn(&mut Random) -> u64; 7] = [sessions, sort, packets, list, matrices, queens, sessions];

fn main() -> ! {
    link_list();
    irq::install(irq::TIMER, irq::Handler::Plain(tick));
    pit::periodic(TIMER_HZ);
    cpu::sti();

    let mut random = Random::new(entropy::random());
    let mut next_line = LINE_TICKS;
    for turn in 0u64.. {
        let begun = cpu::rdtsc();
        for job in 0..JOBS.len() {
            set!(JOB, job);
            let result = JOBS[black_box(job)](&mut random);
            set!(SUM, get!(SUM).rotate_left(7) ^ result);
        }
        if get!(TICKS) >= next_line {
            next_line += LINE_TICKS;
            let micros = (cpu::rdtsc() - begun) / 1000;
            println!("{} ms: turn {turn} took {micros} us, load {}", get!(TICKS), get!(LOAD) >> 10);
            random = Random::new(entropy::random());
        }
    }
    unreachable!()
}

/// The timer interrupt: accounts for the time, turns the wheel.
fn tick() {
    let now = get!(TICKS) + 1;
    set!(TICKS, now);
    let job = get!(JOB);
    set!(SPENT[job], get!(SPENT[job]) + 1);
    set!(LOAD, get!(LOAD) - (get!(LOAD) >> 5) + ((job as u32) << 5));

    let slot = now as usize % WHEEL_SLOTS;
    let expired = get!(WHEEL[slot]);
    set!(WHEEL[slot], 0);
    for timer in 0..expired {
        let later = (slot + 1 + (now as usize * 7 + timer as usize * 13) % (WHEEL_SLOTS - 1)) % WHEEL_SLOTS;
        set!(WHEEL[later], get!(WHEEL[later]) + 1);
    }
    irq::end_of_interrupt();
}

// --- Sessions: a hash table with linear probing, 512 KiB, about half full ------------------------------------

const SLOTS: usize = 32_768;
const KEYS: u64 = 28_000;

static mut TABLE: [(u64, u64); SLOTS] = [(0, 0); SLOTS];

/// Opens a session or closes it if it is open.
fn sessions(random: &mut Random) -> u64 {
    let mut open = 0;
    for _ in 0..200 {
        let key = random.draw() % KEYS + 1;
        let slot = search(key);
        if get!(TABLE[slot].0) == key {
            remove(slot);
        } else {
            set!(TABLE[slot], (key, random.draw()));
            open += 1;
        }
    }
    open
}

/// The slot of a key, or the empty one where the search for it ends.
fn search(key: u64) -> usize {
    let mut slot = home(key);
    while get!(TABLE[slot].0) != 0 && get!(TABLE[slot].0) != key {
        slot = (slot + 1) % SLOTS;
    }
    slot
}

/// Empties a slot and closes the gap.
fn remove(slot: usize) {
    let mut gap = slot;
    let mut next = (gap + 1) % SLOTS;
    while get!(TABLE[next].0) != 0 {
        // Whether the way from its home to `next` leads over the gap.
        let way = next.wrapping_sub(home(get!(TABLE[next].0))) % SLOTS;
        if way >= next.wrapping_sub(gap) % SLOTS {
            set!(TABLE[gap], get!(TABLE[next]));
            gap = next;
        }
        next = (next + 1) % SLOTS;
    }
    set!(TABLE[gap], (0, 0));
}

fn home(key: u64) -> usize {
    let hash = (key ^ key >> 15).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 40) as usize % SLOTS
}

// --- Sorting: many short arrays, as in schedulers and block layers ---------------------------------------------

fn sort(random: &mut Random) -> u64 {
    let mut sum = 0;
    for _ in 0..12 {
        let mut requests: [u32; 48] = core::array::from_fn(|_| random.draw() as u32);
        for end in 1..requests.len() {
            let request = requests[end];
            let mut at = end;
            while at > 0 && requests[at - 1] > request {
                requests[at] = requests[at - 1];
                at -= 1;
            }
            requests[at] = request;
        }
        sum += u64::from(black_box(&requests)[24]);
    }
    sum
}

// --- Packets: copied from one ring to another and summed, 128 KiB ----------------------------------------------

const PACKETS: usize = 32;
const PACKET_BYTES: usize = 2048;

type Packet = [u8; PACKET_BYTES];
type Ring = [Packet; PACKETS];
static mut RECEIVED: Ring = [[0; PACKET_BYTES]; PACKETS];
static mut SENT: Ring = [[0; PACKET_BYTES]; PACKETS];

fn packets(random: &mut Random) -> u64 {
    let mut sum = 0;
    for _ in 0..8 {
        let drawn = random.draw();
        let (from, to) = (drawn as usize, (drawn >> 8) as usize);
        let length = 64 + (drawn >> 16) as usize % 1400;
        // SAFETY: two statics that only this function uses.
        let (received, sent) =
            unsafe { (&mut *slot(&raw mut RECEIVED, from), &mut *slot(&raw mut SENT, to)) };
        received[..8].copy_from_slice(&drawn.to_le_bytes());
        sent[..length].copy_from_slice(&received[..length]);
        sum += u64::from(checksum(&sent[..length]));
    }
    sum
}

fn slot(ring: *mut Ring, at: usize) -> *mut Packet {
    ring.cast::<Packet>().wrapping_add(at % PACKETS)
}

/// The checksum of the Internet protocols.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks_exact(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !sum as u16
}

// --- A list in the order of use, 256 KiB -----------------------------------------------------------------------

const NODES: usize = 8192;

/// A node. Index 0 is the list's head.
#[derive(Clone, Copy)]
struct Node {
    next: usize,
    last: usize,
    value: u64,
    uses: u64,
}

static mut LIST: [Node; NODES] = [Node { next: 0, last: 0, value: 0, uses: 0 }; NODES];

/// Links the nodes in an order that leaps through memory.
fn link_list() {
    let mut last = 0;
    for turn in 1..NODES {
        let node = (turn * 4099) % NODES; // odd, so every node has its turn
        set!(LIST[node], Node { next: 0, last, value: turn as u64, uses: 0 });
        set!(LIST[last].next, node);
        last = node;
    }
    set!(LIST[0].last, last);
}

/// Walks along the list; moves the node at the end of the walk to the front.
fn list(random: &mut Random) -> u64 {
    let mut sum = 0;
    for _ in 0..8 {
        let mut node = 0;
        for _ in 0..random.draw() % 256 + 1 {
            node = get!(LIST[node].next);
            sum += get!(LIST[node].value);
        }
        let Node { next, last, .. } = get!(LIST[node]);
        set!(LIST[last].next, next);
        set!(LIST[next].last, last);
        let first = get!(LIST[0].next);
        set!(LIST[node].next, first);
        set!(LIST[node].last, 0);
        set!(LIST[node].uses, get!(LIST[node].uses) + 1);
        set!(LIST[first].last, node);
        set!(LIST[0].next, node);
    }
    sum
}

// --- Matrices: one band of a product at a time, 48 KiB ---------------------------------------------------------

const SIDE: usize = 64;

type Matrix = [[i32; SIDE]; SIDE];
static mut LEFT: Matrix = [[3; SIDE]; SIDE];
static mut RIGHT: Matrix = [[5; SIDE]; SIDE];
static mut PRODUCT: Matrix = [[0; SIDE]; SIDE];

fn matrices(random: &mut Random) -> u64 {
    let drawn = random.draw();
    let row = drawn as usize % SIDE;
    set!(LEFT[row][(drawn >> 8) as usize % SIDE], (drawn >> 32) as i32);
    for column in 0..SIDE {
        let mut sum = 0i32;
        for at in 0..SIDE {
            sum = sum.wrapping_add(get!(LEFT[row][at]).wrapping_mul(get!(RIGHT[at][column])));
        }
        set!(PRODUCT[row][column], sum);
    }
    get!(PRODUCT[row][row]) as u64
}

// --- Recursion: ways to put queens on a board -------------------------------------------------------------------

fn queens(_: &mut Random) -> u64 {
    u64::from(ways(0, 0, 0))
}

/// How many ways there are on from here, given the columns and diagonals that are taken.
#[inline(never)]
fn ways(columns: u32, left: u32, right: u32) -> u32 {
    const BOARD: u32 = (1 << 6) - 1;
    if columns == BOARD {
        return 1;
    }
    let mut count = 0;
    let mut free = BOARD & !(columns | left | right);
    while free != 0 {
        let queen = free & free.wrapping_neg();
        free ^= queen;
        count += ways(columns | queen, (left | queen) << 1, (right | queen) >> 1);
    }
    count
}
