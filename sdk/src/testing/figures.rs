//! Histograms as text.

use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};

/// One line a series, in the order of the alphabet: the name, the attributes that are asked for as
/// far as the series has them, how many requests it counts, and how many of its buckets have a
/// span as their example.
pub(super) fn draw<'a>(
    metrics: impl Iterator<Item = (String, &'a Metric)>,
    attributes: &[&str],
) -> String {
    let mut lines = Vec::new();
    for (service, metric) in metrics {
        let Some(Data::Histogram(histogram)) = &metric.data else {
            continue;
        };
        for point in &histogram.data_points {
            let mut line = format!("{service}{}", metric.name);
            for name in attributes {
                if let Some(value) = text(&point.attributes, name) {
                    line.push_str(&format!(" {name}={value}"));
                }
            }
            let exemplars = point.exemplars.iter();
            let n_spans = exemplars
                .filter(|exemplar| !exemplar.span_id.is_empty())
                .count();
            lines.push(format!("{line} count={} spans={n_spans}\n", point.count));
        }
    }
    lines.sort();
    lines.concat()
}

/// The value of an attribute as text.
pub(super) fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().rfind(|attribute| attribute.key == name)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::BoolValue(value) => value.to_string(),
        Value::IntValue(value) => value.to_string(),
        Value::DoubleValue(value) => value.to_string(),
        other => format!("{other:?}"),
    })
}
