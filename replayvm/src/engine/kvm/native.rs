//! One native stretch: the state is put into the virtual CPU, user code runs until it has to come back, and the state is taken out again,
//! exactly as the software CPU would have it there.

use recorder::Position;
use replayvm_cpu::{Cpu, CpuState};

use super::guest_page::GuestPage;
use super::pool::{Exhausted, PAGE, Pool};
use super::sources::Sources;
use super::space::Space;
use super::statistics::{NativeStatistics, Return};
use super::translate::{Code, Recovered, Refused, Why};
use super::vcpu::{FLAGS, Trap, Vcpu};
use super::world::{Shared, World};
use crate::engine::EngineError;
use crate::engine::hypervisor::open;
use crate::machine::{GuestRam, Machine};

const PAGE_FAULT: u8 = 14;
/// Set in the error code of a page fault by a write (SDM vol. 3, 4.7).
const WRITE: u32 = 2;

/// What it takes to make an address space, in ways back.
const RETURNS_FOR_A_SPACE: u64 = 16;

/// Code as the guest may fetch it now, from pages whose accessed bits are set.
struct Fetch<'a> {
    sources: &'a mut Sources,
    cpu: &'a mut Cpu,
    ram: &'a GuestRam,
}

impl Code for Fetch<'_> {
    fn bytes(&mut self, rip: u64, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let linear = rip.wrapping_add(done as u64);
            let Some(gpa) = self.sources.fetch_from(self.cpu, self.ram, linear) else { break };
            let here = ((PAGE - linear % PAGE) as usize).min(bytes.len() - done);
            let Ok(code) = self.ram.slice(gpa, here) else { break };
            bytes[done..done + here].copy_from_slice(code);
            done += here;
        }
        done
    }

    fn register(&mut self, number: usize) -> u64 {
        self.cpu.state.gpr.get(number).copied().unwrap_or(0)
    }

    fn memory(&mut self, linear: u64) -> Option<u64> {
        if linear % PAGE > PAGE - 8 {
            return None;
        }
        let page = GuestPage::at(&self.cpu.state, self.ram, linear)?;
        self.ram.load(page.gpa + linear % PAGE).map(u64::from_le_bytes)
    }
}

/// What a stretch has come to.
#[derive(Debug, Default)]
pub(super) struct Ran {
    pub(super) instructions: u64,
    /// How often user code came back, and what else took as long.
    pub(super) returns: u64,
    /// Whether user code ran at all.
    entered: bool,
}

/// Why native execution cannot go on.
enum Ends {
    /// Nothing is wrong; the software CPU is next.
    Soft,
    /// The pool is used up.
    Exhausted,
    /// KVM or the translation does what it must not.
    Failed(String),
}

impl From<Exhausted> for Ends {
    fn from(_: Exhausted) -> Self {
        Self::Exhausted
    }
}

impl From<String> for Ends {
    fn from(what: String) -> Self {
        Self::Failed(what)
    }
}

/// Everything that native execution takes.
pub(super) struct Native {
    vcpu: Vcpu,
    world: Shared,
    /// The RAM that `world` knows.
    ram: Option<u64>,
    /// Room to work in.
    special: Vec<u32>,
}

impl std::fmt::Debug for Native {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Native").field("ram", &self.ram).finish_non_exhaustive()
    }
}

impl Native {
    /// For this machine. Says what is in the way.
    pub(super) fn new(machine: &Machine) -> Result<Self, String> {
        let kvm = open().map_err(|error| error.to_string())?;
        let mut pool = Pool::new()?;
        let vcpu = Vcpu::new(&kvm, &machine.platform.ram, &mut pool)?;
        Ok(Self { vcpu, world: Shared::new(World::new(pool)), ram: None, special: Vec::new() })
    }

    /// Runs user code for at most so many ticks, if it can be. The machine is then at a position on its way.
    pub(super) fn run(
        &mut self,
        machine: &mut Machine,
        ticks: u64,
        statistics: &mut NativeStatistics,
    ) -> Result<Ran, EngineError> {
        let failed = |at: Position, what: String| EngineError::Hypervisor { at, what };
        let shared = self.world.clone();
        self.attach(machine).map_err(|what| failed(machine.position(), what))?;
        let mut world = shared.lock();
        let mut ran = Ran::default();
        let ended = self.stretch(&mut world, machine, ticks, &mut ran, statistics);
        statistics.native += ran.instructions;
        machine.platform.light_instructions += ran.instructions;
        match ended {
            Ends::Soft => Ok(ran),
            Ends::Exhausted => match world.forget_all(&mut self.vcpu) {
                Ok(()) => Ok(ran),
                Err(what) => Err(failed(machine.position(), what)),
            },
            Ends::Failed(what) => Err(failed(machine.position(), what)),
        }
    }

    /// Takes the machine's RAM, if it is another than before.
    fn attach(&mut self, machine: &mut Machine) -> Result<(), String> {
        let ram = &mut machine.platform.ram;
        if self.ram == Some(ram.identity()) {
            return Ok(());
        }
        self.world.lock().attach(&mut self.vcpu, ram)?;
        ram.ask_elsewhere(Box::new(self.world.clone()));
        self.ram = Some(ram.identity());
        Ok(())
    }

