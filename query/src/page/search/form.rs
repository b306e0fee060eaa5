//! What the search form says, as text to show again and as a query.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use spanloom_storage::{TimeRange, TraceQuery};
use spanloom_wire::Timestamp;

use crate::api::{InvalidParam, Params, parse_time};
use crate::page::format::{Utc, parse_iso, query_value};

/// The ranges that end now: parameter, words, seconds.
pub(super) const LOOKBACKS: [(&str, &str, u64); 9] = [
    ("5m", "Last 5 minutes", 5 * 60),
    ("15m", "Last 15 minutes", 15 * 60),
    ("1h", "Last hour", 60 * 60),
    ("3h", "Last 3 hours", 3 * 60 * 60),
    ("6h", "Last 6 hours", 6 * 60 * 60),
    ("12h", "Last 12 hours", 12 * 60 * 60),
    ("24h", "Last 24 hours", 24 * 60 * 60),
    ("2d", "Last 2 days", 2 * 24 * 60 * 60),
    ("7d", "Last 7 days", 7 * 24 * 60 * 60),
];

/// How many traces the form offers to show.
pub(super) const LIMITS: [&str; 5] = ["20", "50", "100", "200", "500"];

/// The fields of the form.
#[derive(Debug, Default)]
pub(super) struct Form {
    pub(super) service: Option<String>,
    pub(super) operation: String,
    pub(super) tags: String,
    pub(super) duration_min: String,
    pub(super) duration_max: String,
    pub(super) limit: String,
    pub(super) range: Range,
    invalid: Option<String>,
    durations: [Option<Duration>; 2],
    n_traces: usize,
    attributes: Vec<(String, String)>,
}

/// The time that the form asks for.
#[derive(Debug)]
pub(super) enum Range {
    /// The time until now; an index of [`LOOKBACKS`].
    Last(usize),
    /// A fixed time; an end that is open is the beginning of time, or now.
    Fixed {
        start: Option<Timestamp>,
        end: Option<Timestamp>,
    },
}

impl Default for Range {
    fn default() -> Self {
        Range::Last(2)
    }
}

impl Range {
    /// The parameter of a range that ends now.
    pub(super) fn lookback(&self) -> Option<&'static str> {
        match self {
            Range::Last(index) => Some(LOOKBACKS[*index].0),
            Range::Fixed { .. } => None,
        }
    }

    /// What stands in the fields for a fixed time.
    pub(super) fn inputs(&self) -> [String; 2] {
        match self {
            Range::Last(_) => Default::default(),
            // The field holds milliseconds: rounded up, the end still is after the last span.
            Range::Fixed { start, end } => [
                start
                    .map(|start| Utc::from(start).iso())
                    .unwrap_or_default(),
                end.map(|end| Utc::from(end.plus(Duration::from_micros(999))).iso())
                    .unwrap_or_default(),
            ],
        }
    }

    fn times(&self, now: Timestamp) -> TimeRange {
        match self {
            Range::Last(index) => TimeRange {
                start: now.minus(Duration::from_secs(LOOKBACKS[*index].2)),
                end: now,
            },
            Range::Fixed { start, end } => TimeRange {
                start: start.unwrap_or(TimeRange::ALL.start),
                end: end.unwrap_or(now),
            },
        }
    }
}

impl Form {
    /// Reads every field, and remembers the first that cannot be used.
    pub(super) fn new(params: &Params) -> Self {
        let text = |name| params.get(name).unwrap_or_default().trim().to_owned();
        let mut form = Self {
            service: params.get("service").map(str::to_owned),
            operation: text("operation"),
            tags: text("tags"),
            duration_min: text("minDuration"),
            duration_max: text("maxDuration"),
            limit: params.get("limit").unwrap_or(LIMITS[0]).to_owned(),
            ..Self::default()
        };
        if let Err(why) = form.read(params) {
            form.invalid = Some(why);
        }
        form
    }

    fn read(&mut self, params: &Params) -> Result<(), String> {
        self.n_traces = params.limit().map_err(shown)?.unwrap_or(20);
        self.range = range(params)?;
        self.attributes = parse_tags(&self.tags)?;
        self.durations = [
            params.duration("minDuration").map_err(shown)?,
            params.duration("maxDuration").map_err(shown)?,
        ];
        Ok(())
    }

