//! What every engine has to do alike: the same bodies on each, held against the software CPU.
//!
//! An engine that this host cannot run is SKIPPED, with the reason.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

/// Real guests.
mod corpora;
/// Direct execution of random programs.
mod direct;
/// What the host offers.
mod doctor;
/// Where an emulated processor errs.
mod emulated;
/// The rules of entry.
mod entry;
/// Small guests.
mod guest;
/// Random instructions in lockstep.
mod random;
/// Running a guest on every engine.
mod run;

use guest::{
    CODE, DATA, HANDLERS, HOLE, USER_CODE, USER_CODE_SELECTOR, USER_DATA, USER_STACK, assemble, long64,
    page_entry, place, protected32, real,
};
use iced_x86::code_asm::*;
use recorder::{ExitKind, Position};
use replayvm::engine::Stop;
use replayvm::machine::{ExitFilter, Machine, Watch, WatchKind};
use run::{digests, engine, on_every_engine, run, same_everywhere};

/// Ends the run with a write to isa-debug-exit.
fn finish(a: &mut CodeAssembler) {
    a.mov(al, 0x21).unwrap();
    a.out(0xf4, al).unwrap();
    a.hlt().unwrap();
}

fn arithmetic(a: &mut CodeAssembler) {
    let mut again = a.create_label();
    let mut sub = a.create_label();
    let mut over = a.create_label();
    a.mov(rdi, DATA).unwrap();
    a.mov(rax, 0x1234_5678_9abc_def1_u64).unwrap();
    a.mov(ebx, 0x9e37_79b9_u32).unwrap();
    a.mov(ecx, 25).unwrap();
    a.jmp(again).unwrap();
    a.set_label(&mut sub).unwrap();
    a.push(rax).unwrap();
    a.imul_3(rax, rax, 77).unwrap();
    a.bswap(rax).unwrap();
    a.pop(rdx).unwrap();
    a.xor(rax, rdx).unwrap();
    a.ret().unwrap();
    a.set_label(&mut again).unwrap();
    a.call(sub).unwrap();
    a.mov(ptr(rdi), rax).unwrap();
    a.add(rax, rbx).unwrap();
    a.adc(rdx, rax).unwrap();
    a.rol(rax, cl).unwrap();
    a.shld(rax, rdx, 7).unwrap();
    a.mul(rbx).unwrap();
    a.xor(edx, edx).unwrap();
    a.mov(esi, 12345).unwrap();
    a.div(rsi).unwrap();
    a.bsr(r8, rax).unwrap();
    a.bt(rax, r8).unwrap();
    a.setc(r9b).unwrap();
    a.cmovs(r10, rax).unwrap();
    a.movzx(r11d, al).unwrap();
    a.lea(r12, ptr(rdi + rcx * 8 + 64)).unwrap();
    a.xadd(dword_ptr(r12), eax).unwrap();
    a.lock().cmpxchg(qword_ptr(r12), rbx).unwrap();
    a.neg(qword_ptr(rdi + 16)).unwrap();
    a.sar(dword_ptr(rdi + 20), 3).unwrap();
    a.test(eax, 1).unwrap();
    a.jz(over).unwrap();
    a.not(rax).unwrap();
    a.set_label(&mut over).unwrap();
    a.movq(xmm1, rax).unwrap();
    a.movups(xmm2, xmmword_ptr(rdi)).unwrap();
    a.paddd(xmm1, xmm2).unwrap();
    a.cvtsi2sd(xmm3, ecx).unwrap();
    a.mulsd(xmm3, xmm3).unwrap();
    a.movups(xmmword_ptr(rdi + 0x800), xmm1).unwrap();
    a.movsd_2(qword_ptr(rdi + 0x810), xmm3).unwrap();
    a.dec(ecx).unwrap();
    a.jnz(again).unwrap();
}

#[test]
fn arithmetic_in_64_bit_kernel_mode() {
    let guest = || {
        long64(|a| {
            arithmetic(a);
            finish(a);
        })
    };
    same_everywhere(guest, Stop::Signal);
}

