//! What was done to each crate, as `matched.json`: the answer to "why are there no spans?".

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::session::{Session, write_if_changed};

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

/// Joins the parts into `matched.json` and returns them.
pub(crate) fn gather(directory: &Path) -> Result<Vec<Report>> {
    let mut reports: Vec<Report> = Vec::new();
    for entry in std::fs::read_dir(directory.join("matched"))
        .into_iter()
        .flatten()
    {
        let text = std::fs::read_to_string(entry?.path())?;
        if let Ok(report) = serde_json::from_str(&text) {
            reports.push(report);
        }
    }
    reports.sort_by(|a, b| {
        (&a.package, &a.version, &a.functions).cmp(&(&b.package, &b.version, &b.functions))
    });
    reports.dedup();
    write_if_changed(
        &directory.join("matched.json"),
        &serde_json::to_string_pretty(&reports)?,
    )?;
    Ok(reports)
}
