//! What each layer runs.

use crate::checkout::{Checkout, FuzzPackage};
use clap::ValueEnum;
use serde::Serialize;
use std::{
    env,
    ffi::OsString,
    fmt, fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

/// One way of checking, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// Unit tests, properties, and what only the real kernel can show.
    Unit,
    /// The models under loom: weak memory, a death at every operation.
    Loom,
    /// The models under shuttle: more processes, random schedules.
    Shuttle,
    /// A death at each machine instruction of each operation.
    Sweep,
    /// Real processes, really killed.
    Chaos,
    /// Corrupted memory and hostile peers.
    Fuzz,
}

/// One input of a fuzz target that takes longer is a hang.
const FUZZ_HANG_SECONDS: u64 = 30;

/// The test targets of the layer `unit`.
const UNIT_TARGETS: [&str; 4] = ["bad_input", "code", "os", "properties"];

impl Layer {
    /// Whether it runs the models, which tell where in the source processes died.
    pub fn is_model(self) -> bool {
        matches!(self, Layer::Loom | Layer::Shuttle)
    }

    pub const ALL: [Layer; 6] = [Layer::Unit, Layer::Loom, Layer::Shuttle, Layer::Sweep, Layer::Chaos, Layer::Fuzz];

    /// Whether the layer checks less than it says when this test target has no test.
    pub fn needs(self, target: &str) -> bool {
        match self {
            Layer::Unit => UNIT_TARGETS.contains(&target),
            Layer::Loom | Layer::Shuttle => target.starts_with("model_"),
            Layer::Sweep => target == "sweep",
            Layer::Chaos => target == "chaos",
            Layer::Fuzz => false,
        }
    }

    /// What `--quick` sets aside for a layer that comes later, on two cores.
    pub fn share(self) -> Duration {
        Duration::from_secs(match self {
            Layer::Unit => 45,
            Layer::Loom => 160,
            Layer::Shuttle => 100,
            Layer::Sweep => 120,
            Layer::Chaos => 70,
            Layer::Fuzz => 80,
        })
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Layer::Unit => "unit",
            Layer::Loom => "loom",
            Layer::Shuttle => "shuttle",
            Layer::Sweep => "sweep",
            Layer::Chaos => "chaos",
            Layer::Fuzz => "fuzz",
        })
    }
}

/// What the options come to.
#[derive(Debug)]
pub struct Settings {
    pub quick: bool,
    pub chaos_seconds: u64,
    pub fuzz_seconds: u64,
    /// Names of the fuzz targets that are run; empty: all.
    pub fuzz_targets: Vec<String>,
    pub seed: Option<u64>,
}

/// One command of a layer.
#[derive(Debug)]
pub struct Step {
    /// Which of the layer's steps it is; empty where there is one.
    pub name: String,
    program: OsString,
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
    dirs: Vec<PathBuf>,
}

impl Step {
    fn new(program: OsString, args: &[&str]) -> Step {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        Step { name: String::new(), program, args, env: Vec::new(), dirs: Vec::new() }
    }

    fn args(mut self, more: impl IntoIterator<Item = String>) -> Step {
        self.args.extend(more);
        self
    }

    fn env(mut self, name: &'static str, value: impl Into<String>) -> Step {
        self.env.push((name, value.into()));
        self
    }

