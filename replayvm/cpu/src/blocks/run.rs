//! Running blocks.
//!
//! Between operations only registers, memory and the lazy flags are up to date. RIP stands at the beginning of the block;
//! the clock, the count of instructions and RFLAGS stand where the block began. Everything is put right before anybody
//! else looks: the plain form's handlers, the bus (which is told the moment of the step), the caller.

use iced_x86::Instruction;

use crate::access::canonical;
use crate::blocks::cache::{ALWAYS, Block, Blocks, Link, NONE};
use crate::blocks::op::{Op, Outcome};
use crate::blocks::{Lazy, Limits, usual};
use crate::bus::{Bus, Moment};
use crate::exec::{Exec, Flow};
use crate::flags::Rflags;
use crate::paging::{Privilege, Purpose, permit};
use crate::step::{Cpu, STALL_STEPS_KERNEL, STALL_STEPS_USER, Step};

/// How an operation ended that the plain form's handler did.
enum Done {
    /// The next one follows.
    Next,
    /// A jump. RIP is set.
    Jump,
    /// A conditional branch. RIP is set.
    Branch,
    /// The block has to be left: something is different now. RIP is set.
    Leave,
    /// The block has to be left, and the same instruction goes on. RIP is set.
    Again,
    /// A fault has been delivered; the step is over and everything is put right.
    Fault(Step),
}

/// Why blocks do not go on.
enum Left {
    /// A limit or a breakpoint.
    Limit,
    /// The last step came to this, and it may have changed what blocks take for granted.
    Step(Step),
    /// The next step is for the plain form.
    Plain,
}

/// What holds from one boundary to the next as long as nothing but blocks runs.
struct Stretch {
    /// No block goes beyond this offset.
    last_offset: u32,
    from_user: bool,
    /// Ticks at which to come back.
    due_tick: u64,
    until: Moment,
}

impl Stretch {
    const fn privilege(&self) -> Privilege {
        if self.from_user { Privilege::User } else { Privilege::Supervisor }
    }
}

impl Cpu {
    fn put_flags_right(&mut self) {
        self.state.rflags = self.fast.lazy.into(self.state.rflags);
    }

    /// Takes up what blocks need, if nothing has to be delivered and blocks can run.
    #[inline]
    fn begin_stretch<B: Bus>(&mut self, bus: &B, limits: &Limits) -> Option<Stretch> {
        let state = &self.state;
        if !usual(state)
            || bus.nmi_pending() && !state.nmi_blocked
            || bus.interrupt_pending() && state.rflags & Rflags::IF.bits() != 0
        {
            return None;
        }
        let from_user = state.cpl() == 3;
        let data = state.privilege();
        let stall = if from_user { STALL_STEPS_USER } else { STALL_STEPS_KERNEL };
        let mut last_offset = stall - 1;
        if state.now.tick == limits.until.tick {
            last_offset = last_offset.min(limits.until.offset);
        }
        self.fast.lazy = Lazy::of(state.rflags);
        self.fast.read = permit(Purpose::Read, data);
        self.fast.write = permit(Purpose::Write, data);
        let due_tick = limits.due_tick.min(limits.until.tick);
        Some(Stretch { last_offset, from_user, due_tick, until: limits.until })
    }
}

/// Leaves an operation to the plain form's handler.
fn by_plain_form<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    insn: &Instruction,
    op: &Op<B>,
    from_user: bool,
) -> Done {
    let begin = cpu.state.rip;
    let number = u32::from(op.number);
    let at = Moment { tick: cpu.state.now.tick, offset: cpu.state.now.offset + number };
    cpu.state.rip = begin.wrapping_add(u64::from(op.at));
    if op.flags {
        cpu.put_flags_right();
    }
    let before = (cpu.tlb.pages.consequences(), bus.disturbances());
    let rflags = cpu.state.rflags;
    let flow = Exec { cpu, bus, insn, at }.execute();
    if op.flags {
        cpu.fast.lazy = Lazy::of(cpu.state.rflags);
    }
    debug_assert!(
        op.flags || (rflags ^ cpu.state.rflags) & crate::flags::ARITHMETIC == 0,
        "{:?} has changed flags",
        insn.code()
    );
    let quiet = before == (cpu.tlb.pages.consequences(), bus.disturbances());
    match flow {
        Ok(Flow::Next) if quiet => {
            cpu.state.rip = begin;
            Done::Next
        }
        Ok(Flow::Next) => {
            cpu.state.rip = begin.wrapping_add(u64::from(op.end));
            Done::Leave
        }
        Ok(Flow::Jump(target)) => {
            cpu.state.rip = target;
            if quiet { Done::Jump } else { Done::Leave }
        }
        Ok(Flow::Branch(target)) => {
            cpu.state.rip = target.unwrap_or_else(|| begin.wrapping_add(u64::from(op.end)));
            Done::Branch
        }
        Ok(Flow::Transferred) => Done::Leave,
        Ok(Flow::Again) => {
            cpu.state.rflags |= Rflags::RF.bits();
            Done::Again
        }
        Err(fault) => {
            cpu.put_flags_right();
            cpu.state.now = at;
            cpu.state.instructions = cpu.state.instructions.wrapping_add(u64::from(number));
            Done::Fault(cpu.fault(bus, at, from_user, 0, fault))
        }
    }
}