/// Goes to user mode at `USER_CODE`.
fn enter_user(a: &mut CodeAssembler) {
    a.push(u32::from(USER_DATA) as i32).unwrap();
    a.push(USER_STACK as i32).unwrap();
    a.push(0x3002).unwrap();
    a.push(u32::from(USER_CODE_SELECTOR) as i32).unwrap();
    a.push(USER_CODE as i32).unwrap();
    a.iretq().unwrap();
}

fn handler(machine: &mut Machine, vector: u64, program: impl FnOnce(&mut CodeAssembler)) {
    place(machine, 64, HANDLERS + 0x1000 + vector * 256, program);
    place(machine, 64, HANDLERS + vector * 16, |a| a.jmp(HANDLERS + 0x1000 + vector * 256).unwrap());
}

#[test]
fn arithmetic_in_64_bit_user_mode_and_back_by_interrupt_gate() {
    let guest = || {
        let mut machine = long64(enter_user);
        place(&mut machine, 64, USER_CODE, |a| {
            arithmetic(a);
            a.int(0x80).unwrap();
        });
        handler(&mut machine, 0x80, finish);
        machine
    };
    same_everywhere(guest, Stop::Signal);
}

#[test]
fn system_calls_cross_the_rings_and_each_is_a_tick() {
    let guest = || {
        let mut machine = long64(|a| {
            a.mov(ecx, 0xc000_0081_u32).unwrap();
            a.xor(eax, eax).unwrap();
            a.mov(edx, 0x0010_0008).unwrap();
            a.wrmsr().unwrap();
            a.mov(ecx, 0xc000_0082_u32).unwrap();
            a.mov(eax, (CODE + 0x800) as u32).unwrap();
            a.xor(edx, edx).unwrap();
            a.wrmsr().unwrap();
            enter_user(a);
        });
        place(&mut machine, 64, CODE + 0x800, |a| {
            let mut over = a.create_label();
            a.inc(ebx).unwrap();
            a.cmp(ebx, 5).unwrap();
            a.je(over).unwrap();
            a.sysretq().unwrap();
            a.set_label(&mut over).unwrap();
            finish(a);
        });
        place(&mut machine, 64, USER_CODE, |a| {
            let mut again = a.create_label();
            a.set_label(&mut again).unwrap();
            a.add(r8, 3).unwrap();
            a.push(r8).unwrap();
            a.syscall().unwrap();
            a.jmp(again).unwrap();
        });
        machine
    };
    same_everywhere(guest, Stop::Signal);
}

#[test]
fn page_faults_are_delivered_and_the_page_is_there_afterwards() {
    for user in [false, true] {
        let guest = || {
            let mut machine = long64(|a| if user { enter_user(a) } else { a.jmp(USER_CODE).unwrap() });
            place(&mut machine, 64, USER_CODE, |a| {
                let mut again = a.create_label();
                a.mov(ecx, 4).unwrap();
                a.mov(rdi, HOLE).unwrap();
                a.set_label(&mut again).unwrap();
                a.inc(dword_ptr(rdi)).unwrap();
                a.mov(dword_ptr(rdi + 8), ecx).unwrap();
                a.loop_(again).unwrap();
                // Half of it in the next page.
                a.mov(rax, qword_ptr(HOLE + 0xffc)).unwrap();
                a.int(0x80).unwrap();
            });
            handler(&mut machine, 14, |a| {
                a.push(rax).unwrap();
                a.mov(rax, HOLE | 7).unwrap();
                a.mov(qword_ptr(page_entry(HOLE)), rax).unwrap();
                a.invlpg(qword_ptr(HOLE)).unwrap();
                a.pop(rax).unwrap();
                a.add(rsp, 8).unwrap();
                a.iretq().unwrap();
            });
            handler(&mut machine, 0x80, finish);
            machine
        };
        same_everywhere(guest, Stop::Signal);
    }
}

