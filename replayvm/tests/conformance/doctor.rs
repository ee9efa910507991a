//! What the host offers.

use replayvm::engine::{ENGINE_NAMES, by_name, doctor};

#[test]
fn doctor_says_of_every_engine_whether_it_can_be_had() {
    let report = doctor();
    eprintln!("{report:#?}");
    let machine = super::guest::real(|_| {});
    assert_eq!(report.engines.iter().map(|engine| engine.name).collect::<Vec<_>>(), ENGINE_NAMES);
    for engine in &report.engines {
        let got = by_name(engine.name, &machine);
        assert_eq!(got.is_ok(), engine.problem.is_none(), "{}: {:?}", engine.name, engine.problem);
    }
}
