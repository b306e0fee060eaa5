//! The whole-system tests. All of a file's tests share one mesh or one lab, see `spanloom_tests`, unless
//! they break it.

mod delivery;
mod deploy;
mod harm;
mod mesh;
mod messages;
mod outline;
mod soak;
mod spans;
mod unedited;
mod w3c;
