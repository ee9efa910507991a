//! Changing the machine under the cursor, in a branch only: memory, the CPU, its task priority.
//!
//! Nothing is changed by halves: what is refused has changed nothing. What is changed is the branch's new begin.

use recorder::{EndReason, Position};
use replayvm_cpu::{CpuState, Unmapped};

use super::{Timeline, TimelineError};
use crate::checkpoint::Checkpoint;
use crate::machine::{Machine, PAGE_BYTES, RamError};

/// Why the machine is not changed, or a branch not entered or left.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// A recording is what was.
    #[error("this is a recording: only a branch can be changed and run live")]
    Recording,
    /// One branch at a time.
    #[error("this is a branch already, forked at {0}")]
    InBranch(Position),
    /// The guest's run is over.
    #[error("the guest's run is over: {0}")]
    Over(EndReason),
    /// More text than is kept.
    #[error("no more than {0} bytes can be typed in a branch")]
    TooMuchTyped(usize),
    /// Not memory that can be written.
    #[error("physical {0:#x} is not RAM: read-only memory and devices cannot be changed")]
    NotRam(u64),
    /// Not memory at all.
    #[error("{linear:#x} is not mapped: {why}")]
    Unmapped {
        /// The first linear address that is not.
        linear: u64,
        /// Why not.
        why: Unmapped,
    },
    /// The CPU cannot hold that.
    #[error("{0}")]
    Cpu(&'static str),
    /// The cursor could not be moved.
    #[error(transparent)]
    Timeline(#[from] TimelineError),
}

impl From<RamError> for EditError {
    fn from(error: RamError) -> Self {
        Self::Timeline(error.into())
    }
}

impl Timeline {
    /// Writes guest-physical memory.
    ///
    /// # Errors
    /// This is no branch, or not all of it is RAM.
    pub fn write_physical(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), EditError> {
        self.editable()?;
        self.check_ram(gpa, bytes.len())?;
        self.write_pieces(&[(gpa, bytes)])
    }

    /// Writes memory by the guest's own page tables, whatever they say of who may write.
    ///
    /// # Errors
    /// This is no branch, or not all of it is mapped RAM.
    pub fn write_linear(&mut self, linear: u64, bytes: &[u8]) -> Result<(), EditError> {
        self.editable()?;
        let mut pieces = Vec::new();
        let mut rest = bytes;
        let mut address = linear;
        while !rest.is_empty() {
            let in_page = PAGE_BYTES - (address as usize & (PAGE_BYTES - 1));
            let (piece, after) = rest.split_at(in_page.min(rest.len()));
            let gpa =
                self.walk_tables(address).map_err(|why| EditError::Unmapped { linear: address, why })?;
            self.check_ram(gpa, piece.len())?;
            pieces.push((gpa, piece));
            address = address.wrapping_add(piece.len() as u64);
            rest = after;
        }
        self.write_pieces(&pieces)
    }

    /// Changes the CPU. What no instruction could make of it is refused ([`CpuState::edited`]).
    ///
    /// # Errors
    /// This is no branch, or the CPU cannot hold that.
    pub fn edit_cpu(&mut self, edit: impl FnOnce(&mut CpuState)) -> Result<(), EditError> {
        self.editable()?;
        let state = self.cpu().edited(edit).map_err(EditError::Cpu)?;
        if state == *self.cpu() {
            return Ok(());
        }
        self.change(|machine| {
            machine.cpu.state = state;
            Ok(())
        })
    }

    /// Changes the CPU's task priority, which is CR8.
    ///
    /// # Errors
    /// This is no branch, or the value has more than four bits.
    pub fn set_task_priority(&mut self, priority: u8) -> Result<(), EditError> {
        self.editable()?;
        if priority > 15 {
            return Err(EditError::Cpu("CR8 has four bits"));
        }
        self.change(|machine| {
            machine.platform.devices.set_tpr(priority);
            Ok(())
        })
    }

    /// Whether the machine may be changed here. The cursor is in a defined state then.
    pub(super) fn editable(&mut self) -> Result<(), EditError> {
        if self.branch.is_none() {
            return Err(EditError::Recording);
        }
        Ok(self.recover()?)
    }

    fn check_ram(&self, gpa: u64, len: usize) -> Result<(), EditError> {
        match self.driver.machine.platform.ram.slice(gpa, len) {
            Ok(_) => Ok(()),
            Err(_) => Err(EditError::NotRam(gpa)),
        }
    }

    fn write_pieces(&mut self, pieces: &[(u64, &[u8])]) -> Result<(), EditError> {
        let ram = &self.driver.machine.platform.ram;
        if pieces.iter().all(|(gpa, bytes)| ram.slice(*gpa, bytes.len()).is_ok_and(|now| now == *bytes)) {
            return Ok(());
        }
        self.change(|machine| {
            pieces.iter().try_for_each(|(gpa, bytes)| machine.platform.ram.write_slice(*gpa, bytes))
        })
    }

    /// Changes the machine, and begins the branch anew in the state that comes of it.
    fn change(&mut self, change: impl FnOnce(&mut Machine) -> Result<(), RamError>) -> Result<(), EditError> {
        change(&mut self.driver.machine)?;
        let begin = self.checkpoint_here()?;
        if let Some(branch) = self.branch.as_deref_mut() {
            branch.begin_at(begin);
            self.driver.restored(&mut branch.inputs);
        }
        Ok(())
    }

    /// The state under the cursor. Its pages are kept as long as somebody names them.
    pub(crate) fn checkpoint_here(&mut self) -> Result<Checkpoint, RamError> {
        self.look()?;
        let (position, sections) = (self.position(), self.driver.machine.save());
        Ok(Checkpoint { position, sections, pages: self.tracker.map().clone() })
    }
}
