//! Turns `--cfg loom` and `--cfg shuttle` into the one cfg `model`.
//!
//! `RUSTFLAGS` reaches rustc but not rustdoc; what a build script prints reaches both. So `model` without `loom` or
//! `shuttle` means "rustdoc, in a model build", and the crate hides its doc tests there: they would have no model to
//! run in.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let set = |name| std::env::var_os(name).is_some();
    let (loom, shuttle) = (set("CARGO_CFG_LOOM"), set("CARGO_CFG_SHUTTLE"));
    if loom && shuttle {
        println!("cargo::error=--cfg loom and --cfg shuttle are two builds: set one of them");
    }
    if loom || shuttle {
        println!("cargo::rustc-cfg=model");
    }
}