#[test]
fn a_page_that_is_mapped_elsewhere_is_seen_elsewhere() {
    // User mode alternates with a kernel that changes where one page leads.
    let guest = || {
        let mut machine = long64(enter_user);
        place(&mut machine, 64, USER_CODE, |a| {
            let mut again = a.create_label();
            a.set_label(&mut again).unwrap();
            a.add(dword_ptr(DATA + 0x3010), 7).unwrap();
            a.mov(rax, qword_ptr(DATA + 0x3010)).unwrap();
            a.int(0x80).unwrap();
            a.jmp(again).unwrap();
        });
        handler(&mut machine, 0x80, |a| {
            let mut over = a.create_label();
            a.inc(ebp).unwrap();
            a.cmp(ebp, 8).unwrap();
            a.je(over).unwrap();
            a.mov(rcx, page_entry(DATA + 0x3000)).unwrap();
            a.xor(dword_ptr(rcx), 0x3000).unwrap();
            a.invlpg(ptr(DATA + 0x3000)).unwrap();
            a.iretq().unwrap();
            a.set_label(&mut over).unwrap();
            finish(a);
        });
        machine
    };
    same_everywhere(guest, Stop::Signal);
}

#[test]
fn string_instructions_short_and_long() {
    for user in [false, true] {
        let guest = || {
            let mut machine = long64(|a| if user { enter_user(a) } else { a.jmp(USER_CODE).unwrap() });
            place(&mut machine, 64, USER_CODE, |a| {
                for (count, down) in [(0, false), (3, false), (17, true), (32, false), (1000, false)] {
                    if down {
                        a.std().unwrap()
                    } else {
                        a.cld().unwrap()
                    }
                    a.mov(eax, 0x5a5a_1234).unwrap();
                    a.mov(ecx, count).unwrap();
                    a.mov(rdi, DATA + 0x100).unwrap();
                    a.rep().stosd().unwrap();
                    a.mov(ecx, count).unwrap();
                    a.mov(rsi, DATA + 0x0f0).unwrap();
                    a.mov(rdi, DATA + 0x1ffe).unwrap();
                    a.rep().movsb().unwrap();
                    a.mov(ecx, count).unwrap();
                    a.mov(rsi, DATA + 0x100).unwrap();
                    a.mov(rdi, DATA + 0x104).unwrap();
                    a.repe().cmpsw().unwrap();
                    a.mov(ecx, count).unwrap();
                    a.repne().scasb().unwrap();
                    a.lodsq().unwrap();
                }
                a.cld().unwrap();
                a.int(0x80).unwrap();
            });
            handler(&mut machine, 0x80, finish);
            machine
        };
        same_everywhere(guest, Stop::Signal);
    }
}

#[test]
fn code_that_writes_itself_is_executed_as_written() {
    for user in [false, true] {
        let guest = || {
            let mut machine = long64(|a| if user { enter_user(a) } else { a.jmp(USER_CODE).unwrap() });
            place(&mut machine, 64, USER_CODE, |a| {
                let mut again = a.create_label();
                let mut patched = a.create_label();
                a.mov(ecx, 6).unwrap();
                a.set_label(&mut again).unwrap();
                a.mov(rdi, patched_address()).unwrap();
                // The immediate of the ADD below, in the very next instruction.
                a.mov(byte_ptr(rdi + 2), cl).unwrap();
                a.set_label(&mut patched).unwrap();
                a.add(ebx, 0x55).unwrap();
                a.dec(ecx).unwrap();
                a.jnz(again).unwrap();
                a.int(0x80).unwrap();
            });
            handler(&mut machine, 0x80, finish);
            machine
        };
        same_everywhere(guest, Stop::Signal);
    }
}

/// Where the ADD of the test above lies: MOV ECX (5), MOV RDI (10 or 7), MOV BYTE (3).
fn patched_address() -> u64 {
    let before = assemble(64, USER_CODE, |a| {
        a.mov(ecx, 6).unwrap();
        a.mov(rdi, USER_CODE + 0x20).unwrap();
        a.mov(byte_ptr(rdi + 2), cl).unwrap();
    });
    USER_CODE + before.len() as u64
}

