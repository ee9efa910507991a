//! The documentation has the keys of the table.

#[test]
fn docs_tui_md_has_the_keys_of_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/tui.md");
    let text = std::fs::read_to_string(path).expect("docs/tui.md");
    let begin = text.find("## Keys\n\n").expect("a chapter of keys") + "## Keys\n\n".len();
    let end = text[begin..].find("\n## ").map_or(text.len(), |end| begin + end + 1);
    let keys = tui::keys::markdown();
    assert!(
        text[begin..end].trim() == keys.trim(),
        "the keys in docs/tui.md are not those of the table, which are:\n\n{keys}"
    );
}
