//! What is taken for granted of KVM, tried on the KVM of this host: traps and what they tell, dirty bits, tables that change.

use replayvm_cpu::{CpuState, cr0, cr4, efer};

use super::pool::Pool;
use super::tables::{Rights, Tables};
use super::vcpu::{Trap, Vcpu};
use crate::engine::hypervisor::open;
use crate::machine::GuestRam;

const CODE: u64 = 0x40_0000;
const DATA: u64 = 0x7f12_3456_7000;
const PAGES: u64 = 1500;
const RAM: u64 = 16 << 20;
/// Data begins there in RAM.
const DATA_IN_RAM: u64 = 1 << 20;

/// MOV [RDI], RCX; ADD RDI, 0x1000; DEC RCX; JNZ back; UD2.
const STORES: [u8; 17] =
    [0x48, 0x89, 0x0f, 0x48, 0x81, 0xc7, 0, 0x10, 0, 0, 0x48, 0xff, 0xc9, 0x75, 0xf1, 0x0f, 0x0b];
/// The same with MOV RAX, [RDI].
const LOADS: [u8; 17] =
    [0x48, 0x8b, 0x07, 0x48, 0x81, 0xc7, 0, 0x10, 0, 0, 0x48, 0xff, 0xc9, 0x75, 0xf1, 0x0f, 0x0b];

struct Bench {
    ram: GuestRam,
    pool: Pool,
    vcpu: Vcpu,
    tables: Tables,
    state: CpuState,
}

impl Bench {
    /// `None`, and said so, where there is no KVM.
    fn new() -> Option<Self> {
        let kvm = match open() {
            Ok(kvm) => kvm,
            Err(why) => {
                eprintln!("SKIPPED: {why}");
                assert!(std::env::var_os("CI").is_none(), "{why}");
                return None;
            }
        };
        let mut ram = GuestRam::new(RAM).unwrap();
        let mut pool = Pool::new().unwrap();
        let vcpu = Vcpu::new(&kvm, &ram, &mut pool).unwrap();
        let mut tables = Tables::new(&mut pool).unwrap();
        vcpu.map_gates(&mut pool, &mut tables).unwrap();
        ram.write_slice(0x1000, &STORES).unwrap();
        ram.write_slice(0x2000, &LOADS).unwrap();
        tables.map(&mut pool, CODE, 0x1000, Rights::Execute).unwrap();
        tables.map(&mut pool, CODE + 0x1000, 0x2000, Rights::Execute).unwrap();
        let mut state = CpuState::power_on();
        state.cr0 = cr0::PE | cr0::PG;
        state.cr4 = cr4::PAE;
        state.efer = efer::LMA | efer::LME;
        let mut bench = Self { ram, pool, vcpu, tables, state };
        for page in 0..PAGES {
            bench.map(page, Rights::Write);
        }
        Some(bench)
    }

    fn map(&mut self, page: u64, rights: Rights) {
        self.tables.map(&mut self.pool, DATA + page * 4096, DATA_IN_RAM + page * 4096, rights).unwrap();
    }

    /// Touches `count` pages from `first` on.
    fn touch(&mut self, code: u64, first: u64, count: u64) -> Trap {
        self.state.gpr[1] = count;
        self.state.gpr[7] = DATA + first * 4096;
        self.vcpu.load(&self.state, code, self.tables.root()).unwrap();
        self.vcpu.run(&self.pool).unwrap()
    }

    fn store(&mut self, first: u64, count: u64) -> Trap {
        self.touch(CODE, first, count)
    }

    fn load(&mut self, first: u64, count: u64) -> Trap {
        self.touch(CODE + 0x1000, first, count)
    }

    /// Which pages of data have been written.
    fn written(&mut self) -> Vec<u64> {
        let mut pages = Vec::new();
        self.tables.take_written(&mut self.pool, RAM, &mut pages);
        self.vcpu.vm.write_protect(RAM).unwrap();
        self.tables.renew_root(&mut self.pool).unwrap();
        pages.iter_mut().for_each(|gpa| *gpa = (*gpa - DATA_IN_RAM) / 4096);
        pages.sort_unstable();
        pages
    }
}

fn is_page_fault(trap: &Trap, page: u64, error_code: u32) -> bool {
    trap.vector == 14 && trap.address == DATA + page * 4096 && trap.error_code == error_code
}

#[test]
fn a_trap_tells_all_of_the_state() {
    let Some(mut bench) = Bench::new() else { return };
    for register in 0..16 {
        bench.state.gpr[register] = 0x1111_0000_2222_0000 + register as u64;
    }
    bench.state.rflags = 0x8d7 | 0x400;
    bench.state.xmm[3] = 0x0123_4567_89ab_cdef_u128;
    bench.state.mxcsr = 0x1fa0;
    let trap = bench.store(0, 3);
    assert_eq!((trap.vector, trap.rip), (6, CODE + 15));
    assert_eq!(trap.gpr[1], 0);
    assert_eq!(trap.gpr[7], DATA + 3 * 4096);
    for register in [0, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15] {
        assert_eq!(trap.gpr[register], bench.state.gpr[register], "{register}");
    }
    // DEC leaves CF as ADD has made it; ZF and PF of zero; DF as it was.
    assert_eq!(trap.rflags & 0xcd5, 0x444);
    assert_eq!(bench.vcpu.sse().unwrap(), (bench.state.xmm, bench.state.mxcsr));
    assert_eq!(bench.ram.load::<8>(DATA_IN_RAM + 4096), Some(2_u64.to_le_bytes()));
    // An address that is not canonical, and one of the supervisor's.
    bench.state.gpr[7] = 1 << 63;
    bench.vcpu.load(&bench.state, CODE, bench.tables.root()).unwrap();
    let trap = bench.vcpu.run(&bench.pool).unwrap();
    assert_eq!((trap.vector, trap.error_code, trap.rip), (13, 0, CODE));
    bench.state.gpr[7] = 0xffff_ffff_ffc0_1000;
    bench.vcpu.load(&bench.state, CODE, bench.tables.root()).unwrap();
    let trap = bench.vcpu.run(&bench.pool).unwrap();
    assert_eq!((trap.vector, trap.error_code & !1, trap.address), (14, 6, 0xffff_ffff_ffc0_1000));
}

