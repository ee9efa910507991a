//! All that natively running user code is: the pool, the address spaces in it, and which pages they let it write.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use replayvm_cpu::{Cpu, CpuState};

use super::pool::{ARENAS, Exhausted, Pool};
use super::space::{Key, Settled, Space};
use super::vcpu::{Vcpu, Vm};
use crate::machine::{GuestRam, WrittenElsewhere};

/// The pool and the spaces.
pub(super) struct World {
    pub(super) pool: Pool,
    /// By arena.
    spaces: [Option<Space>; ARENAS],
    /// Where each page that user code may write is mapped so: arena and linear address, by physical address.
    writable: HashMap<u64, Vec<(usize, u64)>>,
    /// Pages that have been written and are in no dirty bit any more.
    written: Vec<u64>,
    vm: Option<Arc<Vm>>,
    ram_bytes: u64,
    uses: u64,
}

/// The same, for whoever asks what has been written.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(super) fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// Nobody else holds it while the engine runs.
    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WrittenElsewhere for Shared {
    fn take_written(&mut self, into: &mut Vec<u64>) {
        self.lock().take_written(into);
    }
}

impl World {
    pub(super) fn new(pool: Pool) -> Self {
        Self {
            pool,
            spaces: Default::default(),
            writable: HashMap::new(),
            written: Vec::new(),
            vm: None,
            ram_bytes: 0,
            uses: 0,
        }
    }

    /// The machine's RAM is this one from now on; nothing that was mapped is.
    pub(super) fn attach(&mut self, vcpu: &mut Vcpu, ram: &GuestRam) -> Result<(), String> {
        self.forget_all(vcpu)?;
        vcpu.attach(ram)?;
        // What was written was written to another RAM.
        self.written.clear();
        self.vm = Some(Arc::clone(&vcpu.vm));
        self.ram_bytes = ram.bytes();
        Ok(())
    }

    /// Drops every space. KVM forgets the tables.
    pub(super) fn forget_all(&mut self, vcpu: &mut Vcpu) -> Result<(), String> {
        self.gather();
        self.spaces = Default::default();
        self.writable.clear();
        vcpu.forget_tables(&mut self.pool)
    }

    fn gather(&mut self) {
        for space in self.spaces.iter_mut().flatten() {
            space.tables.take_written(&mut self.pool, self.ram_bytes, &mut self.written);
        }
    }

    fn take_written(&mut self, into: &mut Vec<u64>) {
        self.gather();
        if self.written.is_empty() {
            return;
        }
        into.append(&mut self.written);
        let Some(vm) = &self.vm else { return };
        let mut forgotten = vm.write_protect(self.ram_bytes).is_ok();
        for space in self.spaces.iter_mut().flatten() {
            forgotten &= space.tables.renew_root(&mut self.pool).is_ok();
        }
        if !forgotten {
            // Whatever may still be remembered as writable is not used again: the next space begins with nothing.
            self.spaces = Default::default();
            self.writable.clear();
            self.pool.exhaust();
        }
    }

    /// The space of the CPU as it is, and whether it was made for this. `None`: there is none and none can be made.
    pub(super) fn space(
        &mut self,
        vcpu: &mut Vcpu,
        cpu: &mut Cpu,
        ram: &GuestRam,
    ) -> Result<Option<(usize, bool)>, String> {
        self.uses += 1;
        let key = Key::of(&cpu.state);
        if let Some(found) = self.find(&cpu.state) {
            if let Some(space) = &mut self.spaces[found] {
                space.used = self.uses;
            }
            return Ok(Some((found, false)));
        }
        tracing::debug!(?key, "a new address space runs natively");
        let used = |space: &Option<Space>| space.as_ref().map_or(0, |space| space.used);
        let arena = (0..ARENAS).min_by_key(|arena| used(&self.spaces[*arena])).unwrap_or(0);
        self.drop_space(arena);
        for _ in 0..2 {
            match self.make(vcpu, cpu, ram, arena) {
                Ok(made) => return Ok(made.then_some((arena, true))),
                Err(Exhausted) => self.forget_all(vcpu)?,
            }
        }
        Ok(None)
    }

