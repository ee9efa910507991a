//! Which block has been translated to where, and who waits for it.

use std::collections::HashMap;

use super::emit::Buffer;

/// A block, and what it begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) rip: u64,
    /// It begins at a tick.
    pub(super) fresh: bool,
    /// AF is set, whatever the processor says.
    pub(super) af: bool,
    /// So much has been counted too much already.
    pub(super) debt: Counted,
}

/// What has been counted: so many instructions and so many ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Counted {
    pub(super) instructions: usize,
    pub(super) ticks: usize,
}

/// With more blocks at one address than this, who has counted too much corrects that himself.
const MAX_VARIANTS: u32 = 6;

impl Key {
    /// The block at an address from which nothing is known.
    pub(super) fn at(rip: u64) -> Self {
        Self { rip, fresh: false, af: false, debt: Counted::default() }
    }
}

/// A way from one block to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge {
    pub(super) key: Key,
    /// Where the relative address of the branch lies.
    pub(super) at: u32,
    /// Where that leads as long as there is no such block.
    pub(super) stub: u32,
    /// It is a JMP, or comes directly after one.
    pub(super) jumped: bool,
}

/// A block that there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) at: u32,
    /// It may be part of an idle loop. Who jumps there leaves: the software CPU counts such jumps.
    pub(super) idles: bool,
}

impl Known {
    /// Whether an edge may lead here.
    pub(super) fn takes(self, edge: &Edge) -> bool {
        !(self.idles && edge.jumped)
    }
}

/// All blocks.
#[derive(Debug, Default)]
pub(super) struct Links {
    known: HashMap<Key, Known>,
    /// By address: who waits, and how many blocks there are.
    waiting: HashMap<u64, Vec<Edge>>,
    variants: HashMap<u64, u32>,
    /// Addresses that indirect branches find.
    pub(super) entries: HashMap<u64, u32>,
}

impl Links {
    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.waiting.clear();
        self.variants.clear();
        self.entries.clear();
    }

    pub(super) fn get(&self, key: Key) -> Option<Known> {
        self.known.get(&key).copied()
    }

    /// Whether there may be another block at an address.
    pub(super) fn may_vary(&self, key: Key) -> bool {
        self.known.contains_key(&key) || self.variants.get(&key.rip).is_none_or(|n| *n < MAX_VARIANTS)
    }

    /// A block has been translated: who waits for it leads there now.
    pub(super) fn add(&mut self, key: Key, known: Known, buffer: &mut Buffer<'_>) {
        if self.known.insert(key, known).is_none() {
            *self.variants.entry(key.rip).or_default() += 1;
        }
        let Some(waiting) = self.waiting.get_mut(&key.rip) else { return };
        waiting.retain(|edge| {
            if edge.key == key && known.takes(edge) {
                buffer.link(edge.at, known.at);
            }
            edge.key != key
        });
        if waiting.is_empty() {
            self.waiting.remove(&key.rip);
        }
    }

    /// The blocks at an address for which somebody waits.
    pub(super) fn wanted(&self, rip: u64) -> Vec<Key> {
        let mut keys: Vec<Key> = Vec::new();
        for edge in self.waiting.get(&rip).into_iter().flatten() {
            if !keys.contains(&edge.key) {
                keys.push(edge.key);
            }
        }
        keys
    }

    /// Makes a branch lead to its block, now or once there is one.
    pub(super) fn connect(&mut self, edge: Edge, buffer: &mut Buffer<'_>) {
        match self.known.get(&edge.key) {
            Some(known) if known.takes(&edge) => buffer.link(edge.at, known.at),
            Some(_) => {}
            None => self.waiting.entry(edge.key.rip).or_default().push(edge),
        }
    }
}
