//! The whole-system tests. All of a file's tests share one mesh, see `spanloom_tests::mesh`.

mod mesh;
mod w3c;
