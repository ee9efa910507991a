//! Names for addresses, as the command gives them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use replayvm_tests::{folder, info, path_text, record, replayvm};

#[test]
fn a_guest_s_own_image_names_where_it_was() {
    let folder = folder();
    let file = folder.path().join("run.rvm");
    record("lost-update", &file, &["--limit", "100000"]).exits(0);
    let end = &info(&file)["end"];
    assert!(end["rip"].as_str().unwrap().starts_with("0x"), "{end}");
    assert!(end["place"].as_str().unwrap().contains("+0x"), "{end}");

    // Every exit is made by an instruction of the guest, at the address that a replay to it finds.
    let list = |options: &[&str]| {
        let arguments = [&["exits", path_text(&file), "--list", "--json"], options].concat();
        replayvm(arguments).run().exits(0).json()
    };
    let (plain, placed) = (list(&[]), list(&["--where"]));
    let (plain, placed) = (plain.as_array().unwrap(), placed.as_array().unwrap());
    assert_eq!(plain.len(), placed.len());
    assert!(plain.len() > 20);
    for (plain, placed) in plain.iter().zip(placed) {
        assert_eq!(plain["position"], placed["position"]);
        assert_eq!(plain["exit"], placed["exit"]);
        assert!(plain["rip"].is_null());
        assert!(placed["place"].as_str().is_some_and(|place| place.contains("+0x")), "{placed}");
    }
    let write = placed.iter().find(|row| row["exit"].as_str().unwrap().starts_with("port-write")).unwrap();
    assert!(
        write["place"].as_str().unwrap().contains("cpu.rs:"),
        "an OUT is in the kit's function for it: {write}"
    );
    let there =
        replayvm(["replay", path_text(&file), "--to", write["position"].as_str().unwrap()]).run().exits(0);
    assert!(
        there.stdout.contains(&format!(
            "at {} {}",
            write["rip"].as_str().unwrap(),
            write["place"].as_str().unwrap()
        )),
        "{there}"
    );

    // From the middle on it is the same.
    let from = placed[placed.len() / 2]["position"].as_str().unwrap();
    let rest = list(&["--where", "--from", from]);
    assert_eq!(rest.as_array().unwrap().last(), placed.last());

    let find = |what: &str| replayvm(["symbols", path_text(&file), "--find", what]).run();
    let count = find("lost_update::count").exits(0).stdout;
    let (address, _) = count.split_once(' ').unwrap();
    assert!(find(address).exits(0).stdout.starts_with(&format!("{address} lost_update::count+0x0")));
    find("no_such_symbol").exits(1);
    find("0xzz").refused(&["neither an address nor a name"]);
}

#[test]
fn symbols_that_are_given_must_be_some() {
    let folder = folder();
    let file = folder.path().join("run.rvm");
    record("lost-update", &file, &["--limit", "1000"]).exits(0);
    let given = |symbols: &str| replayvm(["info", path_text(&file), "--symbols", symbols]).run();
    given("/no/such/file").refused(&["cannot read /no/such/file"]);
    given(path_text(&file)).refused(&["has no symbols", "System.map"]);
    let map = folder.path().join("System.map");
    std::fs::write(&map, "0000000000000000 A nothing\n0000000000100000 T everything\n").unwrap();
    let shown = given(path_text(&map)).exits(0);
    assert!(shown.stdout.contains("everything+0x"), "{shown}");
}
