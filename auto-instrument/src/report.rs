//! What was done to each crate, as `matched.json`: the answer to "why are there no spans?".

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::UNIX_EPOCH;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::session::{Session, write_if_changed, write_whole};

/// One crate's part; one file a unit, since wrappers run side by side.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    #[serde(rename = "crate")]
    pub(crate) package: String,
    pub(crate) version: String,
    /// Rules that were applied.
    pub(crate) matched: Vec<String>,
    /// Rules that no longer match, and why.
    pub(crate) missed: BTreeMap<String, String>,
    /// Functions that became spans.
    pub(crate) functions: Vec<String>,
    /// Functions that did not compile with a span.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) left_out: Vec<String>,
    /// Why the crate was compiled as it is, when the rewritten one did not compile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fallback: Option<String>,
}

fn folder(session: &Session) -> std::path::PathBuf {
    session.directory.join("matched")
}

pub(crate) fn write(session: &Session, unit: &str, report: &Report) -> Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    write_if_changed(&folder(session).join(format!("{unit}.json")), &text)
}

/// Joins the parts into `matched.json`, unless it is of their present state. What cannot be written
/// is no reason to fail what was built.
pub(crate) fn gather(directory: &Path) {
    // `cargo spanloom clean` takes the folder away.
    if directory.is_dir() {
        let _ = join(directory);
    }
}

fn join(directory: &Path) -> Result<()> {
    let (parts, joined) = (directory.join("matched"), directory.join("matched.json"));
    // Each part is renamed into the folder, which changes the folder; the joined file gets its time.
    let modified = |path: &Path| {
        path.metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
    };
    let state = modified(&parts);
    if state.is_some() && modified(&joined) == state {
        return Ok(());
    }
    // A part that another build is just writing, or that is damaged, is left out.
    let mut reports: Vec<Report> = std::fs::read_dir(&parts)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path()).ok())
        .filter_map(|text| serde_json::from_slice(&text).ok())
        .collect();
    reports.sort_by(|a, b| {
        (&a.package, &a.version, &a.functions).cmp(&(&b.package, &b.version, &b.functions))
    });
    reports.dedup();
    write_whole(&joined, &serde_json::to_string_pretty(&reports)?)?;
    let joined = File::options().write(true).open(&joined)?;
    joined.set_modified(state.unwrap_or(UNIX_EPOCH))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_again_when_one_of_them_is_new() {
        let directory = tempfile::tempdir().expect("a folder");
        let part = |name: &str| {
            let report = Report {
                package: name.to_owned(),
                ..Report::default()
            };
            let text = serde_json::to_string(&report).expect("written");
            let path = directory.path().join(format!("matched/{name}.json"));
            write_whole(&path, &text).expect("written");
        };
        let packages = || {
            gather(directory.path());
            let text = std::fs::read(directory.path().join("matched.json")).expect("read");
            let reports: Vec<Report> = serde_json::from_slice(&text).expect("reports");
            reports
                .into_iter()
                .map(|report| report.package)
                .collect::<Vec<_>>()
        };
        assert_eq!(packages(), [""; 0]);
        part("b");
        assert_eq!(packages(), ["b"]);
        // The folder's time is set, since a test is quicker than a clock that ticks.
        part("a");
        File::open(directory.path().join("matched"))
            .and_then(|folder| folder.set_modified(UNIX_EPOCH + std::time::Duration::from_secs(1)))
            .expect("set");
        assert_eq!(packages(), ["a", "b"]);
        assert_eq!(packages(), ["a", "b"]);
    }
}
