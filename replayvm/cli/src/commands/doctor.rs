//! `replayvm doctor`: what this host can do, and why.

use replayvm::engine::doctor::doctor;
use serde::Serialize;

use crate::args::Doctor;
use crate::failure::{FINE, Failure};
use crate::output;

#[derive(Debug, Serialize)]
struct Report {
    cpu_vendor: String,
    cpu_family: u32,
    flags_profile: &'static str,
    flags_match: bool,
    kvm: Option<Kvm>,
    kvm_problem: Option<String>,
    branch_counter: String,
    engines: Vec<Engine>,
}

#[derive(Debug, Serialize)]
struct Kvm {
    api_version: i32,
    module: &'static str,
    guest_debug: bool,
    sync_regs: bool,
    stepping: Vec<Stepping>,
}

#[derive(Debug, Serialize)]
struct Stepping {
    mode: &'static str,
    by: &'static str,
    ns_per_step: Option<u64>,
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct Engine {
    name: &'static str,
    usable: bool,
    problem: Option<String>,
    note: String,
}

/// `replayvm doctor`
pub fn run(arguments: &Doctor) -> Result<u8, Failure> {
    let report = gather();
    if arguments.json {
        output::json(&report)?;
        return Ok(FINE);
    }
    println!("processor  {} family {:#x}", report.cpu_vendor, report.cpu_family);
    println!(
        "flags      profile `{}`: {}",
        report.flags_profile,
        if report.flags_match {
            "this processor leaves undefined flags as the profile does"
        } else {
            "this processor may leave undefined flags otherwise; what depends on them runs on the software CPU"
        }
    );
    match (&report.kvm, &report.kvm_problem) {
        (Some(kvm), _) => {
            println!(
                "kvm        {} (API {}), guest debug {}, synchronised registers {}",
                kvm.module,
                kvm.api_version,
                yes(kvm.guest_debug),
                yes(kvm.sync_regs)
            );
            for stepping in &kvm.stepping {
                let result = match (stepping.ns_per_step, &stepping.problem) {
                    (Some(ns), _) => format!("{ns} ns a step"),
                    (None, Some(problem)) => problem.clone(),
                    (None, None) => String::new(),
                };
                println!("  stepping {} by {}: {result}", stepping.mode, stepping.by);
            }
        }
        (None, problem) => println!("kvm        not usable: {}", problem.as_deref().unwrap_or("unknown")),
    }
    println!("branches   counter {}", report.branch_counter);
    for engine in &report.engines {
        match &engine.problem {
            None => println!("engine     {:<9} usable: {}", engine.name, engine.note),
            Some(problem) => println!("engine     {:<9} not usable: {problem}", engine.name),
        }
    }
    Ok(FINE)
}

const fn yes(what: bool) -> &'static str {
    if what { "yes" } else { "no" }
}

fn gather() -> Report {
    let found = doctor();
    let (kvm, kvm_problem) = match found.host.kvm {
        Ok(kvm) => (
            Some(Kvm {
                api_version: kvm.api_version,
                module: kvm.module,
                guest_debug: kvm.guest_debug,
                sync_regs: kvm.sync_regs,
                stepping: kvm
                    .stepping
                    .into_iter()
                    .map(|stepping| Stepping {
                        mode: stepping.mode,
                        by: stepping.by,
                        ns_per_step: stepping.ns_per_step.as_ref().ok().copied(),
                        problem: stepping.ns_per_step.err(),
                    })
                    .collect(),
            }),
            None,
        ),
        Err(problem) => (None, Some(problem)),
    };
    Report {
        cpu_vendor: found.host.cpu_vendor,
        cpu_family: found.host.cpu_family,
        flags_profile: found.host.flags_profile,
        flags_match: found.host.flags_match,
        kvm,
        kvm_problem,
        branch_counter: found.branch_counter.to_string(),
        engines: found
            .engines
            .into_iter()
            .map(|engine| Engine {
                name: engine.name,
                usable: engine.problem.is_none(),
                problem: engine.problem,
                note: engine.note,
            })
            .collect(),
    }
}
