//! Compiles the hook for the compiler that this tool is built with, which is most often the one that its
//! users build their programs with. For another one the tool compiles it when it is needed.

use std::error::Error;
use std::path::Path;

#[path = "src/hook/recipe.rs"]
mod recipe;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=hook/src");
    println!("cargo::rerun-if-changed=src/hook/recipe.rs");
    let out = variable("OUT_DIR")?;
    let (library, bound_to) = (
        Path::new(&out).join("hook.rlib"),
        Path::new(&out).join("bound_to"),
    );
    match compile(&library) {
        Ok(compiler) => std::fs::write(bound_to, compiler)?,
        Err(error) => {
            let message = error.to_string().replace('\n', " ");
            println!("cargo::warning=every first build will compile the hook: {message}");
            std::fs::write(library, "")?;
            std::fs::write(bound_to, "")?;
        }
    }
    Ok(())
}

/// Returns what the library is bound to.
fn compile(library: &Path) -> Result<String, Box<dyn Error>> {
    let (rustc, target) = (variable("RUSTC")?, variable("TARGET")?);
    let (rustc, target) = (Path::new(&rustc), Some(target.as_str()));
    let sources = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("hook/src");
    let output = recipe::command(rustc, target, &sources, library).output()?;
    match output.status.success() {
        true => Ok(recipe::bound_to(rustc, target)?),
        false => Err(String::from_utf8_lossy(&output.stderr).into()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this program that reads it"
)]
fn variable(name: &str) -> Result<String, std::env::VarError> {
    std::env::var(name)
}
