//! From the YAML tree to a [`Config`]: the top-level sections, and who refers to whom.

use super::components::{self, EXPORTERS, RECEIVERS};
use super::section::{Problem, Problems, Section, unknown};
use super::yaml::Node;
use super::{Config, Exporter, LogLevel, Logs, OtlpReceiver, Pipeline, Query, Store};

/// Reads the whole tree.
pub(super) fn read(problems: &Problems, root: Node) -> Result<Config, Vec<Problem>> {
    let config = read_root(problems, root);
    let problems = problems.sorted();
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(problems)
    }
}

fn read_root(problems: &Problems, root: Node) -> Config {
    let mut root = Section::new(problems, "", root);
    root.not_yet(&["connectors"]);
    let receivers = definitions(&mut root, "receivers", read_receiver);
    let exporters = definitions(&mut root, "exporters", read_exporter);
    refuse_processors(&mut root);
    let extensions = read_extensions(&mut root);
    let service = read_service(&mut root);

    let used = Used {
        problems,
        service: &service,
    };
    let extensions = used.extensions(extensions);
    used.pipelines_refer_to(&receivers, &exporters);
    used.stores_exist(&exporters, &extensions);

    let is_used = |id: &str, list: fn(&PipelineSource) -> &Names| {
        service
            .pipelines
            .iter()
            .any(|pipeline| list(pipeline).iter().any(|(_, used)| used == id))
    };
    Config {
        receivers: receivers
            .into_iter()
            .filter(|receiver| is_used(&receiver.id, |pipeline| &pipeline.receivers))
            .filter_map(|definition| definition.value)
            .collect(),
        exporters: exporters
            .into_iter()
            .filter(|exporter| is_used(&exporter.id, |pipeline| &pipeline.exporters))
            .filter_map(|definition| definition.value)
            .collect(),
        stores: extensions.stores,
        query: extensions.query.map(|(_, query)| query),
        health_endpoint: extensions.health_endpoint,
        pipelines: service
            .pipelines
            .into_iter()
            .map(PipelineSource::into_pipeline)
            .collect(),
        logs: service.logs,
    }
}

/// A component that is defined; `value` is missing when its definition is faulty.
struct Definition<T> {
    id: String,
    line: u64,
    value: Option<T>,
}

/// Texts with their lines.
type Names = Vec<(u64, String)>;

