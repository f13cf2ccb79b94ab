//! The README's crash contract names the checks behind each cell: they exist.
#![cfg(not(model))]

use std::path::Path;

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn table(readme: &str) -> &str {
    let section = readme.split("## What survives").nth(1).expect("the contract's section");
    section.split("\n\n").find(|part| part.contains("| structure |")).expect("the contract's table")
}

/// What the contract's cells have between backticks below their text.
fn named(readme: &str) -> Vec<&str> {
    let checks =
        table(readme).lines().skip(2).flat_map(|row| row.split('|')).filter_map(|cell| cell.split("<br>").nth(1));
    checks.flat_map(|checks| checks.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn each_check_that_the_crash_contract_names_exists() {
    let readme = read("README.md");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let files = std::fs::read_dir(folder).expect("models/").map(|entry| entry.expect("models/").path());
    let models: String = files.filter(|path| path.extension().is_some_and(|end| end == "rs")).map(read).collect();
    let chaos = read("chaos/scenarios/mod.rs");
    let names = named(&readme);
    assert!(names.len() >= 12, "the contract names {} checks", names.len());
    for name in names {
        let model = models.contains(&format!("Sweep::new(\"{name}\")"));
        let scenario = chaos.contains(&format!("(\"{name}\","));
        assert!(model || scenario, "the contract names `{name}`, which is no model and no scenario");
    }
}

#[test]
fn each_cell_of_the_crash_contract_names_a_check() {
    let readme = read("README.md");
    let table = table(&readme);
    let rows: Vec<_> = table.lines().skip(2).collect();
    assert!(rows.len() >= 3, "{table}");
    for row in rows {
        // What the table's bars enclose; a dash is where there is nothing to say.
        for cell in row.trim_matches('|').split('|').skip(1).filter(|cell| cell.trim() != "-") {
            assert!(cell.contains("<br>`"), "no check: {cell}");
        }
    }
}