#[test]
fn dirty_bits_tell_exactly_what_was_written() {
    let Some(mut bench) = Bench::new() else { return };
    assert_eq!(bench.load(0, PAGES).vector, 6);
    assert_eq!(bench.written(), [] as [u64; 0]);
    let mut random = 12345_u64;
    for round in 0..60 {
        let mut expected = std::collections::BTreeSet::new();
        for _ in 0..10 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let first = (random >> 33) % (PAGES - 40);
            let count = (random >> 20) % 40 + 1;
            if random >> 60 & 1 == 0 {
                assert_eq!(bench.store(first, count).vector, 6);
                expected.extend(first..first + count);
            } else {
                assert_eq!(bench.load(first, count).vector, 6);
            }
        }
        assert_eq!(bench.written(), Vec::from_iter(expected), "round {round}");
    }
}

#[test]
fn rights_that_are_taken_away_are_gone_and_the_dirty_bit_is_told() {
    let Some(mut bench) = Bench::new() else { return };
    assert_eq!(bench.store(0, PAGES).vector, 6);
    assert_eq!(bench.written().len(), PAGES as usize);
    for round in 0..50_u64 {
        let page = round * 29 % PAGES;
        let linear = DATA + page * 4096;
        let trap = bench.store(page, 1);
        assert_eq!(trap.vector, 6, "{round}");
        let whole = round % 2 == 0;
        let mut written = Vec::new();
        bench.tables.restrict(&mut bench.pool, &[(linear, whole)], &mut written).unwrap();
        assert_eq!(written, [DATA_IN_RAM + page * 4096]);
        let trap = bench.store(page, 1);
        assert!(is_page_fault(&trap, page, if whole { 6 } else { 7 }), "{round}: {trap:x?}");
        assert_eq!(bench.load(page, 1).vector, if whole { 14 } else { 6 });
        // The neighbour is as it was.
        assert_eq!(bench.store((page + 1) % PAGES, 1).vector, 6);
        bench.map(page, Rights::Read);
        assert_eq!(bench.load(page, 1).vector, 6);
        assert!(is_page_fault(&bench.store(page, 1), page, 7));
        bench.map(page, Rights::Write);
        assert_eq!(bench.store(page, 1).vector, 6);
        let written = bench.written();
        assert!(written.contains(&page), "{round}: {written:?}");
    }
}

#[test]
fn a_trap_goes_on_where_it_was() {
    let Some(mut bench) = Bench::new() else { return };
    let pages = [(DATA + 7 * 4096, true), (DATA + 900 * 4096, true)];
    bench.tables.restrict(&mut bench.pool, &pages, &mut Vec::new()).unwrap();
    let mut trap = bench.store(0, PAGES);
    for page in [7, 900] {
        assert!(is_page_fault(&trap, page, 6), "{trap:x?}");
        bench.map(page, Rights::Write);
        bench.vcpu.load_again(&trap, bench.tables.root()).unwrap();
        trap = bench.vcpu.run(&bench.pool).unwrap();
    }
    assert_eq!((trap.vector, trap.gpr[1]), (6, 0));
    assert_eq!(bench.written(), Vec::from_iter(0..PAGES));
}

#[test]
fn tables_that_kvm_has_forgotten_are_used_again() {
    let Some(mut bench) = Bench::new() else { return };
    assert_eq!(bench.store(0, PAGES).vector, 6);
    bench.vcpu.forget_tables(&mut bench.pool).unwrap();
    bench.tables = Tables::new(&mut bench.pool).unwrap();
    bench.vcpu.map_gates(&mut bench.pool, &mut bench.tables).unwrap();
    bench.tables.map(&mut bench.pool, CODE, 0x1000, Rights::Execute).unwrap();
    assert!(is_page_fault(&bench.store(3, 1), 3, 6));
    bench.map(3, Rights::Write);
    assert!(is_page_fault(&bench.store(3, 2), 4, 6));
    assert_eq!(bench.written(), [3]);
}

#[test]
fn no_written_page_is_lost_where_the_pool_does_not_suffice() {
    let Some(mut bench) = Bench::new() else { return };
    let mut all = 0;
    while bench.pool.page().is_ok() {
        all += 1;
    }
    let mut failed = 0;
    for left in 0..8 {
        let Some(mut bench) = Bench::new() else { return };
        assert_eq!(bench.store(5, 1).vector, 6);
        assert_eq!(bench.store(1400, 1).vector, 6);
        for _ in 0..all - left {
            bench.pool.page().unwrap();
        }
        let pages = [(DATA + 5 * 4096, true), (DATA + 1400 * 4096, true)];
        let mut written = Vec::new();
        failed += usize::from(bench.tables.restrict(&mut bench.pool, &pages, &mut written).is_err());
        bench.tables.take_written(&mut bench.pool, RAM, &mut written);
        written.sort_unstable();
        assert_eq!(written, [5, 1400].map(|page| DATA_IN_RAM + page * 4096), "{left} pages left");
    }
    assert!((1..8).contains(&failed), "{failed} of 8 failed");
}
