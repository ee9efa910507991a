//! The guest's report: what it said on its serial port, held against what it was to run.

use std::collections::BTreeMap;

/// Before the name of a vendor module of KVM that is loaded.
pub const MODULE: &str = "@module ";
/// Before the name of a test that begins.
pub const TEST: &str = "@test ";
/// Before the status with which it ended.
pub const ENDED: &str = "@ended ";
/// After the last test.
pub const ENTIRE: &str = "@entire";

/// The only module that makes the report one on stock KVM.
const STOCK: &str = "kvm_amd";
/// What the test harness says of one test that ran and passed.
const PASSED: &str = "test result: ok. 1 passed; 0 failed; 0 ignored; ";
/// What none may say: it has not run as it should, or has found something.
const BAD: &[&str] = &["SKIPPED", "DIFFERS", "panicked at"];

/// Everything that is wrong with the report.
pub fn problems(said: &str, expected: &[String]) -> Vec<String> {
    let mut problems = Vec::new();
    let modules: Vec<_> = said.lines().filter_map(|line| line.strip_prefix(MODULE)).collect();
    if modules != [STOCK] {
        problems.push(format!("modules of KVM: {modules:?} instead of {STOCK}"));
    }
    let mut ran: BTreeMap<&str, u32> = BTreeMap::new();
    for section in said.split(TEST).skip(1) {
        let (name, lines) = section.split_once('\n').unwrap_or((section, ""));
        *ran.entry(name).or_default() += 1;
        match lines.lines().find_map(|line| line.strip_prefix(ENDED)) {
            Some("0") if lines.lines().any(|line| line.starts_with(PASSED)) => {}
            Some("0") => problems.push(format!("{name}: ended well and does not say that it passed")),
            Some("137") => problems.push(format!("{name}: took too long, or was killed")),
            Some(status) => problems.push(format!("{name}: failed with status {status}")),
            None => problems.push(format!("{name}: did not end")),
        }
        let bad = lines.lines().filter(|line| BAD.iter().any(|bad| line.contains(bad)));
        problems.extend(bad.map(|line| format!("{name}: {line}")));
    }
    for name in expected {
        if ran.remove(name.as_str()) != Some(1) {
            problems.push(format!("{name}: did not run once"));
        }
    }
    problems.extend(ran.into_keys().map(|name| format!("{name}: not a test of the suite")));
    if said.lines().next_back() != Some(ENTIRE) {
        problems.push("the report does not come to its end".to_owned());
    }
    problems
}

fn expected() -> Vec<String> {
    vec!["one".to_owned(), "two".to_owned()]
}

const GOOD: &str = "\
@module kvm_amd
@test one

running 1 test
test one ... step: 7 steps
ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.31s

@ended 0
@test two

running 1 test
test two ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.31s

@ended 0
@entire
";

#[test]
fn a_report_in_which_all_pass_has_no_problems() {
    assert_eq!(problems(GOOD, &expected()), Vec::<String>::new());
}

#[test]
fn whatever_is_missing_or_failed_or_skipped_is_a_problem() {
    let problem_of = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        problems(&GOOD.replacen(from, to, 1), &expected()).join("; ")
    };
    for (from, to, problem) in [
        ("@module kvm_amd", "@module kvm_intel", "modules of KVM: [\"kvm_intel\"] instead of kvm_amd"),
        ("@module kvm_amd\n", "", "modules of KVM: [] instead of kvm_amd"),
        ("@ended 0", "@ended 101", "one: failed with status 101"),
        ("@ended 0", "@ended 137", "one: took too long, or was killed"),
        ("@ended 0\n", "", "one: did not end"),
        ("1 passed", "0 passed", "one: ended well and does not say that it passed"),
        ("0 ignored", "1 ignored", "one: ended well and does not say that it passed"),
        (
            "step: 7 steps",
            "SKIPPED on engine `step`: none",
            "one: test one ... SKIPPED on engine `step`: none",
        ),
        ("step: 7 steps", "DIFFERS mov", "one: test one ... DIFFERS mov"),
        ("@test one", "@test three", "one: did not run once; three: not a test of the suite"),
        ("@test one", "@test two", "one: did not run once; two: did not run once"),
        ("@entire\n", "", "the report does not come to its end"),
    ] {
        assert_eq!(problem_of(from, to), problem);
    }
    let cut = GOOD.find("@test two").expect("it is in there");
    assert_eq!(
        problems(&GOOD[..cut], &expected()),
        ["two: did not run once", "the report does not come to its end"]
    );
}