    fn stretch(
        &mut self,
        world: &mut World,
        machine: &mut Machine,
        ticks: u64,
        ran: &mut Ran,
        statistics: &mut NativeStatistics,
    ) -> Ends {
        let Machine { cpu, platform } = machine;
        let ram = &platform.ram;
        cpu.look_at_memory(platform);
        let last = cpu.state.now.tick.saturating_add(ticks);
        let arena = match world.space(&mut self.vcpu, cpu, ram) {
            Ok(Some((arena, made))) => {
                ran.returns += if made { RETURNS_FOR_A_SPACE } else { 0 };
                arena
            }
            Ok(None) => return Ends::Soft,
            Err(what) => return Ends::Failed(what),
        };
        let ended = loop {
            match self.entry(world, arena, cpu, ram, last, ran, statistics) {
                Ok(true) => {}
                Ok(false) => break Ends::Soft,
                Err(ends) => break ends,
            }
        };
        // Whatever was executed is in the state but for what SSE has.
        if ran.entered {
            match self.vcpu.sse() {
                Ok((xmm, mxcsr)) => (cpu.state.xmm, cpu.state.mxcsr) = (xmm, mxcsr),
                Err(what) => return Ends::Failed(what),
            }
        }
        ended
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of a machine and of this, lent one by one")]
    /// Runs from RIP until a return; whether native execution goes on from where it has come to.
    fn entry(
        &mut self,
        world: &mut World,
        arena: usize,
        cpu: &mut Cpu,
        ram: &GuestRam,
        last: u64,
        ran: &mut Ran,
        statistics: &mut NativeStatistics,
    ) -> Result<bool, Ends> {
        let ticks = last.saturating_sub(cpu.state.now.tick);
        if ticks == 0 {
            return Ok(false);
        }
        if !world.settle(arena, cpu, ram, &mut self.special)? {
            return Ok(false);
        }
        let Some(entry) = translated(world, arena, cpu, ram) else { return Ok(false) };
        // Code is special from now on.
        if !world.settle(arena, cpu, ram, &mut self.special)? {
            return Ok(false);
        }
        let Some((space, pool)) = world.parts(arena) else { return Ok(false) };
        space.translator.begin(&mut pool.area(arena), ticks, cpu.state.now.offset);
        self.vcpu.load(&cpu.state, entry, space.tables.root())?;
        statistics.stretches += 1;
        loop {
            let trap = self.vcpu.run(&world.pool)?;
            ran.returns += 1;
            ran.entered = true;
            // Whatever becomes of it, what has run is in the state before this ends.
            let admitted =
                if trap.vector == PAGE_FAULT { self.admit(world, arena, cpu, ram, &trap) } else { Ok(false) };
            if matches!(admitted, Ok(true)) {
                statistics.count(Return::Page);
                continue;
            }
            let gone = || Ends::Failed("an address space is gone in which user code runs".to_owned());
            let (space, pool) = world.parts(arena).ok_or_else(gone)?;
            let (mut gpr, mut rflags) = (trap.gpr, trap.rflags);
            let recovered = space.translator.recover(&pool.area(arena), trap.rip, &mut gpr, &mut rflags);
            let Some(recovered) = recovered else {
                return Err(Ends::Failed(format!("user code is where nothing was translated: {trap:x?}")));
            };
            ran.instructions += recovered.instructions;
            apply(&mut cpu.state, &recovered, gpr, rflags);
            admitted?;
            let why = match recovered.why {
                Why::Budget | Why::Stalling => Return::Ticks,
                Why::Untranslated => Return::Untranslated,
                Why::Leave => Return::Instruction,
                Why::Fault if trap.vector == PAGE_FAULT => Return::Access,
                Why::Fault => Return::Exception,
            };
            statistics.count(why);
            return Ok(why == Return::Untranslated);
        }
    }

    /// Maps the page that a page fault asks for and goes on, if it can be done without the guest noticing.
    fn admit(
        &mut self,
        world: &mut World,
        arena: usize,
        cpu: &mut Cpu,
        ram: &GuestRam,
        trap: &Trap,
    ) -> Result<bool, Ends> {
        if !world.admit(arena, cpu, ram, trap.address, trap.error_code & WRITE != 0)? {
            return Ok(false);
        }
        // The tables by which it was found are special now.
        world.protect_special(cpu, &mut self.special)?;
        let Some((space, _)) = world.parts(arena) else { return Ok(false) };
        self.vcpu.load_again(trap, space.tables.root())?;
        Ok(true)
    }
}

/// The translation of what is at RIP; made, if it can be.
fn translated(world: &mut World, arena: usize, cpu: &mut Cpu, ram: &GuestRam) -> Option<u64> {
    let (space, pool) = world.parts(arena)?;
    let rip = cpu.state.rip;
    if let Some(entry) = space.translator.entry(rip) {
        return Some(entry);
    }
    for _ in 0..2 {
        let Space { translator, sources, .. } = &mut *space;
        let mut code = Fetch { sources, cpu, ram };
        match translator.translate(&mut pool.area(arena), rip, &mut code) {
            Ok(entry) => return Some(entry),
            Err(Refused::Unknown) => return None,
            Err(Refused::Full) => space.forget_code(pool),
        }
    }
    None
}

fn apply(state: &mut CpuState, recovered: &Recovered, gpr: [u64; 16], rflags: u64) {
    state.gpr = gpr;
    state.rip = recovered.rip;
    state.rflags = state.rflags & !FLAGS | rflags & FLAGS;
    state.now.tick = state.now.tick.wrapping_add(recovered.ticks);
    state.now.offset = recovered.offset;
    state.idle_loop_rip = recovered.idling.rip;
    state.idle_loop_jumps = recovered.idling.jumps;
    state.instructions = state.instructions.wrapping_add(recovered.instructions);
}
