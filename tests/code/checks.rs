//! The facts.

use crate::stage::Steps;
use ownerdead::harness::kill::Place;
use ownerdead::harness::kill::code::{Address, Code, Coverage, Functions, Modules, Reason, Reasons, Unreached};
use std::collections::BTreeSet;
use std::path::Path;

pub const ALL: &[(&str, fn())] = &[
    ("every_instruction_that_is_executed_is_decoded", every_instruction_that_is_executed_is_decoded),
    ("a_function_that_is_executed_whole_is_covered_whole", a_function_that_is_executed_whole_is_covered_whole),
    ("an_address_in_an_instruction_is_told", an_address_in_an_instruction_is_told),
    ("every_instruction_of_ours_has_a_line", every_instruction_of_ours_has_a_line),
    ("a_failed_assertion_is_a_panic_path", a_failed_assertion_is_a_panic_path),
    ("what_a_panic_path_alone_calls_is_on_it", what_a_panic_path_alone_calls_is_on_it),
    ("a_branch_not_taken_needs_a_reason", a_branch_not_taken_needs_a_reason),
    ("a_region_behind_an_explained_branch_is_explained_whole", a_region_behind_an_explained_branch_is_explained_whole),
    ("what_another_branch_goes_to_is_not_explained", what_another_branch_goes_to_is_not_explained),
    ("a_region_is_told_with_the_branch_that_goes_there", a_region_is_told_with_the_branch_that_goes_there),
    ("a_reason_that_fits_nothing_is_told", a_reason_that_fits_nothing_is_told),
    ("an_inlined_function_has_its_own_file_and_line", an_inlined_function_has_its_own_file_and_line),
    ("a_table_of_jumps_is_no_code_and_its_targets_are", a_table_of_jumps_is_no_code_and_its_targets_are),
    ("what_is_called_by_a_jump_or_a_pointer_is_followed", what_is_called_by_a_jump_or_a_pointer_is_followed),
    ("what_gives_up_a_guard_after_a_panic_is_unwinding", what_gives_up_a_guard_after_a_panic_is_unwinding),
    ("what_nothing_goes_to_is_told_from_data_and_padding", what_nothing_goes_to_is_told_from_data_and_padding),
    ("what_ends_the_process_is_no_way_back", what_ends_the_process_is_no_way_back),
    ("deaths_are_counted_by_line_of_source", deaths_are_counted_by_line_of_source),
    ("the_kernels_own_code_has_a_name", the_kernels_own_code_has_a_name),
];

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn ours(file: &Path) -> bool {
    file.starts_with("tests/code")
}

struct Case {
    steps: Steps,
    code: Code,
    functions: Functions,
}

impl Case {
    fn of(name: &str) -> Self {
        let (steps, code) = (Steps::of(name), Code::new(checkout()));
        let functions = code.closure([&steps.root], ours).unwrap();
        Self { steps, code, functions }
    }

    fn coverage(&self, reasons: &str) -> Coverage {
        let reasons = Reasons::parse(checkout(), Path::new("reasons"), reasons).unwrap();
        self.functions.coverage(&self.steps.executed, &reasons).unwrap()
    }

    /// Addresses of the closure whose line of source contains `text`.
    fn at_line(&self, file: &str, text: &str) -> BTreeSet<Address> {
        let source = std::fs::read_to_string(checkout().join(file)).unwrap();
        let line = 1 + source.lines().position(|line| line.contains(text)).expect("a line with the text") as u32;
        let is_there = |instruction: &&ownerdead::harness::kill::code::Instruction| {
            let source = instruction.source.as_ref();
            source.is_some_and(|source| source.line == line && *source.file == *Path::new(file))
        };
        let there = self.functions.instructions.iter().filter(|(_, instruction)| is_there(instruction));
        there.map(|(address, _)| address.clone()).collect()
    }

    fn names(&self, function: &str) -> bool {
        self.functions.inside.iter().any(|name| name.ends_with(function))
    }
}

const KNOWN: &str = "tests/code/known.rs";

fn every_instruction_that_is_executed_is_decoded() {
    for case in crate::known::ALL {
        let case = Case::of(case.name);
        assert!(case.functions.instructions.contains_key(&case.steps.root));
        let coverage = case.coverage("");
        assert_eq!(coverage.undecoded, []);
        assert_eq!(coverage.disproved, []);
        assert!(coverage.covered > 0);
    }
}

