//! Says what is missing where the flag was forgotten: without it there are no models, and rustc would name those instead.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_CFG_SHUTTLE").is_none() {
        println!("cargo::error=these targets drive shuttle: build them with RUSTFLAGS=\"--cfg shuttle\"");
    }
}
