//! `sdk/PRESETS.md`, written from what each preset does to the settings and compared with the file.

use std::fs;
use std::path::Path;

use super::Preset;
use crate::log::LogFormat;
use crate::settings::{Destination, RootSampler, Settings};

const INTRODUCTION: &str = "\
## Presets

What is set while neither the environment nor the program says anything else. An environment
variable is stronger than a preset; `testing` reads none unless it is given some.

| | `init()`, `builder()` | `development()` | `production()` | `testing::start()` |
|---|---|---|---|---|
";

fn page() -> String {
    let presets = [
        Preset::BARE,
        Preset::DEVELOPMENT,
        Preset::PRODUCTION,
        Preset::TESTS,
    ];
    let columns = presets.map(column);
    let mut page = INTRODUCTION.to_owned();
    for (row, (name, _)) in columns[0].iter().enumerate() {
        let cells = columns.each_ref().map(|column| column[row].1.clone());
        page.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
    }
    page
}

fn column(preset: Preset) -> Vec<(&'static str, String)> {
    let nothing = Settings::read(&|_| None, preset);
    let endpoint = |name: &str| {
        (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| "http://localhost:4317".to_owned())
    };
    let with_endpoint = Settings::read(&endpoint, preset);
    let is_test = preset.log_format == Some(LogFormat::Off);
    let destination = |settings: &Settings| match settings.destination {
        _ if is_test => "the `Sink`, before `end` returns",
        Destination::Otlp => "OTLP",
        Destination::Console => "standard output",
        Destination::Nowhere => "nowhere",
    };
    let sampler = match (nothing.sampler.root, nothing.sampler.parent_based) {
        (RootSampler::On, true) => "all but what the caller has dropped",
        (RootSampler::On, false) => "all",
        _ => "another",
    };
    let measured = match nothing.metrics.is_given {
        _ if is_test => "yes, in the `Sink`",
        true => "yes",
        false => "when asked: `metrics(true)`",
    };
    let lines = match preset.log_format {
        None => "text on a terminal, else JSON",
        Some(LogFormat::Text) => "text with ids",
        Some(LogFormat::Json) => "JSON with ids",
        Some(LogFormat::Off) => "none",
    };
    let delay = nothing.batch.schedule_delay.as_millis();
    let or_none = |limit: Option<usize>| limit.map_or("none".to_owned(), |n| n.to_string());
    vec![
        ("log lines", lines.to_owned()),
        (
            "which of them (`RUST_LOG`)",
            if is_test {
                "none".to_owned()
            } else {
                format!("`{}`", nothing.log_filter)
            },
        ),
        (
            "spans go to (`OTEL_TRACES_EXPORTER`)",
            destination(&nothing).to_owned(),
        ),
        (
            "and when an endpoint is set",
            destination(&with_endpoint).to_owned(),
        ),
        (
            "requests are measured (`OTEL_METRICS_EXPORTER`)",
            measured.to_owned(),
        ),
        ("traces kept (`OTEL_TRACES_SAMPLER`)", sampler.to_owned()),
        (
            "a batch waits at most (`OTEL_BSP_SCHEDULE_DELAY`)",
            if is_test {
                "not at all".to_owned()
            } else {
                format!("{delay} ms")
            },
        ),
        (
            "characters of a text (`OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT`)",
            or_none(nothing.batch.value_chars_max),
        ),
        (
            "a flush and the end wait at most (`flush_timeout`)",
            format!("{:?}", preset.flush_timeout),
        ),
    ]
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the variable asks for the page to be written"
)]
fn the_presets_page_says_what_the_presets_do() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("PRESETS.md");
    if std::env::var_os("UPDATE_PAGES").is_some() {
        fs::write(&file, page()).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == page(),
        "run UPDATE_PAGES=1 cargo test -p spanloom presets_page"
    );
}