fn a_function_that_is_executed_whole_is_covered_whole() {
    let case = Case::of("straight");
    let coverage = case.coverage("");
    let expected: BTreeSet<_> = case.functions.instructions.keys().cloned().collect();
    let executed: BTreeSet<_> = case.steps.executed.intersection(&expected).cloned().collect();
    let padding = |address: &&Address| case.functions.instructions[*address].padding;
    assert!(expected.difference(&executed).all(|address| padding(&address)), "{:?}", coverage.uncovered);
    assert_eq!((coverage.covered, coverage.unexplained()), (coverage.total, 0));
    assert!(coverage.passed());
}

fn an_address_in_an_instruction_is_told() {
    let mut case = Case::of("straight");
    let root = case.steps.root.clone();
    let longer = (1..16).map(|more| Address::new(root.module().clone(), root.offset() + more));
    let inside = longer.clone().find(|address| !case.functions.instructions.contains_key(address)).unwrap();
    case.steps.executed.insert(inside.clone());
    let coverage = case.coverage("");
    assert_eq!(coverage.undecoded, [inside]);
    assert!(!coverage.passed());
}

/// Those too that the compiler has added, and gives no line.
fn every_instruction_of_ours_has_a_line() {
    for name in ["straight", "branch"] {
        let case = Case::of(name);
        let mut instructions = case.functions.instructions.values();
        assert!(instructions.all(|found| found.padding || found.source.is_some()), "{:#?}", case.functions);
    }
}

fn a_failed_assertion_is_a_panic_path() {
    let coverage = Case::of("checked").coverage("");
    assert!(coverage.covered < coverage.total);
    assert_eq!(coverage.unexplained(), 0, "{:#?}", coverage.uncovered);
    let panics = Some(Reason::Proved(Unreached::Panic));
    assert!(coverage.uncovered.iter().all(|uncovered| uncovered.reason == panics), "{:#?}", coverage.uncovered);
}

fn what_a_panic_path_alone_calls_is_on_it() {
    let case = Case::of("checked");
    assert!(case.names("known::complaint"), "{:?}", case.functions.inside);
    let there = case.at_line(KNOWN, "black_box(value).rotate_right(9)");
    assert!(!there.is_empty());
    assert!(there.iter().all(|address| case.functions.instructions[address].unreached == Some(Unreached::Panic)));
}

fn a_branch_not_taken_needs_a_reason() {
    let case = Case::of("branch");
    let coverage = case.coverage("");
    let without: Vec<_> = coverage.uncovered.iter().filter(|uncovered| uncovered.reason.is_none()).collect();
    let line = 1 + std::fs::read_to_string(checkout().join(KNOWN))
        .unwrap()
        .lines()
        .position(|line| line.contains("// not taken"))
        .unwrap();
    assert!(without.iter().any(|uncovered| uncovered.source.line as usize == line), "{coverage:#?}");
    assert!(without.iter().all(|uncovered| uncovered.source.function.ends_with("known::branch")), "{coverage:#?}");
    assert!(!coverage.passed());
    let coverage = case.coverage("tests/code/known.rs\tno line\tit does not fit\n");
    assert!(coverage.unexplained() > 0 && coverage.unused.len() == 1, "{coverage:#?}");
    let coverage = case.coverage("tests/code/known.rs\tblack_box(value)\tno input is as large\n");
    assert_eq!(coverage.unexplained(), 0, "{coverage:#?}");
    assert!(coverage.passed());
}

/// In a debug build the compiler jumps where it need not, from what is behind a branch to the end of its function: then less is explained
/// than could be. `cargo ownerdead check` runs them in release.
pub const OF_RELEASE: [&str; 2] =
    ["a_region_behind_an_explained_branch_is_explained_whole", "what_another_branch_goes_to_is_not_explained"];

/// A line of the file of reasons.
fn reason(contains: &str) -> String {
    format!("{KNOWN}\t{contains}\tit is {contains}\n")
}

fn without_reason(coverage: &Coverage) -> Vec<String> {
    let without = coverage.uncovered.iter().filter(|uncovered| uncovered.reason.is_none());
    without.map(|uncovered| uncovered.source.function.to_string()).collect()
}

