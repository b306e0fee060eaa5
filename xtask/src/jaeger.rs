//! What the Jaeger query API (`/api`, the first generation) says about traces.

mod tree;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{http, wait};

/// A client of one query address.
pub struct Jaeger {
    address: SocketAddr,
}

impl Jaeger {
    /// For the API at `address`.
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// One trace as it is now, or `None` where the API knows none of that id.
    ///
    /// # Errors
    /// The API does not answer, or not in Jaeger's shape.
    pub fn trace(&self, id: &str) -> Result<Option<Trace>> {
        let path = format!("/api/traces/{id}");
        let (status, answer) = self.get(&path)?;
        match status {
            200 => Ok(Some(Trace::read(&answer["data"][0])?)),
            404 => Ok(None),
            _ => bail!("{path} answered {status}: {answer}"),
        }
    }

    /// Traces of a service, the latest first; `query` is added to the address as it is.
    ///
    /// # Errors
    /// The API does not answer, or not in Jaeger's shape.
    pub fn find(&self, service: &str, query: &str) -> Result<Vec<Trace>> {
        let answer = self.ask(&format!("/api/traces?service={service}&{query}"))?;
        let traces = answer["data"].as_array().context("no data in the answer")?;
        traces.iter().map(Trace::read).collect()
    }

    /// The names of the services seen.
    ///
    /// # Errors
    /// The API does not answer, or not in Jaeger's shape.
    pub fn services(&self) -> Result<Vec<String>> {
        let answer = self.ask("/api/services")?;
        let names = answer["data"].as_array().context("no data in the answer")?;
        names
            .iter()
            .map(|name| text(name, "service name"))
            .collect()
    }

    /// Waits until the trace has every span that `expected` asks for.
    ///
    /// # Errors
    /// It did not get there in time; the message shows what there was.
    pub fn wait_for(&self, id: &str, expected: impl Fn(&Trace) -> bool) -> Result<Trace> {
        let mut last = None;
        wait::until("the whole trace", || {
            last = self.trace(id)?;
            Ok(last.take_if(|trace| expected(trace)))
        })
        .with_context(|| match &last {
            Some(trace) => format!("trace {id} is incomplete:\n{trace}"),
            None => format!("there is no trace {id}"),
        })
    }

    /// The page that shows a trace.
    pub fn page(&self, id: &str) -> String {
        format!("http://{}/trace/{id}", self.address)
    }

    /// The page to search on.
    pub fn front_page(&self) -> String {
        format!("http://{}/", self.address)
    }

    fn ask(&self, path: &str) -> Result<Value> {
        match self.get(path)? {
            (200, answer) => Ok(answer),
            (status, answer) => bail!("{path} answered {status}: {answer}"),
        }
    }

    fn get(&self, path: &str) -> Result<(u16, Value)> {
        let response = http::get(&format!("http://{}{path}", self.address), &[])?;
        let answer = serde_json::from_str(&response.body)
            .with_context(|| format!("{path} answered {} without JSON", response.status))?;
        Ok((response.status, answer))
    }
}

/// One trace, its spans in the order of their start.
#[derive(Debug)]
pub struct Trace {
    /// 32 hexadecimal digits.
    pub id: String,
    /// Every span that the API returned.
    pub spans: Vec<Span>,
}

/// One span, as far as the demo and the tests look at it.
#[derive(Clone, Debug)]
pub struct Span {
    /// The trace that the span itself names.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub id: String,
    /// The parent's id, unless this is a root.
    pub parent: Option<String>,
    /// The `service.name` of its resource.
    pub service: String,
    /// The span name.
    pub operation: String,
    /// Microseconds since the epoch.
    pub start_us: u64,
    /// Microseconds.
    pub duration_us: u64,
    /// Attributes, and what Jaeger adds to them (`span.kind`, `error`, `otel.scope.name`).
    pub tags: BTreeMap<String, Value>,
    /// Attributes of the process, which are those of OpenTelemetry's resource.
    pub process: BTreeMap<String, Value>,
}

