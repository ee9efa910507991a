//! From a device's state to a named, versioned section of a recording, and back with every doubt raised.
//!
//! Each device owns its layout (an rkyv struct in its file) and its version. This file owns the rules that hold for all:
//! checked access, one canonical encoding, and errors that name the section.

use recorder::Section;
use rkyv::api::high::{HighDeserializer, HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{Failure, Panic, ResultExt};
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

/// Why saved device state was refused. Each variant names the section.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// A device has no section.
    #[error("the section `{section}` is missing")]
    Missing {
        /// The section's name.
        section: &'static str,
    },
    /// A section belongs to no device.
    #[error("there is no device for the section `{section}`")]
    Unknown {
        /// The section's name.
        section: String,
    },
    /// Two sections have one name.
    #[error("the section `{section}` is there twice")]
    Duplicate {
        /// The section's name.
        section: String,
    },
    /// The layout is one that this program does not read.
    #[error("the section `{section}` has version {found}, this program reads version {expected}")]
    Version {
        /// The section's name.
        section: &'static str,
        /// The version in the section.
        found: u32,
        /// The version that this program writes and reads.
        expected: u32,
    },
    /// The bytes are too short, too long, or not this device's state.
    #[error("the section `{section}` does not hold the state of this device ({length} bytes)")]
    Malformed {
        /// The section's name.
        section: &'static str,
        /// How many bytes it has.
        length: usize,
    },
    /// The bytes decode, but to a state that the device can never be in.
    #[error("the section `{section}` is not a possible state: {what}")]
    Invalid {
        /// The section's name.
        section: &'static str,
        /// What is impossible about it.
        what: &'static str,
    },
}

/// The largest section that is decoded at all. Every device's state is far smaller.
const MAX_SECTION_BYTES: usize = 4096;

/// What a device's state tells about itself.
pub(super) trait SavedState: Sized {
    /// The section's name.
    const NAME: &'static str;
    /// The layout's version: raised with each change of a field.
    const VERSION: u32;

    /// Refuses a state that the device can never be in, with the reason.
    fn validate(&self) -> Result<(), &'static str>;
}

/// Encodes a state. Equal states give equal bytes: rkyv zeroes what a value does not fill.
pub(super) fn pack<T>(state: &T) -> Section
where
    T: SavedState + for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, Panic>>,
{
    pack_as(T::NAME, T::VERSION, state)
}

/// The same for a device of which there may be several.
pub(super) fn pack_as<T>(section: &str, version: u32, state: &T) -> Section
where
    T: for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, Panic>>,
{
    // Writing plain values to memory has no error to report; `Panic` is the type that says so.
    let bytes = rkyv::to_bytes::<Panic>(state).always_ok().to_vec();
    Section { name: section.to_owned(), version, bytes }
}

/// Finds, checks, decodes and validates the section of one device.
pub(super) fn unpack<T>(sections: &[Section]) -> Result<T, RestoreError>
where
    T: SavedState + Archive + for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, Panic>>,
    T::Archived: for<'a> CheckBytes<HighValidator<'a, Failure>> + Deserialize<T, HighDeserializer<Failure>>,
{
    let state: T = unpack_as(T::NAME, T::VERSION, sections)?;
    state.validate().map_err(|what| RestoreError::Invalid { section: T::NAME, what })?;
    Ok(state)
}

/// The same for a device of which there may be several; whoever calls validates the state.
pub(super) fn unpack_as<T>(
    section: &'static str,
    version: u32,
    sections: &[Section],
) -> Result<T, RestoreError>
where
    T: Archive + for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, Panic>>,
    T::Archived: for<'a> CheckBytes<HighValidator<'a, Failure>> + Deserialize<T, HighDeserializer<Failure>>,
{
    let found = sections.iter().find(|s| s.name == section).ok_or(RestoreError::Missing { section })?;
    if found.version != version {
        return Err(RestoreError::Version { section, found: found.version, expected: version });
    }
    let malformed = RestoreError::Malformed { section, length: found.bytes.len() };
    if found.bytes.len() > MAX_SECTION_BYTES {
        return Err(malformed);
    }
    let Ok(state) = rkyv::from_bytes::<T, Failure>(&found.bytes) else { return Err(malformed) };
    // One state, one encoding: otherwise a digest could differ between equal machines.
    if pack_as(section, version, &state).bytes != found.bytes {
        return Err(malformed);
    }
    Ok(state)
}

/// Refuses sections that belong to no device, and devices that are there twice.
pub(super) fn check_names(sections: &[Section], known: &[&str]) -> Result<(), RestoreError> {
    for (index, section) in sections.iter().enumerate() {
        if !known.contains(&section.name.as_str()) {
            return Err(RestoreError::Unknown { section: section.name.clone() });
        }
        if sections[..index].iter().any(|earlier| earlier.name == section.name) {
            return Err(RestoreError::Duplicate { section: section.name.clone() });
        }
    }
    Ok(())
}
