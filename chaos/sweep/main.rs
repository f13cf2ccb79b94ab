//! smoke
#[cfg(not(model))]
mod case;
#[cfg(not(model))]
mod futex;
#[cfg(not(model))]
mod mutex;
#[cfg(not(model))]
mod owner;
#[cfg(not(model))]
mod ring;
#[cfg(model)]
fn main() {}
#[cfg(not(model))]
fn main() {
    let mut all = Vec::new();
    ring::cases(&mut all);
    mutex::cases(&mut all);
    futex::cases(&mut all);
    owner::cases(&mut all);
    let only = std::env::args().nth(1).unwrap_or_default();
    let t0 = std::time::Instant::now();
    let mut sum = (0, 0, 0, 0);
    for case in all {
        if !case.name.contains(&only) {
            continue;
        }
        let t = std::time::Instant::now();
        let report = case.run().unwrap();
        sum.0 += report.instructions;
        sum.1 += report.second_instructions;
        sum.2 += report.planted;
        sum.3 += report.survivors;
        println!(
            "{:45} {:6} instr {:4} states {:7} second {:5} states {:6} survivors {:6} planted {:.2?} {}",
            report.name,
            report.instructions,
            report.states,
            report.second_instructions,
            report.second_states,
            report.survivors,
            report.planted,
            t.elapsed(),
            if report.passed() { "ok" } else { "BAD" }
        );
        for f in &report.found {
            println!("   {} x{} {:x?}", f.finding, f.deaths, f.death)
        }
        for f in report.disagreements.iter().take(4) {
            println!("   disagree {f}")
        }
        if let Some(why) = &report.incomplete {
            println!("   incomplete {why}")
        }
        if report.not_planted > 0 {
            println!("   not planted {}", report.not_planted)
        }
    }
    println!("{:?} {sum:?}", t0.elapsed());
}
