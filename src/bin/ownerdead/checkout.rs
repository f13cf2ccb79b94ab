//! The checkout that the checks run in: where it is and which targets it has.

use serde::Deserialize;
use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const PACKAGE: &str = "ownerdead";

/// What the layers need to know of a checkout.
#[derive(Debug)]
pub struct Checkout {
    pub root: PathBuf,
    /// Cargo's target directory, wherever the configuration puts it.
    pub target: PathBuf,
    /// The cargo that started this program, else the one in PATH.
    pub cargo: OsString,
    /// Names of the test targets.
    pub tests: BTreeSet<String>,
    /// The packages of fuzz targets that are there.
    pub fuzz: Vec<FuzzPackage>,
}

/// A package of fuzz targets. All of its targets are built with the same flags.
#[derive(Debug)]
pub struct FuzzPackage {
    /// Where it is, from the root.
    pub dir: &'static str,
    /// Whether its targets drive shuttle.
    pub shuttle: bool,
    /// Names of the targets that need no feature: those with one are known to fail.
    pub targets: Vec<String>,
}

/// Each with whether it drives shuttle.
const FUZZ_PACKAGES: [(&str, bool); 2] = [("fuzz", false), ("fuzz/schedule", true)];

impl Checkout {
    /// Walks up from the current directory.
    pub fn find() -> Result<Checkout, String> {
        let here = env::current_dir().map_err(|e| format!("the current directory cannot be read: {e}"))?;
        let root = root(&here).ok_or_else(|| {
            format!(
                "no checkout of {PACKAGE} in {} or above it; clone the repository, and run `cargo {PACKAGE} check` there",
                here.display()
            )
        })?;
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let main = Metadata::read(&cargo, &root.join("Cargo.toml"))?;
        let mut fuzz = Vec::new();
        for (dir, shuttle) in FUZZ_PACKAGES {
            let manifest = root.join(dir).join("Cargo.toml");
            if manifest.exists() {
                let targets = Metadata::read(&cargo, &manifest)?.fuzz_targets();
                fuzz.push(FuzzPackage { dir, shuttle, targets });
            }
        }
        Ok(Checkout {
            root: root.to_owned(),
            tests: main.targets("test").collect(),
            target: main.target_directory,
            cargo,
            fuzz,
        })
    }

    /// Where reports and logs of the layers go.
    pub fn output(&self) -> PathBuf {
        self.target.join(PACKAGE)
    }

    /// The path as a person at the root would type it.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

/// The checkout that `here` lies in.
pub fn root(here: &Path) -> Option<&Path> {
    here.ancestors().find(|dir| is_ours(dir))
}

fn is_ours(dir: &Path) -> bool {
    fs::read_to_string(dir.join("Cargo.toml")).is_ok_and(|manifest| package_name(&manifest) == Some(PACKAGE))
}

/// `name` in `[package]`: enough of TOML to tell our manifest from another.
fn package_name(manifest: &str) -> Option<&str> {
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[package]").skip(1);
    lines.by_ref().take_while(|line| !line.starts_with('[')).find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "name").then(|| value.trim().trim_matches('"'))
    })
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
    #[serde(default, rename = "required-features")]
    required_features: Vec<String>,
}

impl Metadata {
    fn read(cargo: &OsString, manifest: &Path) -> Result<Metadata, String> {
        let output = Command::new(cargo)
            .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
            .arg(manifest)
            .output()
            .map_err(|e| format!("{} cannot be started: {e}", cargo.to_string_lossy()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("cargo metadata cannot read {}: {}", manifest.display(), said.trim()));
        }
        serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata gave something unexpected: {e}"))
    }

    fn targets(&self, kind: &str) -> impl Iterator<Item = String> {
        let all = self.packages.iter().flat_map(|package| &package.targets);
        all.filter(move |target| target.kind.iter().any(|k| k == kind)).map(|target| target.name.clone())
    }

    /// The binaries that need no feature.
    fn fuzz_targets(&self) -> Vec<String> {
        let all = self.packages.iter().flat_map(|package| &package.targets);
        let ours = all.filter(|target| target.kind.iter().any(|k| k == "bin") && target.required_features.is_empty());
        ours.map(|target| target.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fuzz_target_that_needs_a_feature_is_left_out() {
        let json = r#"{"target_directory": "/t", "packages": [{"targets": [
            {"name": "one", "kind": ["bin"]},
            {"name": "known_to_fail", "kind": ["bin"], "required-features": ["fixture"]},
            {"name": "shared", "kind": ["lib"]}
        ]}]}"#;
        let metadata: Metadata = serde_json::from_str(json).unwrap();
        assert_eq!(metadata.fuzz_targets(), ["one"]);
    }

    #[test]
    fn package_name_is_read_from_its_own_section() {
        assert_eq!(package_name("[lib]\nname = \"a\"\n[package]\nedition = \"2024\"\nname = \"b\"\n"), Some("b"));
        assert_eq!(package_name("[package]\nedition = \"2024\"\n[lib]\nname = \"a\"\n"), None);
        assert_eq!(package_name("[workspace]\n"), None);
    }
}