/// What made a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// The filter, in a proxy.
    Filter,
    /// An SDK, which a program's author put there.
    Sdk,
    /// `cargo spanloom`, in a program that nobody edited.
    Auto,
}

impl fmt::Display for Maker {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Filter => "filter",
            Self::Sdk => "sdk",
            Self::Auto => "auto",
        })
    }
}

impl Span {
    /// `server`, `client`, `internal`, ...; empty where the span has none.
    pub fn kind(&self) -> &str {
        self.tag("span.kind")
    }

    /// Whether the span's status is an error.
    pub fn is_error(&self) -> bool {
        self.tags
            .get("error")
            .is_some_and(|error| error == &Value::Bool(true))
    }

    /// Who made it.
    pub fn maker(&self) -> Maker {
        let distribution = self.process.get("telemetry.distro.name");
        if self.tag("otel.scope.name") == FILTER_SCOPE {
            Maker::Filter
        } else if distribution.is_some_and(|name| name == AUTO_DISTRIBUTION) {
            Maker::Auto
        } else {
            Maker::Sdk
        }
    }

    /// A tag's text; empty where there is none or where it is no text.
    pub fn tag(&self, name: &str) -> &str {
        self.tags
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn read(span: &Value, processes: &Value) -> Result<Self> {
        let process = text(&span["processID"], "processID")?;
        let mut references = span["references"].as_array().into_iter().flatten();
        let parent = references.find(|reference| reference["refType"] == "CHILD_OF");
        Ok(Self {
            trace_id: text(&span["traceID"], "traceID")?,
            id: text(&span["spanID"], "spanID")?,
            parent: parent
                .map(|reference| text(&reference["spanID"], "spanID"))
                .transpose()?,
            service: text(&processes[&process]["serviceName"], "serviceName")?,
            operation: text(&span["operationName"], "operationName")?,
            start_us: span["startTime"]
                .as_u64()
                .context("startTime is no number")?,
            duration_us: span["duration"].as_u64().context("duration is no number")?,
            tags: tags(&span["tags"])?,
            process: tags(&processes[&process]["tags"])?,
        })
    }
}

/// Keys and values of a list of tags.
fn tags(list: &Value) -> Result<BTreeMap<String, Value>> {
    let list = list.as_array().context("something has no tags")?;
    list.iter()
        .map(|tag| Ok((text(&tag["key"], "tag")?, tag["value"].clone())))
        .collect()
}

/// The instrumentation scope of the filter's spans.
const FILTER_SCOPE: &str = "spanloom-filter";

/// The `telemetry.distro.name` of programs that `cargo spanloom` built.
const AUTO_DISTRIBUTION: &str = "cargo-spanloom";

impl Trace {
    fn read(trace: &Value) -> Result<Self> {
        let spans = trace["spans"].as_array().context("a trace has no spans")?;
        let mut spans = spans
            .iter()
            .map(|span| Span::read(span, &trace["processes"]))
            .collect::<Result<Vec<_>>>()?;
        spans.sort_by_key(|span| span.start_us);
        Ok(Self {
            id: text(&trace["traceID"], "traceID")?,
            spans,
        })
    }

    /// The spans of which `parent` is the parent; the roots for `None`.
    pub fn children<'a>(&'a self, parent: Option<&'a str>) -> impl Iterator<Item = &'a Span> {
        self.spans
            .iter()
            .filter(move |span| span.parent.as_deref() == parent)
    }

    /// The spans whose parent the trace does not have.
    pub fn orphans(&self) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(|span| {
            let parent = span.parent.as_deref();
            parent.is_some_and(|parent| !self.spans.iter().any(|span| span.id == parent))
        })
    }

    /// Whether this is one connected tree: one root, every parent present, one trace id.
    pub fn is_whole(&self) -> bool {
        self.children(None).count() == 1
            && self.orphans().next().is_none()
            && self.spans.iter().all(|span| span.trace_id == self.id)
    }
}

fn text(value: &Value, name: &str) -> Result<String> {
    Ok(value
        .as_str()
        .with_context(|| format!("{name} is no text: {value}"))?
        .to_owned())
}