#[test]
fn thirty_two_bit_protected_mode() {
    let guest = || {
        protected32(|a| {
            let mut again = a.create_label();
            a.mov(edi, DATA as u32).unwrap();
            a.mov(ecx, 20).unwrap();
            a.mov(eax, 0x8000_0001_u32).unwrap();
            a.set_label(&mut again).unwrap();
            a.pushad().unwrap();
            a.add(eax, ecx).unwrap();
            a.aam(10).unwrap();
            a.daa().unwrap();
            a.rcl(eax, 3).unwrap();
            a.mov(dword_ptr(edi + ecx * 4), eax).unwrap();
            a.xchg(dword_ptr(edi), edx).unwrap();
            a.cmpxchg8b(ptr(edi)).unwrap();
            a.popad().unwrap();
            a.imul_2(eax, ecx).unwrap();
            a.push(eax).unwrap();
            a.pop(word_ptr(edi + 2)).unwrap();
            a.add(esp, 2).unwrap();
            a.loop_(again).unwrap();
            finish(a);
        })
    };
    same_everywhere(guest, Stop::Signal);
}

#[test]
fn real_mode() {
    let guest = || {
        real(|a| {
            let mut again = a.create_label();
            a.mov(di, 0x4000).unwrap();
            a.mov(cx, 20).unwrap();
            a.set_label(&mut again).unwrap();
            a.add(ax, cx).unwrap();
            a.mul(cx).unwrap();
            a.push(ax).unwrap();
            a.pop(word_ptr(bx + di)).unwrap();
            a.mov(eax, 0x1234_5678).unwrap();
            a.rol(eax, cl).unwrap();
            a.stosw().unwrap();
            a.loop_(again).unwrap();
            finish(a);
        })
    };
    same_everywhere(guest, Stop::Signal);
}

#[test]
fn timer_interrupts_arrive_at_the_same_steps() {
    let guest = || {
        let mut machine = long64(|a| {
            let mut again = a.create_label();
            for (port, value) in [
                (0x20, 0x11),
                (0x21, 0x20),
                (0x21, 4),
                (0x21, 1),
                (0x21, 0xfe),
                (0x43, 0x34),
                (0x40, 30),
                (0x40, 0),
            ] {
                a.mov(al, value).unwrap();
                a.out(port, al).unwrap();
            }
            a.sti().unwrap();
            a.set_label(&mut again).unwrap();
            a.add(rdx, rcx).unwrap();
            a.rol(rdx, 5).unwrap();
            a.inc(rcx).unwrap();
            a.cmp(ebp, 3).unwrap();
            a.jb(again).unwrap();
            a.hlt().unwrap();
            a.cli().unwrap();
            finish(a);
        });
        handler(&mut machine, 0x20, |a| {
            a.inc(ebp).unwrap();
            a.push(rax).unwrap();
            a.mov(al, 0x20).unwrap();
            a.out(0x20, al).unwrap();
            a.pop(rax).unwrap();
            a.iretq().unwrap();
        });
        machine
    };
    same_everywhere(guest, Stop::Signal);
}

#[test]
fn a_triple_fault_shuts_down_and_an_endless_halt_is_idle() {
    let shutdown = || {
        let mut machine = long64(|a| a.ud2().unwrap());
        machine.cpu.state.idtr.limit = 0;
        machine.cpu.state.gpr[0] = 1;
        place(&mut machine, 64, CODE, |a| {
            a.add(rax, rax).unwrap();
            a.add(rax, rax).unwrap();
            a.ud2().unwrap();
        });
        machine
    };
    same_everywhere(shutdown, Stop::Shutdown);
    let idle = || {
        long64(|a| {
            a.add(rax, rax).unwrap();
            a.add(rax, rax).unwrap();
            a.cli().unwrap();
            a.hlt().unwrap();
        })
    };
    same_everywhere(idle, Stop::Idle);
}