fn definitions<T>(
    root: &mut Section<'_>,
    key: &'static str,
    read: impl Fn(&str, &str, Section<'_>) -> Option<T>,
) -> Vec<Definition<T>> {
    let Some(mut section) = root.section(key) else {
        return Vec::new();
    };
    let entries = section.take_rest();
    entries
        .into_iter()
        .map(|(id, node)| {
            let kind = id.split('/').next().unwrap_or(&id).to_owned();
            let line = node.line;
            let value = read(&id, &kind, section.named(&id, node));
            Definition { id, line, value }
        })
        .collect()
}

fn read_receiver(id: &str, kind: &str, mut section: Section<'_>) -> Option<OtlpReceiver> {
    if kind == "otlp" {
        return components::otlp_receiver(id, &mut section);
    }
    section.take_rest();
    section.problem(components::unknown_component("receiver", kind, RECEIVERS));
    None
}

fn read_exporter(id: &str, kind: &str, mut section: Section<'_>) -> Option<Exporter> {
    let read = match kind {
        "otlp" | "otlp_grpc" => components::otlp_grpc_exporter,
        "otlphttp" | "otlp_http" => components::otlp_http_exporter,
        "debug" => components::debug_exporter,
        "jaeger_storage_exporter" => components::store_exporter,
        _ => {
            section.take_rest();
            section.problem(components::unknown_component("exporter", kind, EXPORTERS));
            return None;
        }
    };
    read(&mut section).map(|kind| Exporter {
        id: id.to_owned(),
        kind,
    })
}

fn refuse_processors(root: &mut Section<'_>) {
    let Some(mut section) = root.section("processors") else {
        return;
    };
    for (id, node) in section.take_rest() {
        let message = "Spanloom has no processors yet; leave it out here and in the pipelines";
        section.problem_at(node.line, &id, message);
    }
}

#[derive(Default)]
struct Extensions {
    stores: Vec<Store>,
    /// With the line of its definition.
    query: Option<(u64, Query)>,
    health_endpoint: Option<String>,
    ids: Vec<String>,
}

fn read_extensions(root: &mut Section<'_>) -> Extensions {
    let mut extensions = Extensions::default();
    let Some(mut section) = root.section("extensions") else {
        return extensions;
    };
    for (id, node) in section.take_rest() {
        let mut extension = section.named(&id, node);
        match id.as_str() {
            "health_check" => {
                extensions.health_endpoint = Some(components::health_check(&mut extension));
            }
            "jaeger_storage" => extensions.stores = components::jaeger_storage(&mut extension),
            "jaeger_query" => {
                let line = extension.line();
                extensions.query =
                    components::jaeger_query(&mut extension).map(|query| (line, query));
            }
            _ => {
                extension.take_rest();
                let known = components::EXTENSIONS;
                extension.problem(components::unknown_component("extension", &id, known));
            }
        }
        extensions.ids.push(id);
    }
    extensions
}

struct Service {
    extensions: Names,
    pipelines: Vec<PipelineSource>,
    logs: Logs,
}

struct PipelineSource {
    id: String,
    receivers: Names,
    exporters: Names,
}

impl PipelineSource {
    fn into_pipeline(self) -> Pipeline {
        let ids = |names: Names| names.into_iter().map(|(_, id)| id).collect();
        Pipeline {
            id: self.id,
            receivers: ids(self.receivers),
            exporters: ids(self.exporters),
        }
    }
}

fn read_service(root: &mut Section<'_>) -> Service {
    let mut service = Service {
        extensions: Vec::new(),
        pipelines: Vec::new(),
        logs: Logs::default(),
    };
    let Some(mut section) = root.section("service") else {
        root.problem_of("service", "missing; it says which pipelines run");
        return service;
    };
    service.extensions = section.texts("extensions");
    if let Some(mut telemetry) = section.section("telemetry") {
        service.logs = read_telemetry(&mut telemetry);
    }
    match section.section("pipelines") {
        Some(mut pipelines) => {
            for (id, node) in pipelines.take_rest() {
                let pipeline = pipelines.named(&id, node);
                service.pipelines.extend(read_pipeline(id, pipeline));
            }
        }
        None => section.problem("no pipelines; name at least pipelines::traces"),
    }
    service
}

fn read_telemetry(telemetry: &mut Section<'_>) -> Logs {
    telemetry.not_yet(&["resource", "traces"]);
    let mut read = Logs::default();
    if let Some(mut logs) = telemetry.section("logs") {
        logs.not_yet(&[
            "development",
            "disable_caller",
            "disable_stacktrace",
            "error_output_paths",
            "initial_fields",
            "output_paths",
            "processors",
            "sampling",
        ]);
        read.level = logs.one_of("level", LogLevel::NAMES).unwrap_or_default();
        read.is_json = logs
            .one_of("encoding", &[("console", false), ("json", true)])
            .unwrap_or(false);
    }
    if let Some(mut metrics) = telemetry.section("metrics") {
        metrics.not_yet(&["readers", "address", "views"]);
        if let Some(level) = metrics.text("level")
            && level != "none"
        {
            let message = "Spanloom has no metrics of its own yet; write none, or leave it out";
            metrics.problem_of("level", message);
        }
    }
    read
}

fn read_pipeline(id: String, mut section: Section<'_>) -> Option<PipelineSource> {
    let signal = id.split('/').next().unwrap_or(&id);
    if signal != "traces" {
        section.take_rest();
        section.problem(match signal {
            "metrics" | "logs" | "profiles" => "Spanloom carries traces only".to_owned(),
            _ => unknown("signal", signal, &["traces"]),
        });
        return None;
    }
    let receivers = section.texts("receivers");
    for (line, id) in section.texts("processors") {
        let message = format!("{id}: Spanloom has no processors yet; leave it out");
        section.problem_at(line, "processors", message);
    }
    let exporters = section.texts("exporters");
    if receivers.is_empty() {
        section.problem("no receivers");
    }
    if exporters.is_empty() {
        section.problem("no exporters");
    }
    Some(PipelineSource {
        id,
        receivers,
        exporters,
    })
}

/// Checks what the service uses against what is defined.
struct Used<'a> {
    problems: &'a Problems,
    service: &'a Service,
}

