//! The engines on a stock KVM, whatever this host has: the conformance suite of the engines runs in a Linux guest of QEMU, on
//! the kernel's own kvm_amd, over a processor with SVM that QEMU emulates. What the guest says on its serial port is the report.
//!
//! ```text
//! cargo test -p replayvm-tests --test stock-kvm -- --nocapture
//! ```
//!
//! `docs/kvm.md` tells what has been seen there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

/// Packing the guest and running it.
mod guest;
/// What the guest must have said.
mod report;

/// The engines that must be there in the guest: none of their tests may be skipped.
const ENGINES: &[&str] = &["step", "lockstep", "kvm"];

/// Tests of the suite that do not run in the guest, and why.
const LEFT_OUT: &[(&str, &str)] = &[(
    "entry::no_rule_is_broken_by_a_state_that_firmware_and_linux_go_through",
    "boots firmware and a kernel, which are not in the guest, on the software CPU; KVM has no part in it",
)];

#[test]
fn the_conformance_suite_passes_on_stock_kvm() {
    let Some(suite) = guest::suite() else { return };
    let said = guest::run(&suite);
    println!("{said}");
    let problems = report::problems(&said, &suite.tests);
    assert!(problems.is_empty(), "on stock KVM:\n{}\n--- the guest:\n{said}", problems.join("\n"));
    for (test, reason) in LEFT_OUT {
        println!("left out: {test}: {reason}");
    }
    println!("{} tests passed on stock KVM, engines {}", suite.tests.len(), ENGINES.join(", "));
}