impl<B: Bus> Blocks<B> {
    /// Runs the CPU by at least one step, until a limit or a breakpoint is reached or something has happened that
    /// [`Bus::disturbances`] tells. The state is then exactly what as many calls of [`Cpu::step`] would have made it.
    ///
    /// Gives back what the last step came to.
    pub fn run(&mut self, cpu: &mut Cpu, bus: &mut B, limits: Limits) -> Step {
        let disturbances = bus.disturbances();
        // A breakpoint where the run begins does not stop it.
        let mut leaves_breakpoint = self.stops_at(cpu.state.linear_rip());
        loop {
            cpu.follow_memory(bus);
            let was_user = cpu.state.cpl() == 3;
            let stretch = if leaves_breakpoint { None } else { cpu.begin_stretch(bus, &limits) };
            let left = match stretch {
                Some(stretch) => self.stretch(cpu, bus, &stretch),
                None => Left::Plain,
            };
            let step = match left {
                Left::Limit => return Step::Done,
                Left::Step(step) => step,
                Left::Plain => cpu.step(bus),
            };
            leaves_breakpoint = false;
            let now = cpu.state.now;
            if step != Step::Done
                || now >= limits.until
                || now.offset == 0 && now.tick >= limits.due_tick
                || bus.disturbances() != disturbances
                || limits.one_privilege && was_user != (cpu.state.cpl() == 3)
                || self.stops_at(cpu.state.linear_rip()) && !cpu.delivers_next(bus) && !cpu.state.halted
            {
                return step;
            }
        }
    }

    /// Runs blocks. Flags, clock and RIP are right when it comes back.
    fn stretch(&mut self, cpu: &mut Cpu, bus: &mut B, stretch: &Stretch) -> Left {
        let left = self.chain(cpu, bus, stretch);
        if !matches!(left, Left::Step(_)) {
            cpu.put_flags_right();
        }
        left
    }