    /// The address of the same search over this fixed time: what a colleague can be sent.
    pub(super) fn address(&self, range: TimeRange) -> String {
        let fields = [
            ("service", self.service.as_deref().unwrap_or_default()),
            ("operation", &self.operation),
            ("tags", &self.tags),
            ("minDuration", &self.duration_min),
            ("maxDuration", &self.duration_max),
            ("limit", &self.limit),
        ];
        let mut address = String::from("search?");
        for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
            let _ = write!(address, "{name}={}&", query_value(value));
        }
        // Rounded outwards to microseconds, the API's unit.
        let end = range.end.plus(Duration::from_nanos(999)).as_micros();
        let _ = write!(address, "start={}&end={end}", range.start.as_micros());
        address
    }

    /// The search that the form asks for, or what is wrong with it.
    pub(super) fn query(&self, now: Timestamp, n_traces_max: usize) -> Result<TraceQuery, String> {
        if let Some(why) = &self.invalid {
            return Err(why.clone());
        }
        let start = self.range.times(now);
        if start.start > start.end {
            return Err(shown(InvalidParam::StartAfterEnd));
        }
        let [duration_min, duration_max] = self.durations;
        if duration_max.is_some_and(|max| duration_min.is_some_and(|min| max < min)) {
            return Err(shown(InvalidParam::DurationMaxBelowMin));
        }
        Ok(TraceQuery {
            service: self.service.clone(),
            operation: Some(self.operation.clone()).filter(|operation| !operation.is_empty()),
            attributes: self.attributes.clone(),
            start,
            duration_min,
            duration_max,
            n_traces_max: self.n_traces.min(n_traces_max),
        })
    }
}

/// What is wrong, with the field's name as the form has it.
fn shown(error: InvalidParam) -> String {
    match error {
        InvalidParam::Unparsable {
            name: "minDuration",
            why,
        } => format!("Min duration: {why}"),
        InvalidParam::Unparsable {
            name: "maxDuration",
            why,
        } => format!("Max duration: {why}"),
        InvalidParam::Unparsable { name: "limit", why } => format!("Limit: {why}"),
        InvalidParam::StartAfterEnd => "The time ends before it begins".to_owned(),
        InvalidParam::DurationMaxBelowMin => {
            "Max duration: must not be less than the min duration".to_owned()
        }
        other => other.to_string(),
    }
}

/// A number is a time in an address, as Jaeger's search page and our own links have it, and always
/// counts. A date is what the form sends, and counts where the form says so.
fn range(params: &Params) -> Result<Range, String> {
    let time = |name| -> Result<Option<(Timestamp, bool)>, String> {
        let Some(text) = params.get(name) else {
            return Ok(None);
        };
        if let Some(time) = parse_iso(text) {
            return Ok(Some((time, false)));
        }
        let wrong = |_| format!("{name} is not a time: {text}");
        Ok(Some((parse_time(text).map_err(wrong)?, true)))
    };
    let [start, end] = [time("start")?, time("end")?];
    let has_number = [start, end]
        .iter()
        .flatten()
        .any(|(_, is_number)| *is_number);
    let lookback = params.get("lookback");
    let is_fixed = has_number
        || lookback == Some("custom")
        || (lookback.is_none() && (start.is_some() || end.is_some()));
    if is_fixed {
        return Ok(Range::Fixed {
            start: start.map(|(at, _)| at),
            end: end.map(|(at, _)| at),
        });
    }
    let Some(lookback) = lookback else {
        return Ok(Range::default());
    };
    let index = LOOKBACKS
        .iter()
        .position(|(value, _, _)| *value == lookback);
    index.map(Range::Last).ok_or_else(|| {
        let known = LOOKBACKS.map(|(value, _, _)| value).join(", ");
        format!("'lookback' is not one of {known}: {lookback}")
    })
}

/// Attributes as people write them, `key=value` with blanks between and quotes where the value has
/// blanks (a key alone means `true`), or as the JSON object that Jaeger's links have.
fn parse_tags(text: &str) -> Result<Vec<(String, String)>, String> {
    if text.starts_with('{') {
        let tags: BTreeMap<String, String> =
            serde_json::from_str(text).map_err(|error| format!("the attributes' JSON: {error}"))?;
        return Ok(tags.into_iter().collect());
    }
    let mut tags = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let n_key = rest
            .find(|c: char| c == '=' || c.is_whitespace())
            .unwrap_or(rest.len());
        let (key, after) = rest.split_at(n_key);
        if key.is_empty() {
            return Err(format!(
                "an attribute is key=value; there is no key before: {rest}"
            ));
        }
        let (value, after) = match after.strip_prefix('=') {
            None => ("true".to_owned(), after),
            Some(after) => parse_tag_value(after)?,
        };
        tags.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(tags)
}

/// The attribute in the words that [`parse_tags`] reads.
pub(super) fn tag_text(key: &str, value: &str) -> String {
    let is_plain = |text: &str| !text.contains(|c: char| c.is_whitespace() || "=\"\\{".contains(c));
    if is_plain(key) && !key.is_empty() {
        if is_plain(value) {
            return format!("{key}={value}");
        }
        return format!(
            "{key}=\"{}\"",
            value.replace('\\', "\\\\").replace('"', "\\\"")
        );
    }
    serde_json::Value::from_iter([(key, value)]).to_string()
}

