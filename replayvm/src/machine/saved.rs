//! Saving and restoring a machine as named, versioned sections; digests of its components.
//!
//! RAM is not a section: its pages are kept by content (see `checkpoint`).

use recorder::{Digest, Section};
use replayvm_cpu::CpuState;
use rkyv::rancor::{Error as RkyvError, Panic, ResultExt};

use super::Machine;
use crate::devices;

const CPU: &str = "cpu";
const CPU_VERSION: u32 = 1;
const CLOCK: &str = "clock";
const CLOCK_VERSION: u32 = 1;

/// Why saved state could not be restored. The machine is unusable afterwards.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A section that every machine has is not there.
    #[error("the saved state has no section `{0}`")]
    Missing(&'static str),
    /// A section has a layout that this version does not know.
    #[error("section `{name}` has version {version}; this command knows version {known}")]
    Version {
        /// Which section.
        name: &'static str,
        /// Its version.
        version: u32,
        /// Ours.
        known: u32,
    },
    /// A section cannot be read.
    #[error("section `{name}` is damaged: {why}")]
    Damaged {
        /// Which section.
        name: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A section holds what no host can take.
    #[error(
        "section `{name}` holds {bytes} bytes: this version has no nested virtualization to put them into"
    )]
    Unsupported {
        /// Which section.
        name: &'static str,
        /// How many bytes.
        bytes: usize,
    },
    /// A device's section.
    #[error(transparent)]
    Device(#[from] devices::RestoreError),
}

impl Machine {
    /// The state of everything but RAM, canonical.
    #[must_use]
    pub fn save(&self) -> Vec<Section> {
        let cpu = pack(&self.cpu.state);
        let (idle_ns, last_tsc) = self.platform.clock.saved();
        let clock = [idle_ns, last_tsc, self.platform.hold_until].map(u64::to_le_bytes).concat();
        let mut sections = vec![
            Section { name: CPU.to_owned(), version: CPU_VERSION, bytes: cpu },
            Section { name: CLOCK.to_owned(), version: CLOCK_VERSION, bytes: clock },
        ];
        sections.extend(self.platform.devices.save());
        sections
    }

    /// Puts everything but RAM into a saved state.
    ///
    /// # Errors
    /// A section is missing, unknown, damaged, or of another version.
    pub fn restore(&mut self, sections: &[Section]) -> Result<(), RestoreError> {
        let cpu = find(sections, CPU, CPU_VERSION)?;
        let state = rkyv::from_bytes::<CpuState, RkyvError>(&cpu.bytes)
            .map_err(|error| RestoreError::Damaged { name: CPU, why: error.to_string() })?;
        state.validate().map_err(|why| RestoreError::Damaged { name: CPU, why: why.to_string() })?;
        // One state, one encoding: otherwise a digest could differ between equal machines.
        if pack(&state) != cpu.bytes {
            return Err(RestoreError::Damaged { name: CPU, why: "its encoding is not canonical".to_owned() });
        }
        let [idle_ns, last_tsc, hold_until] = clock_words(sections)?;
        let others: Vec<Section> =
            sections.iter().filter(|s| s.name != CPU && s.name != CLOCK).cloned().collect();
        self.platform.devices.restore(&others)?;
        self.platform.clock.restore(idle_ns, last_tsc);
        self.platform.hold_until = hold_until;
        self.platform.forget_requests();
        self.platform.signal = None;
        self.platform.stopped_on = None;
        self.platform.exits.clear();
        self.platform.console.clear();
        self.platform.printed.clear();
        let _ = self.platform.watches.take_hit();
        self.cpu.state = state;
        self.cpu.state_changed();
        self.platform.devices_changed(self.cpu.state.now.tick);
        Ok(())
    }

    /// Virtual time in nanoseconds in a saved state of this machine that stands at `tick`.
    ///
    /// # Errors
    /// The state has no clock that this version knows.
    pub fn ns_of_saved(&self, sections: &[Section], tick: u64) -> Result<u64, RestoreError> {
        let [idle_ns, last_tsc, _] = clock_words(sections)?;
        let mut clock = self.platform.clock;
        clock.restore(idle_ns, last_tsc);
        Ok(clock.ns_at(tick))
    }

    /// The digest of each component, RAM last, for a RAM digest that somebody keeps up to date.
    #[must_use]
    pub fn digests(sections: &[Section], ram: Digest) -> Vec<(String, Digest)> {
        let mut digests: Vec<_> =
            sections.iter().map(|section| (section.name.clone(), section.digest())).collect();
        digests.push(("ram".to_owned(), ram));
        digests
    }
}

fn pack(state: &CpuState) -> Vec<u8> {
    // Writing plain values to memory has no error to report; `Panic` is the type that says so.
    rkyv::to_bytes::<Panic>(state).always_ok().to_vec()
}

/// Idle nanoseconds, the last value read of the TSC, the end of an interrupt hold.
fn clock_words(sections: &[Section]) -> Result<[u64; 3], RestoreError> {
    let clock = find(sections, CLOCK, CLOCK_VERSION)?;
    let bytes: [u8; 24] = clock.bytes.as_slice().try_into().map_err(|_| RestoreError::Damaged {
        name: CLOCK,
        why: format!("{} bytes instead of 24", clock.bytes.len()),
    })?;
    Ok(std::array::from_fn(|index| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[index * 8..index * 8 + 8]);
        u64::from_le_bytes(word)
    }))
}

fn find<'s>(sections: &'s [Section], name: &'static str, known: u32) -> Result<&'s Section, RestoreError> {
    let mut named = sections.iter().filter(|s| s.name == name);
    let section = named.next().ok_or(RestoreError::Missing(name))?;
    if named.next().is_some() {
        return Err(RestoreError::Damaged { name, why: "it is there twice".to_owned() });
    }
    if section.version != known {
        return Err(RestoreError::Version { name, version: section.version, known });
    }
    Ok(section)
}