fn a_region_behind_an_explained_branch_is_explained_whole() {
    let case = Case::of("region");
    let functions = without_reason(&case.coverage(""));
    for function in ["known::region", "known::behind"] {
        assert!(functions.iter().any(|name| name.ends_with(function)), "{functions:?}");
    }
    // By the line of the branch, and by that of the first instruction behind it.
    for contains in ["if value > 1000 {", "let sum = black_box(value) ^ 3;"] {
        let coverage = case.coverage(&reason(contains));
        assert_eq!(coverage.unexplained(), 0, "{contains}: {coverage:#?}");
        assert!(coverage.passed() && coverage.covered < coverage.total);
        let given = Some(Reason::Given(format!("it is {contains}").into()));
        let mut ours = coverage.uncovered.iter().filter(|found| found.source.function.ends_with("known::behind"));
        assert!(ours.all(|found| found.reason == given), "{coverage:#?}");
    }
    let folder = "tests/code\tlet value = black_box(value);\\n    if value > 1000 {\tit is of two lines\n";
    assert!(case.coverage(folder).passed());
    assert!(!case.coverage(&folder.replace("value);", "other);")).passed());
    let most = |most| reason("if value > 1000 {").replace("\tit is", &format!("\tat most {most}: it is"));
    let coverage = case.coverage(&most(2));
    assert!(coverage.exceeded.iter().any(|(line, count)| line.number == 1 && *count > 2), "{coverage:#?}");
    assert!(!coverage.passed() && case.coverage(&most(1000)).passed());
    // One further on is a reason for what is behind it alone.
    let further = reason("fn behind(value: u64) -> u64 {") + &reason("black_box(value).swap_bytes()");
    let functions = without_reason(&case.coverage(&further));
    assert!(functions.iter().all(|name| name.ends_with("known::region")) && !functions.is_empty(), "{functions:?}");
}

fn what_another_branch_goes_to_is_not_explained() {
    let case = Case::of("two_ways");
    let (first, second) = (reason("if value > 2000 {"), reason("else if value > 1000 {"));
    for one in [&first, &second] {
        let coverage = case.coverage(one);
        let functions = without_reason(&coverage);
        assert!(functions.iter().any(|name| name.ends_with("known::behind_both")), "{coverage:#?}");
        assert_eq!(coverage.unused, []);
        assert!(!coverage.passed());
    }
    let coverage = case.coverage(&(first.clone() + &second));
    assert!(coverage.passed(), "{coverage:#?}");
    // The text of another line, the same text in another file, and what is behind an explained branch already.
    let other = "tests/code/inlined.rs\tif value > 2000 {\tit is elsewhere\n";
    let all = [&*first, &second, &reason("no such line"), other, &reason("black_box(value).reverse_bits()")].concat();
    let coverage = case.coverage(&all);
    let unused: Vec<_> = coverage.unused.iter().map(|line| line.number).collect();
    assert_eq!((coverage.unexplained(), unused), (0, vec![3, 4, 5]));
    assert!(!coverage.passed());
}

fn a_region_is_told_with_the_branch_that_goes_there() {
    let coverage = Case::of("region").coverage("");
    let text = std::fs::read_to_string(checkout().join(KNOWN)).unwrap();
    let line = 1 + text.lines().position(|line| line.contains("if value > 1000 {")).unwrap() as u32;
    let mut without = coverage.uncovered.iter().filter(|uncovered| uncovered.reason.is_none());
    let known: std::rc::Rc<Path> = Path::new(KNOWN).into();
    assert!(
        without.all(|uncovered| uncovered.branch.as_ref().is_some_and(|branch| branch.from == [(known.clone(), line)])),
        "{coverage:#?}"
    );
}

fn a_reason_that_fits_nothing_is_told() {
    let case = Case::of("straight");
    let coverage =
        case.coverage("# a comment\n\ntests/code/known.rs\tscrambled(\tit is covered\nsrc/none.rs\tx\tit is gone\n");
    let unused: Vec<_> = coverage.unused.iter().map(|line| (line.number, &*line.reason)).collect();
    assert_eq!(unused, [(3, "it is covered"), (4, "it is gone")]);
    assert!(!coverage.passed());
    // One that not every compiler needs: the line must be there.
    let coverage =
        case.coverage("tests/code/known.rs\tscrambled(\t~ it is covered\ntests/code/known.rs\tnowhere\t~ it is gone\n");
    let unused: Vec<_> = coverage.unused.iter().map(|line| (line.number, &*line.reason)).collect();
    assert_eq!(unused, [(2, "it is gone")]);
}