    fn make(&mut self, vcpu: &Vcpu, cpu: &mut Cpu, ram: &GuestRam, arena: usize) -> Result<bool, Exhausted> {
        let Some(mut space) = Space::new(cpu, ram, &mut self.pool, arena)? else {
            return Ok(false);
        };
        vcpu.map_gates(&mut self.pool, &mut space.tables)?;
        space.used = self.uses;
        self.spaces[arena] = Some(space);
        Ok(true)
    }

    fn find(&self, state: &CpuState) -> Option<usize> {
        let key = Key::of(state);
        self.spaces.iter().position(|space| space.as_ref().is_some_and(|space| space.key == key))
    }

    fn drop_space(&mut self, arena: usize) {
        if let Some(mut space) = self.spaces[arena].take() {
            space.tables.take_written(&mut self.pool, self.ram_bytes, &mut self.written);
            self.writable.retain(|_, places| {
                places.retain(|(of, _)| *of != arena);
                !places.is_empty()
            });
        }
    }

    /// A space and the pool.
    pub(super) fn parts(&mut self, arena: usize) -> Option<(&mut Space, &mut Pool)> {
        Some((self.spaces.get_mut(arena)?.as_mut()?, &mut self.pool))
    }

    /// Nothing that user code can reach differs from what the guest's tables say, and nothing that it can write is special to the
    /// software CPU. `false`: the space is gone.
    pub(super) fn settle(
        &mut self,
        arena: usize,
        cpu: &mut Cpu,
        ram: &GuestRam,
        special: &mut Vec<u32>,
    ) -> Result<bool, Exhausted> {
        self.protect_special(cpu, special)?;
        let Some(space) = &mut self.spaces[arena] else { return Ok(false) };
        let settled = space.settle(cpu, ram, &mut self.pool, &mut self.written)?;
        let Some(Settled { unwritable }) = settled else {
            self.drop_space(arena);
            return Ok(false);
        };
        for (gpa, linear) in unwritable {
            self.forget_writable(gpa, arena, linear);
        }
        // What is compared is depended on again, and may have been writable somewhere.
        self.protect_special(cpu, special)?;
        Ok(true)
    }

    /// What has become special to the software CPU is not written by user code any more.
    pub(super) fn protect_special(&mut self, cpu: &mut Cpu, special: &mut Vec<u32>) -> Result<(), Exhausted> {
        cpu.take_special_pages(special);
        for page in special.drain(..) {
            self.protect(u64::from(page) << 12)?;
        }
        Ok(())
    }

    /// User code does not write a page any more.
    fn protect(&mut self, gpa: u64) -> Result<(), Exhausted> {
        let Some(places) = self.writable.remove(&gpa) else { return Ok(()) };
        for (arena, linear) in places {
            let Some(space) = &mut self.spaces[arena] else { continue };
            space.tables.restrict(&mut self.pool, &[(linear, false)], &mut self.written)?;
        }
        Ok(())
    }

    fn forget_writable(&mut self, gpa: u64, arena: usize, linear: u64) {
        if let Some(places) = self.writable.get_mut(&gpa) {
            places.retain(|place| *place != (arena, linear));
            if places.is_empty() {
                self.writable.remove(&gpa);
            }
        }
    }

    /// Maps what a page fault asks for, if it can be had without the guest noticing; whether it is mapped.
    pub(super) fn admit(
        &mut self,
        arena: usize,
        cpu: &mut Cpu,
        ram: &GuestRam,
        linear: u64,
        write: bool,
    ) -> Result<bool, Exhausted> {
        let Some(space) = &mut self.spaces[arena] else { return Ok(false) };
        let mut writable = Vec::new();
        let admitted = space.admit(cpu, ram, &mut self.pool, linear, write, &mut writable);
        for (gpa, linear) in writable {
            self.writable.entry(gpa).or_default().push((arena, linear));
        }
        admitted
    }
}
