//! A server that keeps its sessions in a hash table, seeded at random so that nobody can choose collisions.
//!
//! The bug: the table probes linearly, and [`Table::remove`] simply empties the slot. A session that had to move
//! on past that slot when it was inserted can no longer be found: the search stops at the hole. It takes a
//! collision with a session that is closed first, which few seeds have.
#![no_std]
#![no_main]

use kit::{entropy, fixed, get, set, verdict};

kit::guest!(main);

const SLOTS: usize = 4096;
const SESSIONS: u64 = 64;
/// Every fourth session is closed while the others go on.
const CLOSED: u64 = 4;
const LOOKUPS: u64 = 40;
/// The key of a slot that a search goes past. The fixed guest has it.
const REMOVED: u64 = u64::MAX;

/// What the hash function starts from.
#[unsafe(no_mangle)]
pub static mut SEED: u64 = 0;

/// The sessions: key and value. A key of zero marks an empty slot.
#[unsafe(no_mangle)]
pub static mut TABLE: [(u64, u64); SLOTS] = [(0, 0); SLOTS];

fn main() -> ! {
    set!(SEED, entropy::random());
    for session in 0..SESSIONS {
        insert(key(session), session);
    }
    for session in (0..SESSIONS).step_by(CLOSED as usize) {
        remove(key(session));
    }

    let mut lost = 0;
    for _ in 0..LOOKUPS {
        lost = 0;
        for session in 0..SESSIONS {
            if session % CLOSED != 0 && find(key(session)) != Some(session) {
                lost += 1;
            }
        }
    }
    verdict!(lost == 0, "{lost} open sessions not found, seed {:#018x}", get!(SEED));
}

fn insert(key: u64, value: u64) {
    let mut slot = home(key);
    while get!(TABLE[slot].0) != 0 {
        slot = (slot + 1) % SLOTS;
    }
    set!(TABLE[slot], (key, value));
}

fn find(key: u64) -> Option<u64> {
    let slot = search(key)?;
    Some(get!(TABLE[slot].1))
}

fn remove(key: u64) {
    if let Some(slot) = search(key) {
        set!(TABLE[slot], (if fixed!() { REMOVED } else { 0 }, 0));
    }
}

fn search(key: u64) -> Option<usize> {
    let mut slot = home(key);
    loop {
        match get!(TABLE[slot].0) {
            0 => return None,
            found if found == key => return Some(slot),
            _ => slot = (slot + 1) % SLOTS,
        }
    }
}

/// Where the search for a key begins: a seeded FNV-1a over its bytes, finished with a multiplication.
fn home(key: u64) -> usize {
    let mut hash = get!(SEED) ^ 0xcbf2_9ce4_8422_2325;
    for byte in key.to_le_bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        hash ^= hash >> 29;
    }
    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize >> 52
}

/// The address and port of a client.
fn key(session: u64) -> u64 {
    0x0a00_0000_0000 + (session << 16) + 40_000 + session * 7
}
