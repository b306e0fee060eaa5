//! `OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT`, which the SDK does not know. Text is cut on the export
//! thread, so that the program does not pay for it.

use opentelemetry::{Array, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::SpanData;

/// Cuts every text value of the span, of its events and of its links to `n_chars` characters.
pub(super) fn values(span: &mut SpanData, n_chars: usize) {
    let events = span
        .events
        .events
        .iter_mut()
        .flat_map(|event| &mut event.attributes);
    let links = span
        .links
        .links
        .iter_mut()
        .flat_map(|link| &mut link.attributes);
    for attribute in span.attributes.iter_mut().chain(events).chain(links) {
        cut_value(attribute, n_chars);
    }
}

fn cut_value(attribute: &mut KeyValue, n_chars: usize) {
    match &mut attribute.value {
        Value::String(text) => cut(text, n_chars),
        Value::Array(Array::String(texts)) => texts.iter_mut().for_each(|text| cut(text, n_chars)),
        _ => {}
    }
}

fn cut(text: &mut StringValue, n_chars: usize) {
    if let Some((end, _)) = text.as_str().char_indices().nth(n_chars) {
        *text = StringValue::from(text.as_str()[..end].to_owned());
    }
}