    /// The command, to be run at the root.
    pub fn command(&self, checkout: &Checkout) -> Command {
        for dir in &self.dirs {
            // If it cannot be made, the command says so itself.
            let _ = fs::create_dir_all(dir);
        }
        let mut command = Command::new(&self.program);
        // `cargo run` describes our package in the environment; build scripts of others would see it.
        for (name, _) in env::vars_os() {
            let shown = name.to_string_lossy();
            if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|prefix| shown.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        command.current_dir(&checkout.root).args(&self.args).envs(self.env.iter().map(|(k, v)| (k, v)));
        command
    }

    /// The command as a person would type it at the root.
    pub fn shown(&self, checkout: &Checkout) -> String {
        let root = format!("{}/", checkout.root.display());
        let quoted = |text: &str| {
            let text = text.replace(&root, "");
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@".contains(c);
            if !text.is_empty() && text.chars().all(plain) {
                text
            } else {
                format!("'{}'", text.replace('\'', r"'\''"))
            }
        };
        let env = self.env.iter().map(|(k, v)| format!("{k}={}", quoted(v)));
        let words = env.chain(["cargo".to_owned()]).chain(self.args.iter().map(|arg| quoted(arg)));
        words.collect::<Vec<_>>().join(" ")
    }
}

/// The commands of a layer: first those that build, then those that run.
#[derive(Debug)]
pub struct Plan {
    pub build: Vec<Step>,
    pub run: Vec<Step>,
}

/// What `layer` runs here, or why it cannot.
pub fn plan(layer: Layer, checkout: &Checkout, settings: &Settings) -> Result<Plan, String> {
    match layer {
        Layer::Unit => {
            let mut targets = vec!["--lib".to_owned()];
            for name in UNIT_TARGETS {
                if checkout.tests.contains(name) {
                    targets.extend(["--test".to_owned(), name.to_owned()]);
                }
            }
            Ok(tests(checkout, settings, &targets, None))
        }
        Layer::Loom | Layer::Shuttle => {
            if !checkout.tests.iter().any(|name| name.starts_with("model_")) {
                return Err("this checkout has no target model_*".to_owned());
            }
            Ok(tests(checkout, settings, &["--tests".to_owned()], Some(layer)))
        }
        Layer::Sweep => {
            if !checkout.tests.contains("sweep") {
                return Err("this checkout has no target sweep".to_owned());
            }
            Ok(tests(checkout, settings, &["--test".to_owned(), "sweep".to_owned()], None))
        }
        Layer::Chaos => {
            if !checkout.tests.contains("chaos") {
                return Err("this checkout has no target chaos".to_owned());
            }
            let mut plan = tests(checkout, settings, &["--test".to_owned(), "chaos".to_owned()], None);
            for step in &mut plan.run {
                step.env.push(("OWNERDEAD_CHAOS_SECONDS", settings.chaos_seconds.to_string()));
            }
            Ok(plan)
        }
        Layer::Fuzz => fuzz(checkout, settings),
    }
}

fn tests(checkout: &Checkout, settings: &Settings, targets: &[String], model: Option<Layer>) -> Plan {
    let step = |more: &[&str]| {
        let mut step = Step::new(checkout.cargo.clone(), &["test", "--release"]).args(targets.iter().cloned());
        step.args.extend(more.iter().map(|&arg| arg.to_owned()));
        if let Some(model) = model {
            let (name, flags) = flags(model);
            step = step.env(name, flags);
            step = step.env("CARGO_TARGET_DIR", checkout.target.join(model.to_string()).display().to_string());
        }
        step
    };
    let mut run = with_settings(step(&["--no-fail-fast"]), settings);
    if model == Some(Layer::Shuttle) {
        // Where a caller wants the calls at which processes died, those under loom count: see ci/crash-points.sh.
        run = run.env("OWNERDEAD_SITES", "");
    }
    Plan { build: vec![step(&["--no-run"])], run: vec![run] }
}

fn with_settings(step: Step, settings: &Settings) -> Step {
    let step = step.env("OWNERDEAD_TIER", if settings.quick { "quick" } else { "full" });
    match settings.seed {
        Some(seed) => step.env("OWNERDEAD_SEED", seed.to_string()),
        None => step,
    }
}

/// The flags of a model build, after whatever the caller's environment asks for.
fn flags(model: Layer) -> (&'static str, String) {
    // Where both are set, cargo takes the encoded ones.
    match env::var("CARGO_ENCODED_RUSTFLAGS") {
        Ok(set) if set.is_empty() => ("CARGO_ENCODED_RUSTFLAGS", format!("--cfg\u{1f}{model}")),
        Ok(set) => ("CARGO_ENCODED_RUSTFLAGS", format!("{set}\u{1f}--cfg\u{1f}{model}")),
        Err(_) => {
            ("RUSTFLAGS", format!("{} --cfg {model}", env::var("RUSTFLAGS").unwrap_or_default()).trim().to_owned())
        }
    }
}

fn fuzz(checkout: &Checkout, settings: &Settings) -> Result<Plan, String> {
    if checkout.fuzz.iter().all(|package| package.targets.is_empty()) {
        return Err("this checkout has no fuzz/Cargo.toml with targets".to_owned());
    }
    let asked = asked_for(checkout, settings)?;
    let mut missing = Vec::new();
    if !answers(&["+nightly", "--version"]) {
        missing.push("a nightly toolchain: `rustup toolchain install nightly --profile minimal`");
    }
    if !answers(&["fuzz", "--version"]) {
        missing.push("cargo-fuzz: `cargo install cargo-fuzz --locked`");
    }
    if !missing.is_empty() {
        return Err(format!("install {}", missing.join("; and ")));
    }
    let mut plan = Plan { build: Vec::new(), run: Vec::new() };
    for (package, targets) in asked {
        plan.build.push(cargo_fuzz(checkout, package, "build"));
        plan.run.extend(targets.into_iter().map(|name| fuzz_target(checkout, settings, package, name)));
    }
    Ok(plan)
}

/// The packages of which a target is to be run, and those targets; the error says which name is none.
fn asked_for<'c>(checkout: &'c Checkout, settings: &Settings) -> Result<Vec<(&'c FuzzPackage, Vec<&'c str>)>, String> {
    let names: Vec<&str> = checkout.fuzz.iter().flat_map(|package| &package.targets).map(String::as_str).collect();
    if let Some(strange) = settings.fuzz_targets.iter().find(|asked| !names.contains(&asked.as_str())) {
        return Err(format!("no fuzz target has the name {strange}: there are {}", names.join(", ")));
    }
    let asked = |name: &&str| settings.fuzz_targets.is_empty() || settings.fuzz_targets.iter().any(|one| one == name);
    let of = |package: &'c FuzzPackage| (package, package.targets.iter().map(String::as_str).filter(asked).collect());
    Ok(checkout.fuzz.iter().map(of).filter(|(_, targets): &(_, Vec<&str>)| !targets.is_empty()).collect())
}