fn counting_loop() -> Machine {
    long64(|a| {
        let mut again = a.create_label();
        a.mov(rdi, DATA).unwrap();
        a.mov(ecx, 10).unwrap();
        a.set_label(&mut again).unwrap();
        a.mov(qword_ptr(rdi), rcx).unwrap();
        a.add(rax, qword_ptr(rdi)).unwrap();
        a.nop().unwrap();
        a.loop_(again).unwrap();
        a.mov(dx, 0x80).unwrap();
        a.out(dx, al).unwrap();
        finish(a);
    })
}

#[test]
fn a_run_stops_exactly_at_the_position_asked_for() {
    on_every_engine(|name| {
        for until in [Position::new(0, 1), Position::new(0, 4), Position::new(3, 0), Position::new(3, 2)] {
            let mut machine = counting_loop();
            let mut engine = engine(name, &machine);
            assert_eq!(run(&mut *engine, &mut machine, until, &[]).unwrap(), Stop::Reached, "{name}");
            assert_eq!(machine.position(), until, "{name}");
        }
    });
}

#[test]
fn a_breakpoint_stops_before_its_instruction_and_is_left_on_the_next_run() {
    let add = CODE
        + assemble(64, CODE, |a| {
            a.mov(rdi, DATA).unwrap();
            a.mov(ecx, 10).unwrap();
            a.mov(qword_ptr(rdi), rcx).unwrap();
        })
        .len() as u64;
    let mut all = Vec::new();
    on_every_engine(|name| {
        let mut machine = counting_loop();
        let mut engine = engine(name, &machine);
        for hit in 0..10 {
            let stop = run(&mut *engine, &mut machine, Position::MAX, &[add]).unwrap();
            assert_eq!((stop, machine.cpu.state.rip), (Stop::Breakpoint, add), "{name}, {hit}");
        }
        assert_eq!(run(&mut *engine, &mut machine, Position::MAX, &[add]).unwrap(), Stop::Signal, "{name}");
        all.push((machine.position(), digests(&machine)));
    });
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn watchpoints_see_loads_and_stores_whoever_executes_them() {
    let mut all = Vec::new();
    on_every_engine(|name| {
        let mut machine = counting_loop();
        let mut engine = engine(name, &machine);
        machine.platform.watches.set(vec![
            Watch { gpa: DATA + 1, len: 1, kind: WatchKind::Write },
            Watch { gpa: DATA + 7, len: 4, kind: WatchKind::Read },
        ]);
        let mut hits = Vec::new();
        loop {
            match run(&mut *engine, &mut machine, Position::MAX, &[]).unwrap() {
                Stop::Watch(hit) => hits.push((machine.position(), hit)),
                stop => break assert_eq!(stop, Stop::Signal),
            }
        }
        assert_eq!(hits.len(), 20, "{name}");
        all.push(hits);
    });
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn exits_stop_where_they_are_asked_for() {
    let mut all = Vec::new();
    on_every_engine(|name| {
        let mut machine = counting_loop();
        let mut engine = engine(name, &machine);
        machine.platform.stop_on = ExitFilter::NONE.with(ExitKind::PortWrite);
        match run(&mut *engine, &mut machine, Position::MAX, &[]).unwrap() {
            Stop::Exit(at, exit) => all.push((at, exit, machine.position())),
            stop => panic!("{name}: {stop:?}"),
        }
    });
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn pages_that_kvm_writes_are_dirty() {
    on_every_engine(|name| {
        let mut machine = counting_loop();
        let mut engine = engine(name, &machine);
        run(&mut *engine, &mut machine, Position::new(1, 0), &[]).unwrap();
        let _ = machine.platform.ram.take_dirty();
        run(&mut *engine, &mut machine, Position::new(3, 0), &[]).unwrap();
        assert_eq!(machine.platform.ram.take_dirty(), [DATA >> 12], "{name}");
    });
}
