//! Pages of the records in `ci/fixtures`: damage of every kind, and text that would like to be more than text.

use super::page;
use crate::{
    document::Document,
    layer::Layer,
    records,
    report::{Check, Outcome, Verdict},
};
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn fixture() -> Document {
    let root = Path::new(ROOT);
    let read = records::read(&[root.join("ci/fixtures/records")]);
    assert_eq!((read.files, read.problems.as_slice()), (6, [].as_slice()));
    let mut layer = Outcome::without_run(Layer::Unit, Verdict::Fail, "<i>a::b</i>".to_owned());
    layer.checks.push(Check {
        name: "<u>a::b".to_owned(),
        cases: 0,
        deaths: 0,
        violations: 1,
        seconds: 0.5,
        verdict: Verdict::Fail,
        detail: "<u onclick='x'>said".to_owned(),
    });
    (layer.repeat, layer.log) = ("cargo test '<u>'".to_owned(), "target/<u>.log".to_owned());
    Document::new(vec![layer], read.records, vec!["<u>a problem".to_owned()], Some(root.to_owned()))
}

/// What stands between `<` and `>` outside of the style.
fn tags(page: &str) -> Vec<&str> {
    let (head, rest) = page.split_once("<style>").expect("a style");
    let (_, body) = rest.split_once("</style>").expect("its end");
    let all = head.split('<').skip(1).chain(body.split('<').skip(1));
    all.map(|text| text.split_once('>').expect("a tag ends").0).collect()
}

#[test]
fn text_of_records_and_logs_stays_text() {
    let page = page(&fixture());
    const KNOWN: &[&str] = &[
        "!DOCTYPE",
        "html",
        "head",
        "meta",
        "title",
        "body",
        "header",
        "main",
        "section",
        "footer",
        "nav",
        "div",
        "p",
        "span",
        "strong",
        "code",
        "pre",
        "h1",
        "h2",
        "h3",
        "ul",
        "li",
        "a",
        "dl",
        "dt",
        "dd",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "details",
        "summary",
        "article",
        "figure",
        "figcaption",
        "svg",
        "desc",
        "line",
        "text",
        "rect",
        "path",
    ];
    for tag in tags(&page) {
        let name = tag.trim_start_matches('/').split([' ', '>']).next().unwrap_or_default();
        assert!(KNOWN.contains(&name), "<{tag}>");
        // Attributes: none that runs anything, none that leads anywhere but to a part of this page.
        for attribute in tag.split('"').step_by(2).map(|text| text.trim().trim_end_matches('=')) {
            assert!(!attribute.contains(" on") && !attribute.starts_with("on"), "<{tag}>");
            assert!(!attribute.ends_with("src") && !attribute.contains("javascript:"), "<{tag}>");
        }
        assert!(!tag.contains("href=") || tag.contains("href=\"#"), "<{tag}>");
    }
    assert!(page.contains("&lt;script&gt;document.title="), "the text itself is shown");
    assert!(!page.contains(['\u{202e}', '\u{7}', '\u{1b}']));
}

#[test]
fn every_finding_is_there_with_its_command_and_its_file() {
    let (document, escaped) = (fixture(), |text: &str| maud::html! { (text) }.into_string());
    let page = page(&document);
    let kinds: Vec<String> = document.found().iter().map(|found| found.kind.clone()).collect();
    for kind in ["lost", "torn", "duplicated", "stuck", "crashed", "other"] {
        assert!(kinds.iter().any(|found| found == kind), "{kind}");
    }
    for found in document.found() {
        assert!(page.contains(&format!("✘ {}</span> in {}", found.kind, escaped(&found.check))), "{}", found.check);
        for text in [found.repeat, found.artefact.unwrap_or_default()] {
            assert!(page.contains(&escaped(text)), "{text}");
        }
    }
    assert!(page.contains("<title>ownerdead: FAILED</title>"));
}

#[test]
fn the_kill_map_has_the_source_of_the_checkout_and_of_nothing_else() {
    let page = page(&fixture());
    let line = std::fs::read_to_string(Path::new(ROOT).join("src/ring/record.rs")).expect("a source");
    let line = line.lines().nth(63).expect("a line").to_owned();
    assert!(page.contains(&maud::html! { code { (line) } }.into_string()), "{line}");
    assert!(!page.contains("root:x:0"));
    assert!(page.contains("../../../etc/passwd"), "it is told of, and not read");
}

#[test]
fn the_same_records_make_the_same_bytes() {
    assert_eq!(page(&fixture()), page(&fixture()));
}

#[test]
fn a_page_of_nothing_is_no_pass() {
    let page = page(&Document::new(Vec::new(), Vec::new(), Vec::new(), None));
    assert!(page.contains("<title>ownerdead: not run</title>") && !page.contains("passed"));
}
