//! Machine state as named, versioned sections, and digests of it.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

/// The saved state of one component (`cpu`, `pic`, ...). RAM is not a section: its pages are stored apart.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Section {
    /// The component's name, unique in a machine.
    pub name: String,
    /// Version of the layout of `bytes`, owned by the component.
    pub version: u32,
    /// The state, canonical: equal states give equal bytes.
    pub bytes: Vec<u8>,
}

impl Section {
    /// The digest of this component's state.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = xxhash_rust::xxh3::Xxh3::with_seed(u64::from(self.version));
        hasher.update(self.name.as_bytes());
        hasher.update(&[0]);
        hasher.update(&self.bytes);
        Digest(hasher.digest128())
    }
}

/// A 128-bit digest of state (XXH3). It finds accidents, it does not resist an adversary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Archive, Serialize, Deserialize)]
pub struct Digest(pub u128);

impl Digest {
    /// The digest of a whole machine: of its components' names and digests, in their order.
    #[must_use]
    pub fn combine<'a>(components: impl IntoIterator<Item = (&'a str, Digest)>) -> Self {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for (name, digest) in components {
            hasher.update(name.as_bytes());
            hasher.update(&[0]);
            hasher.update(&digest.0.to_le_bytes());
        }
        Self(hasher.digest128())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
