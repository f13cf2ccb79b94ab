//! What the targets share: counters by which libFuzzer sees that an interleaving is new, and how a violation ends them.

const COUNTERS: usize = 1 << 13;

/// libFuzzer finds them by the name of the section, reads them after each run, and sets them to zero before the next.
#[used]
#[unsafe(link_section = "__libfuzzer_extra_counters")]
static mut SEEN: [u8; COUNTERS] = [0; COUNTERS];

/// Runs `one`, an execution, and counts what it gives; if it panics, that is a finding.
pub fn run(one: impl FnOnce() -> Vec<u32>) {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(one)) {
        Ok(numbers) => count(&numbers),
        // What happened is on standard error. libFuzzer's entry is no place to unwind from.
        Err(_) => std::process::abort(),
    }
}

/// Counts each of `numbers`, in a counter that it may share with another one.
fn count(numbers: &[u32]) {
    for &number in numbers {
        let at = number as usize % COUNTERS;
        // SAFETY: `at` is within the array, and nothing else reaches it meanwhile: a target runs on libFuzzer's one thread, which
        // reads the counters between two runs.
        unsafe {
            let counter = (&raw mut SEEN).cast::<u8>().add(at);
            counter.write(counter.read().saturating_add(1));
        }
    }
}
