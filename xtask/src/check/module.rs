//! The built filter module: small, and asking of its host only what every Envoy offers.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use wasmparser::{Parser, Payload};
use xtask::artifacts::{FILTER_BYTES_MAX, size_bytes};
use xtask::step::note;

/// The WASI functions that Envoy has had since its first release with the ABI that we use. Others
/// exist only in later ones, or not at all: a module that imports them does not load.
const WASI: &[&str] = &[
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_write",
    "proc_exit",
    "random_get",
];

pub(super) fn check(module: &Path) -> Result<()> {
    let bytes = size_bytes(module)?;
    if bytes > FILTER_BYTES_MAX {
        bail!("the filter has {bytes} bytes, more than {FILTER_BYTES_MAX}");
    }
    let code = fs::read(module)?;
    let imports = imports(&code)?;
    let foreign: Vec<&str> = imports
        .iter()
        .filter(|(from, name)| !is_offered(from, name))
        .map(|(_, name)| *name)
        .collect();
    if !foreign.is_empty() {
        bail!(
            "the filter imports what Envoy may not offer: {}",
            foreign.join(", ")
        );
    }
    if let Some(file) = panicking_file(&code) {
        bail!("the filter has a panic in {file}");
    }
    note(&format!(
        "{} of {} KB, {} imports",
        bytes.div_ceil(1024),
        FILTER_BYTES_MAX / 1024,
        imports.len()
    ));
    Ok(())
}

fn is_offered(from: &str, name: &str) -> bool {
    match from {
        "env" => name.starts_with("proxy_"),
        "wasi_snapshot_preview1" => WASI.contains(&name),
        _ => false,
    }
}

/// A file of ours that a panic in the module names. The compiler puts the place of each panic that
/// can be reached into the binary, also of those in the standard library that blame their caller.
fn panicking_file(code: &[u8]) -> Option<&'static str> {
    const FILES: [&str; 2] = ["filter/src/", "wire/src/"];
    FILES
        .into_iter()
        .find(|file| code.windows(file.len()).any(|part| part == file.as_bytes()))
}

/// Each import with the module that it comes from.
fn imports(code: &[u8]) -> Result<Vec<(&str, &str)>> {
    let mut imports = Vec::new();
    for payload in Parser::new(0).parse_all(code) {
        if let Payload::ImportSection(section) = payload.context("the filter is no WebAssembly")? {
            for import in section {
                let import = import?;
                imports.push((import.module, import.name));
            }
        }
    }
    Ok(imports)
}

#[cfg(test)]
mod tests {
    use super::{imports, is_offered, panicking_file};

    #[test]
    fn a_panic_is_seen_by_its_place() {
        assert_eq!(
            panicking_file(b"\0asm..filter/src/vm.rs.."),
            Some("filter/src/")
        );
        assert_eq!(panicking_file(b"\0asm..library/core/src/fmt/mod.rs"), None);
    }

    #[test]
    fn only_the_abi_and_a_few_wasi_functions_are_offered() {
        assert!(is_offered("env", "proxy_log"));
        assert!(is_offered("wasi_snapshot_preview1", "random_get"));
        assert!(!is_offered("wasi_snapshot_preview1", "sched_yield"));
        assert!(!is_offered("env", "emscripten_notify_memory_growth"));
        assert!(!is_offered("spanloom", "proxy_log"));
    }

    #[test]
    fn imports_are_read_from_the_binary() {
        // One type, () -> (), and one function of it imported as a.b.
        let code = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x07\x01\x01a\x01b\0\0";
        assert_eq!(imports(code).unwrap(), [("a", "b")]);
        assert!(imports(b"\0asn").is_err());
    }
}