    fn chain(&mut self, cpu: &mut Cpu, bus: &mut B, stretch: &Stretch) -> Left {
        let mut ran = false;
        let mut index = self.at_rip(cpu, bus, stretch);
        loop {
            let Some(block) = self.blocks.get(index as usize) else {
                // Nothing can be fetched there, and a breakpoint comes before that.
                return self.cannot_go_on(cpu, stretch, ran);
            };
            if block.version != cpu.tlb.pages.version(block.gpa) && !self.verify(cpu, bus, index) {
                index = self.at_rip(cpu, bus, stretch);
                continue;
            }
            let Some(block) = self.blocks.get(index as usize) else { return Left::Plain };
            let steps = u32::from(block.len);
            if block.stops || cpu.state.now.offset.saturating_add(steps) > stretch.last_offset {
                return self.cannot_go_on(cpu, stretch, ran);
            }
            if cpu.state.idle_loop_jumps != 0 {
                if block.idle {
                    return self.cannot_go_on(cpu, stretch, ran);
                }
                cpu.state.idle_loop_rip = 0;
                cpu.state.idle_loop_jumps = 0;
            }
            let first = block.first as usize;
            let ops = &self.ops[first..first + steps as usize];
            let mut rest = ops;
            let mut branch = false;
            let outcome = 'block: loop {
                for op in rest {
                    let outcome = (op.run)(cpu, bus, op);
                    if outcome == Outcome::Next {
                        continue;
                    }
                    if outcome != Outcome::Slow {
                        break 'block outcome;
                    }
                    let number = usize::from(op.number);
                    match by_plain_form(cpu, bus, &self.insns[first + number], op, stretch.from_user) {
                        Done::Next => rest = &ops[number + 1..],
                        Done::Jump => break 'block Outcome::Indirect,
                        Done::Branch => {
                            branch = true;
                            break 'block Outcome::Indirect;
                        }
                        Done::Leave => {
                            pass(cpu, number as u32 + 1, number as u32 + 1);
                            cpu.put_flags_right();
                            return Left::Step(Step::Done);
                        }
                        Done::Again => {
                            pass(cpu, number as u32 + 1, number as u32);
                            cpu.put_flags_right();
                            return Left::Step(Step::Done);
                        }
                        Done::Fault(step) => return Left::Step(step),
                    }
                    continue 'block;
                }
                break Outcome::Next;
            };
            if outcome == Outcome::Boundary {
                let number = ops.len() - 1;
                pass(cpu, number as u32, number as u32);
                cpu.state.rip = cpu.state.rip.wrapping_add(u64::from(ops[number].at));
                cpu.put_flags_right();
                return Left::Step(cpu.step_decoded(bus, &self.insns[first + number]));
            }
            ran = true;
            let state = &mut cpu.state;
            if branch || matches!(outcome, Outcome::Taken | Outcome::NotTaken) {
                state.instructions = state.instructions.wrapping_add(u64::from(steps));
                state.now = Moment { tick: state.now.tick.wrapping_add(1), offset: 0 };
                if state.now.tick >= stretch.due_tick {
                    return Left::Limit;
                }
            } else {
                pass(cpu, steps, steps);
            }
            let way = match outcome {
                Outcome::Taken | Outcome::Call => 0,
                Outcome::Jump => {
                    cpu.state.idle_loop_rip = cpu.state.rip;
                    cpu.state.idle_loop_jumps = 1;
                    0
                }
                Outcome::NotTaken => 1,
                Outcome::Indirect => {
                    index = self.at_rip(cpu, bus, stretch);
                    continue;
                }
                _ => {
                    cpu.state.rip = cpu.state.rip.wrapping_add(u64::from(block.size));
                    1
                }
            };
            let link = block.links[way];
            index = if link.space == ALWAYS || link.space == space(cpu, stretch) {
                link.target
            } else {
                self.follow(cpu, bus, stretch, index, way)
            };
        }
    }

    /// The block where RIP stands, [`NONE`] if the plain form has to see to it.
    fn at_rip(&mut self, cpu: &mut Cpu, bus: &mut B, stretch: &Stretch) -> u32 {
        let rip = cpu.state.rip;
        let privilege = stretch.privilege();
        let gpa = match cpu.tlb.look_up(rip, permit(Purpose::Fetch, privilege)) {
            Some(gpa) => gpa,
            // The walk marks tables, so it belongs to the next step, which may be beyond the end of the run.
            None if !canonical(rip) || cpu.state.now >= stretch.until || self.stops_at(rip) => return NONE,
            None => match cpu.translate(bus, cpu.state.now, rip, Purpose::Fetch, privilege) {
                Ok(gpa) => gpa,
                Err(_) => return NONE,
            },
        };
        self.find(cpu, bus, rip, gpa)
    }

    /// The block where RIP stands, to which block `from` has come in one of its two ways, which is remembered.
    #[cold]
    fn follow(&mut self, cpu: &mut Cpu, bus: &mut B, stretch: &Stretch, from: u32, way: usize) -> u32 {
        let rip = self.blocks.get(from as usize).map(|block: &Block| block.rip);
        let clears = self.clears;
        let target = self.at_rip(cpu, bus, stretch);
        if let Some(rip) = rip
            && target != NONE
            && clears == self.clears
            && let Some(block) = self.blocks.get_mut(from as usize)
        {
            let same_page = rip >> 12 == cpu.state.rip >> 12;
            block.links[way] = Link { target, space: if same_page { ALWAYS } else { space(cpu, stretch) } };
        }
        target
    }

    /// The next block does not fit, or there is none.
    #[cold]
    fn cannot_go_on(&self, cpu: &Cpu, stretch: &Stretch, ran: bool) -> Left {
        if ran && (cpu.state.now >= stretch.until || self.stops_at(cpu.state.rip)) {
            Left::Limit
        } else {
            Left::Plain
        }
    }
}

/// So many steps, and so many instructions, without a tick.
#[inline(always)]
fn pass(cpu: &mut Cpu, steps: u32, instructions: u32) {
    let state = &mut cpu.state;
    state.now.offset += steps;
    state.instructions = state.instructions.wrapping_add(u64::from(instructions));
}

/// The number of what a fetch depends on.
#[inline(always)]
fn space(cpu: &Cpu, stretch: &Stretch) -> u64 {
    cpu.tlb.incarnation() << 1 | u64::from(stretch.from_user)
}
