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
}

impl Key {
    /// The block at an address from which nothing is known.
    pub(super) fn at(rip: u64) -> Self {
        Self { rip, fresh: false, af: false }
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
    waiting: HashMap<Key, Vec<Edge>>,
    /// Addresses that indirect branches find.
    pub(super) entries: HashMap<u64, u32>,
}

impl Links {
    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.waiting.clear();
        self.entries.clear();
    }

    pub(super) fn get(&self, key: Key) -> Option<Known> {
        self.known.get(&key).copied()
    }

    /// A block has been translated: who waits for it leads there now.
    pub(super) fn add(&mut self, key: Key, known: Known, buffer: &mut Buffer<'_>) {
        self.known.insert(key, known);
        for edge in self.waiting.remove(&key).unwrap_or_default() {
            if known.takes(&edge) {
                buffer.link(edge.at, known.at);
            }
        }
    }

    /// The blocks at an address for which somebody waits.
    pub(super) fn wanted(&self, rip: u64) -> impl Iterator<Item = Key> {
        [(false, false), (false, true), (true, false), (true, true)]
            .into_iter()
            .map(move |(fresh, af)| Key { rip, fresh, af })
            .filter(|key| self.waiting.contains_key(key))
    }

    /// Makes a branch lead to its block, now or once there is one.
    pub(super) fn connect(&mut self, edge: Edge, buffer: &mut Buffer<'_>) {
        match self.known.get(&edge.key) {
            Some(known) if known.takes(&edge) => buffer.link(edge.at, known.at),
            Some(_) => {}
            None => self.waiting.entry(edge.key).or_default().push(edge),
        }
    }
}