fn an_inlined_function_has_its_own_file_and_line() {
    let case = Case::of("straight");
    let there = case.at_line("tests/code/inlined.rs", "wrapping_mul");
    assert!(!there.is_empty());
    for address in there {
        let source = case.functions.instructions[&address].source.clone().unwrap();
        assert!(source.function.ends_with("scrambled"), "{source:?}");
        assert!(source.operation.ends_with("known::straight"), "{source:?}");
        let frames = case.code.lookup(&address).unwrap();
        assert!(frames.last().unwrap().function.ends_with("known::straight"), "{frames:?}");
    }
}

fn a_table_of_jumps_is_no_code_and_its_targets_are() {
    let coverage = Case::of("table").coverage("");
    assert_eq!((coverage.unexplained(), coverage.covered > 30), (0, true), "{coverage:#?}");
    let case = Case::of("table_in_part");
    let arm = case.at_line(KNOWN, "// arm 3");
    assert!(!arm.is_empty() && arm.is_disjoint(&case.steps.executed));
    let coverage = case.coverage("");
    assert!(coverage.unexplained() > 0);
    assert!(coverage.uncovered.iter().all(|uncovered| uncovered.reason.is_none()), "{coverage:#?}");
}

fn what_is_called_by_a_jump_or_a_pointer_is_followed() {
    for (name, callee) in [("caller", "known::callee"), ("by_pointer", "known::pointed")] {
        let case = Case::of(name);
        assert!(case.names(callee), "{:?}", case.functions.inside);
        assert_eq!(case.coverage("").unexplained(), 0);
    }
}

fn what_gives_up_a_guard_after_a_panic_is_unwinding() {
    for name in ["guarded", "guarded_table"] {
        let case = Case::of(name);
        let coverage = case.coverage("");
        assert_eq!(coverage.unexplained(), 0, "{:#?}", coverage.uncovered);
        let unwinding = Some(Reason::Proved(Unreached::Unwinding));
        assert!(coverage.uncovered.iter().any(|found| found.reason == unwinding), "{:#?}", coverage.uncovered);
    }
}

fn what_nothing_goes_to_is_told_from_data_and_padding() {
    let case = Case::of("embedded");
    let coverage = case.coverage("");
    let nowhere = Some(Reason::Proved(Unreached::Nowhere));
    let uncovered: Vec<_> = coverage.uncovered.iter().map(|found| (&found.reason, found.instructions)).collect();
    assert_eq!(uncovered, [(&nowhere, 1)]);
    let functions = &case.functions.instructions;
    let data = Address::new(case.steps.root.module().clone(), coverage.uncovered[0].first.offset() + 4);
    assert!(!functions.contains_key(&data));
    let executed = case.steps.executed.iter().filter_map(|address| functions.get(address));
    assert_eq!(executed.filter(|instruction| instruction.padding).count(), 1);
    assert_eq!(coverage.covered + 1, coverage.total);
    assert_eq!(coverage.total as usize, functions.values().filter(|instruction| !instruction.padding).count());
}

fn what_ends_the_process_is_no_way_back() {
    let coverage = Case::of("ends").coverage("");
    assert!(coverage.covered < coverage.total);
    assert_eq!(coverage.unexplained(), 0, "{:#?}", coverage.uncovered);
}

fn deaths_are_counted_by_line_of_source() {
    let case = Case::of("straight");
    let place = Place { deaths: 2, second_deaths: 3, planted: 4, found: 1 };
    let there = case.at_line("tests/code/inlined.rs", "wrapping_mul");
    let others = Address::new(case.steps.root.module().clone(), 0);
    let places: Vec<_> = there.iter().chain([&others]).map(|address| (address, "free", &place)).collect();
    let (lines, outside) = case.code.kill_map(places, ours).unwrap();
    let count = there.len() as u64;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        lines[0].deaths,
        Place { deaths: 2 * count, second_deaths: 3 * count, planted: 4 * count, found: count }
    );
    assert_eq!((&*lines[0].outcome, lines[0].source.line), ("free", 7));
    assert_eq!(outside, place);
}

fn the_kernels_own_code_has_a_name() {
    // SAFETY: no pointers.
    let start = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    let address = Modules::of_this_process().unwrap().find(start + 0x20).unwrap();
    let frames = Code::new(checkout()).lookup(&address).unwrap();
    assert_eq!((&*frames[0].function, frames.len()), ("[vdso]+0x20", 1));
}
