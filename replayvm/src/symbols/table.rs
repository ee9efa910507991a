//! Addresses and names, sorted.

/// More symbols than any kernel has.
const MAX_SYMBOLS: usize = 1 << 22;
/// Bytes of all names together.
const MAX_NAMES: usize = 256 << 20;
/// A symbol of unknown size does not reach farther than that.
const MAX_REACH: u64 = 1 << 20;
/// How many symbols before an address are looked at for one that covers it.
const LOOK_BACK: usize = 64;

/// What is at a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Instructions.
    Code,
    /// Anything else.
    Data,
    /// A number with a name, as the offsets into each processor's own data are: nothing is there.
    Absolute,
}

/// A name for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Linear address.
    pub address: u64,
    /// Bytes; 0 where that is not known.
    pub size: u64,
    /// What is there.
    pub kind: Kind,
    /// Whether the whole program sees it.
    pub global: bool,
    /// Its name, as the linker has it.
    pub name: &'a str,
}

impl Symbol<'_> {
    /// The same where the program runs `slide` bytes from where its symbols say.
    pub(super) fn moved_by(self, slide: u64) -> Self {
        let slide = if self.kind == Kind::Absolute { 0 } else { slide };
        Self { address: self.address.wrapping_add(slide), ..self }
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    address: u64,
    size: u64,
    kind: Kind,
    global: bool,
    name: u32,
    length: u16,
}

/// Symbols by address.
#[derive(Debug, Clone, Default)]
pub struct Table {
    entries: Vec<Entry>,
    names: String,
}

impl Table {
    /// Adds a symbol; says whether there was room for it. Names without a letter and names longer than 65,535 bytes are left out.
    pub(super) fn push(&mut self, symbol: Symbol<'_>) -> bool {
        if self.entries.len() >= MAX_SYMBOLS || self.names.len() + symbol.name.len() > MAX_NAMES {
            return false;
        }
        let (Ok(name), Ok(length)) = (u32::try_from(self.names.len()), u16::try_from(symbol.name.len()))
        else {
            return true;
        };
        // What a guest or a file calls its symbols ends up on terminals and in scripts.
        if length == 0 || symbol.name.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return true;
        }
        self.names.push_str(symbol.name);
        let Symbol { address, size, kind, global, .. } = symbol;
        self.entries.push(Entry { address, size, kind, global, name, length });
        true
    }

    /// Call after the last [`Table::push`].
    pub(super) fn sort(&mut self) {
        self.entries.sort_by_key(|entry| entry.address);
    }

    fn symbol(&self, entry: &Entry) -> Symbol<'_> {
        let start = entry.name as usize;
        let name = self.names.get(start..start + usize::from(entry.length)).unwrap_or_default();
        let Entry { address, size, kind, global, .. } = *entry;
        Symbol { address, size, kind, global, name }
    }

    /// All symbols, by address.
    pub fn iter(&self) -> impl Iterator<Item = Symbol<'_>> {
        self.entries.iter().map(|entry| self.symbol(entry))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The symbol of this name; of several, the first global one. The name may be demangled.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Symbol<'_>> {
        let best = |matches: &dyn Fn(&str) -> bool| {
            let found = self.iter().filter(|symbol| matches(symbol.name));
            found.min_by_key(|symbol| !symbol.global)
        };
        best(&|other| other == name).or_else(|| {
            // Mangled names begin so; to demangle all of a kernel would take a while for nothing.
            best(&|other| other.starts_with("_") && demangled(other) == name)
        })
    }

    /// The symbol that covers an address, and how far from its begin that is.
    #[must_use]
    pub fn covering(&self, address: u64) -> Option<(Symbol<'_>, u64)> {
        let after = self.entries.partition_point(|entry| entry.address <= address);
        let next = self.entries.get(after).map_or(u64::MAX, |entry| entry.address);
        let before = &self.entries[after.saturating_sub(LOOK_BACK)..after];
        let reaches = |entry: &&Entry| {
            let reach = if entry.size == 0 { (next - entry.address).min(MAX_REACH) } else { entry.size };
            entry.kind != Kind::Absolute && address - entry.address < reach
        };
        // The nearest one; of several at one address, the one that a person would call it by.
        let nearest = before.iter().rev().find(reaches)?.address;
        let best =
            before.iter().filter(|entry| entry.address == nearest).filter(reaches).min_by_key(|entry| {
                let name = self.symbol(entry).name;
                (entry.size == 0, entry.kind, !entry.global, name.starts_with('_'), name.len())
            })?;
        Some((self.symbol(best), address - nearest))
    }
}

/// A name as its programmer wrote it.
pub(super) fn demangled(name: &str) -> String {
    match rustc_demangle::try_demangle(name) {
        // Demangled names can be far longer than mangled ones.
        Ok(name) => {
            let text = format!("{name:#}");
            if text.len() <= 4096 { text } else { name.to_string().chars().take(4096).collect() }
        }
        Err(_) => name.to_owned(),
    }
}
