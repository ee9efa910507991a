//! Translation: page faults by cause, accessed and dirty bits, crossings, coherence.

use iced_x86::code_asm::*;
use replayvm_cpu::{Observation, cr4};

use crate::machine::*;

/// Runs to a page fault and returns its error code; the address must be as given.
fn fault_code(machine: &mut Machine, address: u64) -> u64 {
    machine.run();
    assert_eq!(machine.caught(), 14);
    assert_eq!(machine.cpu.state.cr2, address);
    machine.stack(0)
}

fn read(address: u64) -> impl FnOnce(&mut CodeAssembler) {
    move |a| a.mov(rax, qword_ptr(address)).unwrap()
}

fn write(address: u64) -> impl FnOnce(&mut CodeAssembler) {
    move |a| a.mov(qword_ptr(address), rax).unwrap()
}

#[test]
fn a_read_of_an_absent_page_has_error_code_0() {
    let mut machine = Machine::long().code(CODE, read(0x3_0ff8));
    machine.pte(0x3_0000, |_| 0);
    assert_eq!(fault_code(&mut machine, 0x3_0ff8), 0);
}

#[test]
fn a_write_to_an_absent_page_has_error_code_2() {
    let mut machine = Machine::long().code(CODE, write(DATA));
    machine.pte(DATA, |_| 0);
    assert_eq!(fault_code(&mut machine, DATA), 2);
}

#[test]
fn a_supervisor_write_to_a_read_only_page_has_error_code_3_with_wp_and_passes_without() {
    let mut machine = Machine::long().code(CODE, write(DATA));
    machine.pte(DATA, |entry| entry & !2);
    assert_eq!(fault_code(&mut machine, DATA), 3);
    let mut machine = Machine::long()
        .code(CODE, |a| {
            a.mov(qword_ptr(DATA), rax).unwrap();
            a.hlt().unwrap();
        })
        .set(|state| state.cr0 &= !(1 << 16));
    machine.pte(DATA, |entry| entry & !2);
    machine.run();
    assert!(!machine.bus.log.iter().any(|what| matches!(what, Observation::Exception { .. })));
}

#[test]
fn a_user_read_of_a_supervisor_page_has_error_code_5() {
    let mut machine = Machine::long().user().code(USER_CODE, read(DATA));
    assert_eq!(fault_code(&mut machine, DATA), 5);
}

#[test]
fn a_user_write_to_a_read_only_page_has_error_code_7() {
    let mut machine = Machine::long().user().code(USER_CODE, write(USER_DATA));
    machine.pte(USER_DATA, |entry| entry & !2);
    assert_eq!(fault_code(&mut machine, USER_DATA), 7);
}

#[test]
fn a_reserved_bit_has_error_code_9() {
    let mut machine = Machine::long().code(CODE, read(DATA));
    machine.pte(DATA, |entry| entry | 1 << 45);
    assert_eq!(fault_code(&mut machine, DATA), 9);
}

#[test]
fn bit_63_is_reserved_without_nxe() {
    let mut machine = Machine::long().code(CODE, read(DATA)).set(|state| state.efer &= !0x800);
    machine.pte(DATA, |entry| entry | 1 << 63);
    assert_eq!(fault_code(&mut machine, DATA), 9);
}

#[test]
fn a_fetch_from_a_no_execute_page_has_error_code_11_hex() {
    let mut machine = Machine::long().code(CODE, |a| a.jmp(DATA).unwrap());
    machine.pte(DATA, |entry| entry | 1 << 63);
    assert_eq!(fault_code(&mut machine, DATA), 0x11);
}

#[test]
fn smep_stops_the_supervisor_from_running_user_code() {
    let mut machine =
        Machine::long().code(CODE, |a| a.jmp(USER_CODE).unwrap()).set(|state| state.cr4 |= cr4::SMEP);
    assert_eq!(fault_code(&mut machine, USER_CODE), 0x11);
}