/// `cargo fuzz COMMAND` for the targets of a package.
fn cargo_fuzz(checkout: &Checkout, package: &FuzzPackage, command: &str) -> Step {
    // `cargo`, not the one that started us: only rustup's understands +nightly.
    let step = Step::new("cargo".into(), &["+nightly", "fuzz", command, "--fuzz-dir", package.dir, "--target-dir"]);
    let target = checkout.target.join(if package.shuttle { "fuzz-shuttle" } else { "fuzz" });
    let step = step.args([target.display().to_string()]);
    if !package.shuttle {
        return step;
    }
    let (name, flags) = flags(Layer::Shuttle);
    // Coroutines change stacks, which address sanitizer does not follow; what is unsafe is checked elsewhere.
    step.env(name, flags).args(["--sanitizer".to_owned(), "none".to_owned()])
}

fn fuzz_target(checkout: &Checkout, settings: &Settings, package: &FuzzPackage, name: &str) -> Step {
    // What the fuzzer finds goes to the target directory; the seeds in the checkout stay as they are.
    let found = checkout.output().join("corpus").join(name);
    let seeds = checkout.root.join(package.dir).join("corpus").join(name);
    let mut step = cargo_fuzz(checkout, package, "run").args([name.to_owned(), found.display().to_string()]);
    if seeds.is_dir() {
        step = step.args([seeds.display().to_string()]);
    }
    let time = format!("-max_total_time={}", settings.fuzz_seconds);
    // An input takes microseconds, or a millisecond if somebody dies in it: one that takes so long does not end.
    let hang = format!("-timeout={FUZZ_HANG_SECONDS}");
    step = step.args(["--".to_owned(), time, hang, "-print_final_stats=1".to_owned()]);
    let dictionary = checkout.root.join(package.dir).join("dictionaries").join(format!("{name}.dict"));
    if dictionary.is_file() {
        step = step.args([format!("-dict={}", dictionary.display())]);
    }
    if package.shuttle {
        // Enough for every execution of its worlds; what is longer is slower, and no better.
        step = step.args(["-max_len=128".to_owned()]);
    }
    if let Some(seed) = settings.seed {
        // libFuzzer takes 32 bits, and 0 for "choose one".
        step = step.args([format!("-seed={}", (seed % u64::from(u32::MAX)) + 1)]);
    }
    name.clone_into(&mut step.name);
    step.dirs.push(found);
    with_settings(step, settings)
}

