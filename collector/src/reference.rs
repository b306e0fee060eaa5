//! The reference page `CONFIGURATION.md`, made of the tables in the code.