#[test]
fn smap_stops_the_supervisor_from_user_data_unless_ac_is_set() {
    let mut machine = Machine::long()
        .code(CODE, |a| {
            a.stac().unwrap();
            a.mov(rax, qword_ptr(USER_DATA)).unwrap();
            a.clac().unwrap();
            a.mov(rax, qword_ptr(USER_DATA)).unwrap();
        })
        .set(|state| state.cr4 |= cr4::SMAP);
    machine.steps(3);
    assert!(machine.bus.log.is_empty());
    assert_eq!(fault_code(&mut machine, USER_DATA), 1);
}

#[test]
fn walks_set_accessed_everywhere_and_dirty_at_the_end_of_a_write() {
    let mut machine = Machine::long().code(CODE, |a| {
        a.mov(rax, qword_ptr(DATA)).unwrap();
        a.mov(qword_ptr(DATA + 0x1000), rax).unwrap();
        a.mov(rax, qword_ptr(DATA + 0x2000)).unwrap();
        a.mov(qword_ptr(DATA + 0x2000), rax).unwrap();
        a.hlt().unwrap();
    });
    machine.run();
    let marks = |at| machine.bus.get64(at) & 0x60;
    assert_eq!([marks(TABLES), marks(TABLES + 0x1000), marks(TABLES + 0x2000)], [0x20; 3]);
    let pte = |page: u64| marks(PT + 8 * (page >> 12));
    assert_eq!(pte(DATA), 0x20);
    assert_eq!(pte(DATA + 0x1000), 0x60);
    assert_eq!(pte(DATA + 0x2000), 0x60, "a read first does not hide the write");
    assert_eq!(pte(DATA + 0x3000), 0);
}

#[test]
fn a_changed_entry_is_seen_at_once_without_invlpg() {
    let mut machine = Machine::long().code(CODE, |a| {
        a.mov(rax, qword_ptr(DATA)).unwrap();
        a.mov(rcx, DATA + 0x1003).unwrap();
        a.mov(qword_ptr(PT + 8 * (DATA >> 12)), rcx).unwrap();
        a.mov(rbx, qword_ptr(DATA)).unwrap();
        a.hlt().unwrap();
    });
    machine.bus.put64(DATA, 1);
    machine.bus.put64(DATA + 0x1000, 2);
    machine.run();
    assert_eq!([machine.cpu.state.gpr[0], machine.cpu.state.gpr[3]], [1, 2]);
}

#[test]
fn a_store_across_a_page_whose_second_half_faults_changes_nothing() {
    let mut machine = Machine::long()
        .code(CODE, |a| a.mov(qword_ptr(DATA + 0xffc), rax).unwrap())
        .set(|state| state.gpr[0] = u64::MAX);
    machine.pte(DATA + 0x1000, |_| 0);
    assert_eq!(fault_code(&mut machine, DATA + 0x1000), 2);
    assert_eq!(machine.bus.get32(DATA + 0xffc), 0);
}

#[test]
fn an_access_across_pages_that_lie_apart_takes_bytes_from_both() {
    let mut machine = Machine::long().code(CODE, |a| {
        a.mov(rax, qword_ptr(DATA + 0xffd)).unwrap();
        a.mov(qword_ptr(DATA + 0xffe), rax).unwrap();
        a.hlt().unwrap();
    });
    machine.pte(DATA + 0x1000, |_| DATA + 0x5003);
    machine.bus.put(DATA + 0xffd, &[1, 2, 3]);
    machine.bus.put(DATA + 0x5000, &[4, 5, 6, 7, 8]);
    machine.run();
    assert_eq!(machine.cpu.state.gpr[0], 0x0807_0605_0403_0201);
    assert_eq!(machine.bus.get::<2>(DATA + 0xffe), [1, 2]);
    assert_eq!(machine.bus.get::<6>(DATA + 0x5000), [3, 4, 5, 6, 7, 8]);
}

