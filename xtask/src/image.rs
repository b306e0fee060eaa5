//! `cargo xtask image`: OCI image layouts of the filter and of the collector, without Docker.
//!
//! The filter's image is what Istio calls the compatible variant: its only layer is a gzipped tar
//! with the file `plugin.wasm`, the one shape that Istio's agent, Envoy Gateway and every registry
//! take. The collector's image is one static binary on nothing. Tools that copy images between
//! places, such as skopeo and crane, push a layout to a registry.

mod layout;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use xtask::artifacts::{add_target, build_filter, display};
use xtask::step::{note, step};
use xtask::workspace::{cargo, run as run_command, target_dir};

use layout::{ImageFile, ImageKind, digest, write_layout};

/// Builds both and writes their layouts below `target/images/`.
pub(crate) fn run() -> Result<()> {
    filter_image()?;
    collector_image()
}

fn filter_image() -> Result<()> {
    let module = read(&build_filter()?)?;
    let kind = ImageKind {
        tag: env!("CARGO_PKG_VERSION").to_owned(),
        os: "wasip1",
        architecture: "wasm",
        entrypoint: Vec::new(),
        ports: Vec::new(),
        annotations: annotations("spanloom-filter"),
    };
    let file = ImageFile {
        path: "plugin.wasm",
        bytes: &module,
        mode: 0o644,
    };
    write("filter", &kind, &file)?;
    // What `sha256:` in a WasmPlugin checks for a module that is fetched as a file.
    note(&format!("plugin.wasm {}", digest(&module)));
    Ok(())
}

fn collector_image() -> Result<()> {
    let (target, architecture) = match std::env::consts::ARCH {
        "x86_64" => ("x86_64-unknown-linux-musl", "amd64"),
        "aarch64" => ("aarch64-unknown-linux-musl", "arm64"),
        other => bail!("no image of the collector for {other}: build on x86_64 or aarch64"),
    };
    add_target(target, "the collector's image")?;
    step("building the collector as a static binary", || {
        let package = ["--package", "spanloom-collector", "--bin", "spanloom"];
        let mut build = cargo(&["build", "--quiet", "--release", "--target", target]);
        run_command(build.args(package))
    })?;
    let binary = read(&target_dir().join(target).join("release/spanloom"))?;
    let kind = ImageKind {
        tag: env!("CARGO_PKG_VERSION").to_owned(),
        os: "linux",
        architecture,
        entrypoint: vec!["/spanloom"],
        ports: vec![4317, 4318, 13133, 16686],
        annotations: annotations("spanloom"),
    };
    let file = ImageFile {
        path: "spanloom",
        bytes: &binary,
        mode: 0o755,
    };
    write("spanloom", &kind, &file)
}

fn annotations(title: &str) -> Vec<(&'static str, String)> {
    vec![
        ("org.opencontainers.image.licenses", "Apache-2.0".to_owned()),
        ("org.opencontainers.image.title", title.to_owned()),
        (
            "org.opencontainers.image.version",
            env!("CARGO_PKG_VERSION").to_owned(),
        ),
    ]
}

fn write(name: &str, kind: &ImageKind, file: &ImageFile<'_>) -> Result<()> {
    step(&format!("writing the image {name}:{}", kind.tag), || {
        let directory = target_dir().join("images").join(name);
        let digest = write_layout(&directory, kind, std::slice::from_ref(file))?;
        note(&format!("{}: {digest}", display(&directory)));
        Ok(())
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
