//! Modules that do next to nothing: what WebAssembly costs an Envoy before a filter has done its work.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// No callback for requests at all: what Envoy does for a module that it never calls.
pub(super) const NO_CALLBACKS: &str = "";

/// The least that tells the next one of a trace: one callback, and one header changed in it.
pub(super) const ONE_HEADER: &str = r#"
    (data (i32.const 100) "traceparent")
    (data (i32.const 200) "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $replace
            (i32.const 0) (i32.const 100) (i32.const 11) (i32.const 200) (i32.const 55)))
        (i32.const 0))
"#;

/// Writes the module with these parts to `folder`.
pub(super) fn write(folder: &Path, name: &str, parts: &str) -> Result<PathBuf> {
    let text = format!(
        r#"(module
            (import "env" "proxy_replace_header_map_value"
                (func $replace (param i32 i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "_initialize"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 4096))
            (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
            (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
            {parts})"#
    );
    let module = folder.join(format!("{name}.wasm"));
    let bytes = wat::parse_str(text).with_context(|| format!("the module {name}"))?;
    std::fs::write(&module, bytes).with_context(|| format!("write {}", module.display()))?;
    Ok(module)
}