#[test]
fn code_across_a_page_faults_only_if_it_needs_the_second_page() {
    let start = CODE + 0xffe;
    let mut machine = Machine::long().set(|state| state.rip = start);
    machine.bus.put(start, &[0x90, 0xf4]);
    machine.pte(CODE + 0x1000, |_| 0);
    machine.run();
    assert_eq!(machine.cpu.state.rip, start + 2);

    let mut machine = Machine::long().set(|state| state.rip = start);
    machine.bus.put(start, &[0x48, 0x89]);
    machine.pte(CODE + 0x1000, |_| 0);
    assert_eq!(fault_code(&mut machine, CODE + 0x1000), 0x10);
    assert_eq!(machine.stack(1), start);
}

#[test]
fn large_pages_of_2_mib_and_1_gib_translate() {
    let mut machine = Machine::long().code(CODE, |a| {
        a.mov(rax, qword_ptr(0x20_0010)).unwrap();
        a.mov(rdx, 0x4020_0010_u64).unwrap();
        a.mov(rbx, qword_ptr(rdx)).unwrap();
        a.hlt().unwrap();
    });
    machine.bus.put64(TABLES + 0x2008, 0x20_0083);
    machine.bus.put64(TABLES + 0x1008, 0x83);
    machine.bus.put64(0x20_0010, 77);
    machine.run();
    assert_eq!([machine.cpu.state.gpr[0], machine.cpu.state.gpr[3]], [77, 77]);
    assert_eq!(machine.bus.get64(TABLES + 0x1008) & 0x60, 0x20);
}

#[test]
fn legacy_and_pae_paging_translate() {
    for pae in [false, true] {
        let mut machine = Machine::protected().code(CODE, |a| {
            a.mov(eax, dword_ptr(DATA)).unwrap();
            a.mov(dword_ptr(DATA + 4), eax).unwrap();
            a.hlt().unwrap();
        });
        if pae {
            machine.bus.put64(TABLES, (TABLES + 0x1000) | 1);
            machine.bus.put64(TABLES + 0x1000, 0x83);
        } else {
            machine.bus.put64(TABLES, 0x83);
        }
        machine.bus.put64(DATA, 99);
        let mut machine = machine.set(|state| {
            state.cr0 |= 1 << 31;
            state.cr3 = TABLES;
            state.cr4 = if pae { cr4::PAE } else { cr4::PSE };
        });
        machine.run();
        assert_eq!(machine.bus.get32(DATA + 4), 99, "PAE: {pae}");
        let entry = machine.bus.get64(if pae { TABLES + 0x1000 } else { TABLES });
        assert_eq!(entry & 0x60, 0x60);
    }
}

#[test]
fn an_address_that_is_not_canonical_raises_gp_or_ss_by_segment() {
    let mut machine = Machine::long()
        .code(CODE, |a| a.mov(rax, qword_ptr(rbx)).unwrap())
        .set(|state| state.gpr[3] = 1 << 47);
    assert_eq!(machine.run().caught(), 13);
    let mut machine = Machine::long()
        .code(CODE, |a| a.mov(rax, qword_ptr(rbp)).unwrap())
        .set(|state| state.gpr[5] = 1 << 47);
    assert_eq!(machine.run().caught(), 12);
}

#[test]
fn code_that_changes_the_next_instruction_runs_the_new_one() {
    let mut machine = Machine::long().code(CODE, |a| {
        let mut again = a.create_label();
        let mut patched = a.create_label();
        a.mov(ecx, 2).unwrap();
        a.set_label(&mut again).unwrap();
        a.lea(rdi, qword_ptr(patched)).unwrap();
        a.set_label(&mut patched).unwrap();
        a.mov(al, 1).unwrap();
        a.add(bl, al).unwrap();
        a.mov(byte_ptr(rdi + 1), 16).unwrap();
        a.dec(ecx).unwrap();
        a.jne(again).unwrap();
        a.hlt().unwrap();
    });
    machine.run();
    assert_eq!(machine.cpu.state.gpr[3], 17);
}
