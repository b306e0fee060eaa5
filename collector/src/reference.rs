//! The reference page `CONFIGURATION.md`, made of the tables in the code and held against it.

use std::fmt::Write;
use std::path::Path;

use crate::reason::{Failure, Reason};
use crate::receivers::{otlp_grpc, otlp_http};
use crate::settings::{KEYS, command};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/CONFIGURATION.md");

fn page() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         This page is made of the tables in the code: `cargo test -p spanloom-collector` rewrites it.\n\n\
         Started with no arguments, `spanloom` is a whole tracing backend on 127.0.0.1: it takes\n\
         OTLP, keeps spans in an embedded store, and shows them. `--config` makes it a collector\n\
         with the receivers, exporters and extensions that a file names. `spanloom validate --config\n\
         FILE` checks such a file without opening anything. Where the command line or the file is\n\
         wrong, `spanloom` says what and where, and exits with 64.\n\n\
         ## Flags and environment variables\n\n\
         A flag wins over its variable.\n\n\
         | flag | variable | default | meaning |\n|---|---|---|---|\n",
    );
    for key in KEYS {
        let default = if key.default.is_empty() {
            ""
        } else {
            &format!("`{}`", key.default)
        };
        let only = if key.is_built_in_only {
            "; not with `--config`"
        } else {
            ""
        };
        let _ = writeln!(
            page,
            "| `--{} {}` | `{}` | {default} | {}{only} |",
            key.flag, key.value, key.env, key.doc
        );
    }
    page.push_str(
        "\n## The file\n\n\
         YAML as the OpenTelemetry Collector and Jaeger read it. `${env:NAME}` stands for an\n\
         environment variable, `${env:NAME:-default}` for one with a default, `$$` for a dollar\n\
         sign. Durations are written `5s`, `200ms` or `1m30s`. A key that is not known is an error.\n\n\
         The OpenTelemetry Collector limits gRPC messages to 4 MiB and HTTP bodies to 20 MiB by\n\
         default, and compresses what it sends with gzip. Here both limits are the 64 MiB that the\n\
         OTLP specification recommends, and nothing is compressed.\n\n```yaml\n",
    );
    page.push_str(include_str!("config/example.yaml"));
    page.push_str(
        "```\n\n## Refusals and drops\n\n\
         Every request that is refused and every span that is dropped has one of these reasons, in\n\
         the log and in the books that are logged at the end.\n\n\
         | reason | meaning | gRPC | HTTP |\n|---|---|---|---|\n",
    );
    for &reason in Reason::ALL {
        let grpc = otlp_grpc::status_of(Failure::new(reason, "")).code;
        let http = otlp_http::status_of(reason).as_u16();
        let _ = writeln!(
            page,
            "| `{reason}` | {} | {grpc:?} | {http} |",
            reason.meaning()
        );
    }
    page
}

#[test]
fn the_reference_is_up_to_date() {
    let page = page();
    let written = std::fs::read_to_string(Path::new(PATH)).unwrap_or_default();
    if written != page {
        std::fs::write(PATH, page).unwrap();
        panic!("CONFIGURATION.md was out of date and is rewritten: look at it, and commit it");
    }
}

#[test]
fn the_help_comes_from_the_same_table() {
    insta::assert_snapshot!(command().render_long_help());
}