fn answers(args: &[&str]) -> bool {
    let mut command = Command::new("cargo");
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkout(tests: &[&str]) -> Checkout {
        Checkout {
            root: "/r".into(),
            target: "/r/target".into(),
            cargo: "cargo".into(),
            tests: tests.iter().map(|&name| name.to_owned()).collect(),
            fuzz: Vec::new(),
        }
    }

    const QUICK: Settings =
        Settings { quick: true, chaos_seconds: 6, fuzz_seconds: 20, fuzz_targets: Vec::new(), seed: Some(7) };

    #[test]
    fn unit_runs_the_targets_that_exist() {
        let checkout = checkout(&["os"]);
        let plan = plan(Layer::Unit, &checkout, &QUICK).unwrap();
        assert_eq!(
            plan.run[0].shown(&checkout),
            "OWNERDEAD_TIER=quick OWNERDEAD_SEED=7 cargo test --release --lib --test os --no-fail-fast"
        );
    }

    #[test]
    fn a_layer_without_its_targets_does_not_run() {
        for layer in [Layer::Loom, Layer::Shuttle, Layer::Sweep, Layer::Chaos, Layer::Fuzz] {
            assert!(plan(layer, &checkout(&["os"]), &QUICK).is_err(), "{layer}");
        }
    }

    #[test]
    fn a_model_has_flags_and_a_target_directory_of_its_own() {
        let checkout = checkout(&["model_spsc"]);
        let shown = plan(Layer::Loom, &checkout, &QUICK).unwrap().run[0].shown(&checkout);
        assert!(shown.contains("--cfg loom"), "{shown}");
        assert!(shown.contains("CARGO_TARGET_DIR=target/loom "), "{shown}");
    }

    #[test]
    fn a_fuzz_target_that_drives_shuttle_has_its_flags_and_a_target_directory_of_its_own() {
        let package = |dir, shuttle| FuzzPackage { dir, shuttle, targets: vec!["t".to_owned()] };
        let shown = |package| fuzz_target(&checkout(&[]), &QUICK, &package, "t").shown(&checkout(&[]));
        let (plain, shuttle) = (shown(package("fuzz", false)), shown(package("fuzz/schedule", true)));
        assert!(shuttle.contains("--cfg shuttle") && !plain.contains("--cfg"), "{shuttle}; {plain}");
        assert!(shuttle.contains("--fuzz-dir fuzz/schedule --target-dir target/fuzz-shuttle "), "{shuttle}");
        assert!(plain.contains("--fuzz-dir fuzz --target-dir target/fuzz "), "{plain}");
    }

    #[test]
    fn of_the_fuzz_targets_those_are_run_that_were_asked_for() {
        let package = |dir, targets: &[&str]| FuzzPackage {
            dir,
            shuttle: false,
            targets: targets.iter().map(|&name| name.to_owned()).collect(),
        };
        let checkout = Checkout { fuzz: vec![package("fuzz", &["a", "b"]), package("other", &["c"])], ..checkout(&[]) };
        let run = |asked: &[&str]| {
            let settings = Settings { fuzz_targets: asked.iter().map(|&name| name.to_owned()).collect(), ..QUICK };
            let packages = asked_for(&checkout, &settings)?;
            Ok::<_, String>(packages.into_iter().map(|(package, names)| (package.dir, names)).collect::<Vec<_>>())
        };
        assert_eq!(run(&[]).unwrap(), [("fuzz", vec!["a", "b"]), ("other", vec!["c"])]);
        assert_eq!(run(&["b"]).unwrap(), [("fuzz", vec!["b"])]);
        let error = run(&["b", "d"]).unwrap_err();
        assert_eq!(error, "no fuzz target has the name d: there are a, b, c");
    }

    #[test]
    fn shares_leave_the_first_layer_time_within_ten_minutes() {
        let all: Duration = Layer::ALL.into_iter().map(Layer::share).sum();
        assert!(all <= Duration::from_secs(600));
    }
}
