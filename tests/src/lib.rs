//! Whole-system tests: real Envoys with the built filter, the collector, the shop, and what the
//! Jaeger API says afterwards.
//!
//! The tests are in `tests/it`; this library is what they share: one mesh for the whole binary.
//! Programs in `src/bin` are the benchmarks behind `cargo xtask bench`.
//!
//! ```no_run
//! let Some(mesh) = spanloom_tests::mesh() else { return };
//! let answer = mesh.get("/checkout/tea", &[]).unwrap();
//! assert_eq!(answer.status, 200);
//! ```

pub mod lab;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Once, OnceLock};

use anyhow::Result;
use xtask::artifacts::{self, Artifacts};
use xtask::mesh::Mesh;
use xtask::parts;
pub use xtask::step::not_run;

/// The mesh that all tests of this binary share, started by the first of them. It ends with the
/// process. `None` says that Envoy is not there and that the test is to return: outside CI a
/// missing part is no failure, but it is told.
///
/// # Panics
/// If the mesh does not start, or, with `CI` set, if Envoy is not there.
pub fn mesh() -> Option<&'static Mesh> {
    // A failure is kept, too: each test reports it, none tries again.
    static MESH: OnceLock<Result<Option<Mesh>>> = OnceLock::new();
    match MESH.get_or_init(start) {
        Ok(Some(mesh)) => {
            keep_logs_on_panic(mesh);
            Some(mesh)
        }
        Ok(None) => {
            not_run("Envoy: cargo xtask parts envoy");
            None
        }
        Err(error) => panic!("{error:#}"),
    }
}

/// Starts a mesh of its own, for a test that stops or breaks it; `None` as for [`mesh`].
///
/// # Errors
/// A part of ours does not build or does not start, or, with `CI` set, Envoy is not there.
pub fn start() -> Result<Option<Mesh>> {
    match envoy()? {
        Some(envoy) => Mesh::start(&Artifacts::build()?, &envoy).map(Some),
        None => Ok(None),
    }
}

/// The Envoy binary and the built filter, for a [`lab`]; `None` as for [`mesh`].
///
/// # Errors
/// The filter does not build, or, with `CI` set, Envoy is not there.
pub fn envoy_and_filter() -> Result<Option<(PathBuf, PathBuf)>> {
    match envoy()? {
        Some(envoy) => Ok(Some((envoy, artifacts::build_filter()?))),
        None => Ok(None),
    }
}

fn envoy() -> Result<Option<PathBuf>> {
    parts::wanted("envoy")
}

/// The shared mesh is in a static, whose destructor never runs: the leash cleans up, and must know
/// that someone wants to read the logs.
fn keep_logs_on_panic(mesh: &'static Mesh) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            before(panic);
            let folder = mesh.keep_logs();
            let _ = writeln!(std::io::stderr(), "the mesh's logs: {}", folder.display());
        }));
    });
}