/// A value up to the next blank, or in quotes with `\"` and `\\` inside; and what comes after it.
fn parse_tag_value(text: &str) -> Result<(String, &str), String> {
    let Some(quoted) = text.strip_prefix('"') else {
        let n_value = text.find(char::is_whitespace).unwrap_or(text.len());
        let (value, after) = text.split_at(n_value);
        return Ok((value.to_owned(), after));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &quoted[at + 1..])),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    Err(format!("an attribute's quote does not end: {text}"))
}

#[cfg(test)]
mod tests {
    use axum::extract::Query;
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn query(pairs: &[(&str, &str)]) -> Result<TraceQuery, String> {
        let pairs = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        Form::new(&Params::new(pairs.collect())).query(NOW, 1500)
    }

    #[test]
    fn an_empty_form_asks_for_the_last_hour_of_everything() {
        let query = query(&[("service", ""), ("operation", ""), ("tags", "")]).unwrap();
        assert_eq!((query.service, query.operation), (None, None));
        assert_eq!(query.start.end, NOW);
        assert_eq!(query.start.start, NOW.minus(Duration::from_secs(3600)));
        assert_eq!(query.n_traces_max, 20);
    }

    #[test]
    fn attributes_are_written_as_pairs() {
        let read = |text| parse_tags(text).unwrap();
        let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect()
        };
        let expected = owned(&[
            ("a", "1"),
            ("error", "true"),
            ("b", r#"x "y" \"#),
            ("c", "d=e"),
        ]);
        assert_eq!(read(r#" a=1  error b="x \"y\" \\" c=d=e "#), expected);
        assert_eq!(
            read(r#"{"b":"2","a":"1"}"#),
            owned(&[("a", "1"), ("b", "2")])
        );
        assert_eq!(read("a="), owned(&[("a", "")]));
        for text in ["=1", "a=\"x", "{\"a\":1}"] {
            assert!(parse_tags(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_is_a_fixed_time_whatever_the_lookback() {
        // As Jaeger's search page links.
        let link = [
            ("start", "1600000000000000"),
            ("end", "1600000100000000"),
            ("lookback", "1h"),
        ];
        let range = query(&link).unwrap().start;
        assert_eq!(range.start.as_micros(), 1_600_000_000_000_000);
        assert_eq!(range.end.as_micros(), 1_600_000_100_000_000);
    }

    #[test]
    fn dates_count_when_the_form_says_so() {
        let dates = [("start", "2023-11-14T00:00"), ("end", "")];
        let range = query(&[&dates[..], &[("lookback", "1h")]].concat())
            .unwrap()
            .start;
        assert_eq!(range.start, NOW.minus(Duration::from_secs(3600)));
        let range = query(&[&dates[..], &[("lookback", "custom")]].concat())
            .unwrap()
            .start;
        assert_eq!(range.start.as_micros(), 1_699_920_000_000_000);
        assert_eq!(range.end, NOW);
    }

    #[test]
    fn the_address_of_a_search_asks_for_the_same() {
        let pairs = [
            ("service", "my cart"),
            ("operation", "GET /?a=b&c"),
            ("tags", "a=\"b c\""),
            ("minDuration", "2\u{b5}s"),
            ("limit", "50"),
        ];
        let pairs = pairs.map(|(k, v)| (k.to_owned(), v.to_owned()));
        let form = Form::new(&Params::new(pairs.to_vec()));
        let asked = form.query(NOW, 1500).unwrap();
        let uri = format!("/{}", form.address(asked.start)).parse().unwrap();
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&uri).unwrap();
        let later = NOW.plus(Duration::from_secs(60));
        let again = Form::new(&Params::new(pairs)).query(later, 1500).unwrap();
        assert_eq!(format!("{again:?}"), format!("{asked:?}"));
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let cases = [
            (
                ("lookback", "1 fortnight"),
                "'lookback' is not one of 5m, 15m, ",
            ),
            (("start", "yesterday"), "start is not a time: yesterday"),
            (
                ("minDuration", "fast"),
                "Min duration: expected a duration such as ",
            ),
            (
                ("limit", "-1"),
                "invalid parameter: limit must be greater than 0",
            ),
            (("tags", "=x"), "an attribute is key=value; "),
        ];
        for (pair, message) in cases {
            let error = query(&[pair]).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
        assert!(query(&[("minDuration", "2s"), ("maxDuration", "1s")]).is_err());
    }

    proptest! {
        #[test]
        fn any_attributes_are_read_or_refused(text: String) {
            let _ = parse_tags(&text);
        }

        #[test]
        fn any_attribute_can_be_written(key: String, value: String) {
            let tags = parse_tags(&tag_text(&key, &value)).unwrap();
            prop_assert_eq!(tags, vec![(key, value)]);
        }
    }
}
