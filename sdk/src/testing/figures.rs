//! Figures as text.

use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};

/// One line a series, in the order of the alphabet: the name, the attributes that are asked for as
/// far as the series has them, how many it counts, and, of a histogram, how many of its buckets have
/// a span as their example.
pub(super) fn draw<'a>(
    metrics: impl Iterator<Item = (String, &'a Metric)>,
    attributes: &[&str],
) -> String {
    let mut lines = Vec::new();
    for (service, metric) in metrics {
        let line = |known: &[KeyValue]| {
            let mut line = format!("{service}{}", metric.name);
            for name in attributes {
                if let Some(value) = text(known, name) {
                    line.push_str(&format!(" {name}={value}"));
                }
            }
            line
        };
        match &metric.data {
            Some(Data::Histogram(histogram)) => {
                lines.extend(histogram.data_points.iter().map(|point| {
                    let exemplars = point.exemplars.iter();
                    let n_spans = exemplars
                        .filter(|exemplar| !exemplar.span_id.is_empty())
                        .count();
                    let line = line(&point.attributes);
                    format!("{line} count={} spans={n_spans}\n", point.count)
                }));
            }
            Some(Data::Sum(sum)) => lines.extend(sum.data_points.iter().filter_map(|point| {
                let Some(Number::AsInt(count)) = point.value else {
                    return None;
                };
                Some(format!("{} count={count}\n", line(&point.attributes)))
            })),
            _ => {}
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