impl Used<'_> {
    /// Leaves of the extensions those that the service starts.
    fn extensions(&self, mut extensions: Extensions) -> Extensions {
        let defined: Vec<&str> = extensions.ids.iter().map(String::as_str).collect();
        for (line, id) in &self.service.extensions {
            if !defined.contains(&id.as_str()) {
                let message = format!("{id}: {}", not_defined("extension", id, &defined));
                self.problems.add(*line, "service::extensions", message);
            }
        }
        let is_started = |id: &str| self.service.extensions.iter().any(|(_, used)| used == id);
        if !is_started("health_check") {
            extensions.health_endpoint = None;
        }
        if !is_started("jaeger_storage") {
            extensions.stores.clear();
        }
        if !is_started("jaeger_query") {
            extensions.query = None;
        }
        extensions
    }

    fn pipelines_refer_to(
        &self,
        receivers: &[Definition<OtlpReceiver>],
        exporters: &[Definition<Exporter>],
    ) {
        let receivers: Vec<&str> = receivers
            .iter()
            .map(|defined| defined.id.as_str())
            .collect();
        let exporters: Vec<&str> = exporters
            .iter()
            .map(|defined| defined.id.as_str())
            .collect();
        for pipeline in &self.service.pipelines {
            self.all_defined(pipeline, "receiver", &pipeline.receivers, &receivers);
            self.all_defined(pipeline, "exporter", &pipeline.exporters, &exporters);
        }
    }

    fn all_defined(&self, pipeline: &PipelineSource, what: &str, used: &Names, defined: &[&str]) {
        let path = format!("service::pipelines::{}::{what}s", pipeline.id);
        for (line, id) in used {
            if !defined.contains(&id.as_str()) {
                let message = format!("{id}: {}", not_defined(what, id, defined));
                self.problems.add(*line, &path, message);
            }
        }
        for (i, (line, id)) in used.iter().enumerate() {
            if used[..i].iter().any(|(_, earlier)| earlier == id) {
                self.problems
                    .add(*line, &path, format!("{id}: named twice"));
            }
        }
    }

    fn stores_exist(&self, exporters: &[Definition<Exporter>], extensions: &Extensions) {
        let stores: Vec<&str> = extensions
            .stores
            .iter()
            .map(|store| store.name.as_str())
            .collect();
        let missing = |name: &str| {
            let hint = if extensions.ids.iter().any(|id| id == "jaeger_storage")
                && !self
                    .service
                    .extensions
                    .iter()
                    .any(|(_, id)| id == "jaeger_storage")
            {
                "; list jaeger_storage in service::extensions"
            } else {
                ""
            };
            format!(
                "{name}: {}{hint}",
                not_defined("backend of jaeger_storage", name, &stores)
            )
        };
        for exporter in exporters {
            if let Some(Exporter {
                id,
                kind: super::ExporterKind::Store { backend },
            }) = &exporter.value
                && !stores.contains(&backend.as_str())
            {
                let path = format!("exporters::{id}::trace_storage");
                self.problems.add(exporter.line, &path, missing(backend));
            }
        }
        if let Some((line, query)) = &extensions.query
            && !stores.contains(&query.store.as_str())
        {
            let path = "extensions::jaeger_query::storage::traces";
            self.problems.add(*line, path, missing(&query.store));
        }
    }
}

fn not_defined(what: &str, id: &str, defined: &[&str]) -> String {
    if defined.is_empty() {
        return format!("no {what} is defined");
    }
    unknown(what, id, defined).replace("known here", "defined")
}
