//! `sdk/ENVIRONMENT.md`, written from the table and compared with the file.

use std::fs;
use std::path::Path;

use super::Signal;
use super::table::{GROUPS, Variable, for_signal};

const INTRODUCTION: &str = "\
# Environment variables

What `spanloom::init()` reads. The names and meanings are those of the OpenTelemetry specification;
an empty variable is an unset one, and a value that makes no sense is reported as a warning and
treated as unset; so is one with a `$(NAME)` that Kubernetes has not resolved, of a list its item.
Where the program and the environment both speak, the environment wins.

This SDK exports traces and, when asked, the durations of requests, queries and messages as
metrics. Variables for logs are not read. A variable with three names has a form for each of the two
that goes before the general one.

A process that another one starts is given its trace in `TRACEPARENT`, `TRACESTATE` and `BAGGAGE`, or in
what the other formats have for them: `spanloom::process` reads and writes these when asked.

The last column says what `opentelemetry_sdk` and `opentelemetry-otlp` 0.33.1 do with a variable by
themselves, where that differs.

This page is generated from the table that the parser uses (`src/settings/table.rs`). After a change
there, `UPDATE_PAGES=1 cargo test -p spanloom environment_page` writes it anew.
";

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for group in GROUPS {
        page.push_str(&format!("\n## {}\n\n", group.heading));
        page.push_str("| variable | default | meaning | upstream |\n|---|---|---|---|\n");
        for variable in group.variables {
            page.push_str(&row(variable));
        }
    }
    page
}

fn row(variable: &Variable) -> String {
    let mut names = format!("`{}`", variable.name);
    if variable.has_forms {
        let form = |signal| for_signal(variable.name, signal);
        let (traces, metrics) = (form(Signal::Traces), form(Signal::Metrics));
        names = format!("`{traces}`, `{metrics}`, {names}");
    }
    let default = match variable.default {
        "" => String::new(),
        default => format!("`{default}`"),
    };
    format!(
        "| {names} | {default} | {} | {} |\n",
        variable.meaning, variable.upstream
    )
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the variable asks for the page to be written"
)]
fn the_environment_page_says_what_the_table_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("ENVIRONMENT.md");
    if std::env::var_os("UPDATE_PAGES").is_some() {
        fs::write(&file, page()).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == page(),
        "run UPDATE_PAGES=1 cargo test -p spanloom environment_page"
    );
}
