//! The parameters of the Jaeger HTTP API: how text becomes times, durations, ids and tags.
//!
//! Rules and wording follow Jaeger's `query_parser.go`, since people search for its messages; we
//! are more lenient where real clients send something else (times in milliseconds, ids in base64).

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use spanloom_storage::{TimeRange, TraceQuery};
use spanloom_wire::{Timestamp, TraceId};

/// How far back a search looks that does not say.
pub(crate) const LOOKBACK_DEFAULT: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// How many traces a search returns that does not say.
pub(crate) const N_TRACES_DEFAULT: usize = 100;

/// A parameter that cannot be used; the text is the answer's message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidParam {
    #[error("unable to parse param '{name}': {why}")]
    Unparsable { name: &'static str, why: String },
    #[error("parameter '{0}' is required")]
    Required(&'static str),
    #[error("malformed 'tag' parameter, expecting key:value, received: {0}")]
    Tag(String),
    #[error("malformed 'tags' parameter, cannot unmarshal JSON: {0}")]
    Tags(String),
    #[error("invalid parameter: limit must be greater than 0")]
    Limit,
    #[error("invalid parameter: start time must be before end time")]
    StartAfterEnd,
    #[error("'maxDuration' should be greater than 'minDuration'")]
    DurationMaxBelowMin,
    #[error("invalid trace id: expected 1 to 32 hexadecimal digits, or base64 of 16 bytes")]
    TraceId,
    #[error("too many 'traceID' parameters: at most {0} are allowed")]
    TooManyTraceIds(usize),
}

/// The query string of a request, decoded.
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn new(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// The first value with this name; an empty one counts as absent, as forms send them.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let first = self
            .0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str());
        first.filter(|value| !value.is_empty())
    }

    /// Every value with this name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn time(&self, name: &'static str) -> Result<Option<Timestamp>, InvalidParam> {
        self.parse(name, parse_time)
    }

    pub(crate) fn duration(&self, name: &'static str) -> Result<Option<Duration>, InvalidParam> {
        self.parse(name, parse_duration)
    }

    /// A flag as Go's `strconv.ParseBool` reads it; absent is `false`.
    pub(crate) fn flag(&self, name: &'static str) -> Result<bool, InvalidParam> {
        let flag = self.parse(name, |text| match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(format!("expected true or false, got '{text}'")),
        })?;
        Ok(flag.unwrap_or(false))
    }

    /// Whether a person will read the answer.
    pub(crate) fn pretty(&self) -> bool {
        self.get("prettyPrint")
            .is_some_and(|value| value != "false")
    }

    /// When the spans of one trace lie, for stores that need to know; all of time by default.
    pub(crate) fn range(&self) -> Result<TimeRange, InvalidParam> {
        let start = self.time("start")?.unwrap_or(TimeRange::ALL.start);
        let end = self.time("end")?.unwrap_or(TimeRange::ALL.end);
        Ok(TimeRange { start, end })
    }

    /// The trace ids of a multi-get.
    pub(crate) fn trace_ids(&self, n_max: usize) -> Result<Vec<TraceId>, InvalidParam> {
        let ids = self.all("traceID").filter(|id| !id.is_empty());
        let ids = ids.map(parse_trace_id).collect::<Result<Vec<_>, _>>()?;
        if ids.len() > n_max {
            return Err(InvalidParam::TooManyTraceIds(n_max));
        }
        Ok(ids)
    }

    /// The search that these parameters ask for; at most `n_traces_max` traces whatever they say.
    pub(crate) fn trace_query(
        &self,
        now: Timestamp,
        n_traces_max: usize,
    ) -> Result<TraceQuery, InvalidParam> {
        let start = self
            .time("start")?
            .unwrap_or_else(|| now.minus(LOOKBACK_DEFAULT));
        let end = self.time("end")?.unwrap_or(now);
        let attributes = self.attributes()?;
        let n_traces = self.limit()?.unwrap_or(N_TRACES_DEFAULT).min(n_traces_max);
        let duration_min = self.duration("minDuration")?;
        let duration_max = self.duration("maxDuration")?;
        let service = self
            .get("service")
            .ok_or(InvalidParam::Required("service"))?;
        if start > end {
            return Err(InvalidParam::StartAfterEnd);
        }
        if duration_max.is_some_and(|max| duration_min.is_some_and(|min| max < min)) {
            return Err(InvalidParam::DurationMaxBelowMin);
        }
        Ok(TraceQuery {
            service: Some(service.to_owned()),
            operation: self.get("operation").map(str::to_owned),
            attributes,
            start: TimeRange { start, end },
            duration_min,
            duration_max,
            n_traces_max: n_traces,
        })
    }

    pub(crate) fn limit(&self) -> Result<Option<usize>, InvalidParam> {
        let limit = self.parse("limit", |text| {
            text.parse::<i64>()
                .map_err(|_| format!("expected a whole number, got '{text}'"))
        })?;
        match limit {
            Some(limit) if limit <= 0 => Err(InvalidParam::Limit),
            limit => Ok(limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))),
        }
    }

    /// `tag=key:value` and `tags={"key":"value"}`, merged; a key that comes again wins.
    fn attributes(&self) -> Result<Vec<(String, String)>, InvalidParam> {
        let mut attributes = BTreeMap::new();
        for tag in self.all("tag") {
            let pair = tag
                .split_once(':')
                .ok_or_else(|| InvalidParam::Tag(tag.to_owned()))?;
            attributes.insert(pair.0.to_owned(), pair.1.to_owned());
        }
        for tags in self.all("tags").filter(|tags| !tags.is_empty()) {
            let tags: BTreeMap<String, String> = serde_json::from_str(tags)
                .map_err(|error| InvalidParam::Tags(error.to_string()))?;
            attributes.extend(tags);
        }
        Ok(attributes.into_iter().collect())
    }

    fn parse<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, InvalidParam> {
        let value = self.get(name).map(parse).transpose();
        value.map_err(|why| InvalidParam::Unparsable { name, why })
    }
}

/// A trace id as people and clients write it: hexadecimal with or without leading zeros, or base64
/// of the 16 bytes.
pub(crate) fn parse_trace_id(text: &str) -> Result<TraceId, InvalidParam> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex && (1..=32).contains(&text.len()) {
        return TraceId::from_hex(format!("{text:0>32}").as_bytes())
            .map_err(|_| InvalidParam::TraceId);
    }
    // Sixteen bytes of base64 end in "==", so they never look like hexadecimal digits.
    let bytes = STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text));
    let bytes = bytes.map_err(|_| InvalidParam::TraceId)?;
    TraceId::from_slice(&bytes).map_err(|_| InvalidParam::TraceId)
}

/// A time since the epoch, its unit told by its magnitude: Jaeger counts microseconds, Grafana may
/// send milliseconds here (grafana/grafana-jaeger-datasource), OTLP people paste nanoseconds. The
/// bounds are the year 1973 in one unit and the year 5138 in the next finer one.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    let number: u64 = text
        .parse()
        .map_err(|_| format!("expected a time as a number of microseconds, got '{text}'"))?;
    Ok(match number {
        100_000_000_000_000_000.. => Timestamp::from_nanos(number),
        100_000_000_000.. if number < 100_000_000_000_000 => {
            Timestamp::from_micros(number.saturating_mul(1_000))
        }
        _ => Timestamp::from_micros(number),
    })
}

/// A duration as Go's `time.ParseDuration` reads it, without a sign: `1.5s`, `100ms`, `1h2m`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || {
        let units = "ns, us, ms, s, m or h";
        format!("expected a duration such as 100ms or 1.2s (units {units}), got '{text}'")
    };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let n_digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(invalid)?;
        let (number, after) = rest.split_at(n_digits);
        let n_unit = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(n_unit);
        let unit_ns = match unit {
            "ns" => 1.0,
            // Both signs that look like a mu: the micro sign and the Greek letter.
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(invalid()),
        };
        nanos += number.parse::<f64>().map_err(|_| invalid())? * unit_ns;
        rest = after;
    }
    // Go's longest duration is an i64 of nanoseconds, 292 years.
    if text.is_empty() || nanos > i64::MAX as f64 {
        return Err(invalid());
    }
    Ok(Duration::from_nanos(nanos.round() as u64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params::new(
            pairs
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect(),
        )
    }

    fn query(pairs: &[(&str, &str)]) -> Result<TraceQuery, String> {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        params(pairs)
            .trace_query(now, 1500)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn durations_are_gos() {
        let cases = [
            ("0", 0),
            ("1ns", 1),
            ("1.5us", 1_500),
            ("2\u{b5}s", 2_000),
            ("100ms", 100_000_000),
            (".5s", 500_000_000),
            ("1h2m3s", 3_723_000_000_000),
        ];
        for (text, nanos) in cases {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_nanos(nanos)),
                "{text}"
            );
        }
        for text in [
            "", "1", "s", "1x", "-1s", "1s2", ".", "1..2s", "1e3s", "9999999h",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_unit_of_a_time_is_told_by_its_magnitude() {
        let expected = Ok(Timestamp::from_nanos(1_700_000_000_123_000_000));
        assert_eq!(parse_time("1700000000123"), expected);
        assert_eq!(parse_time("1700000000123000"), expected);
        assert_eq!(parse_time("1700000000123000000"), expected);
        assert_eq!(parse_time("5"), Ok(Timestamp::from_nanos(5_000)));
        assert!(parse_time("yesterday").is_err());
        assert!(parse_time("-5").is_err());
    }

    #[test]
    fn trace_ids_are_padded_hex_or_base64() {
        let id: TraceId = "00000000000000000000000000000abc".parse().unwrap();
        assert_eq!(parse_trace_id("abc"), Ok(id));
        assert_eq!(parse_trace_id("ABC"), Ok(id));
        assert_eq!(parse_trace_id("00000000000000000000000000000abc"), Ok(id));
        assert_eq!(parse_trace_id("AAAAAAAAAAAAAAAAAAAKvA=="), Ok(id));
        for text in [
            "",
            "0",
            "xyz",
            "000000000000000000000000000000abc",
            "AAAAAAAAAAA=",
        ] {
            assert_eq!(parse_trace_id(text), Err(InvalidParam::TraceId), "{text}");
        }
    }

    #[test]
    fn a_search_has_defaults() {
        let query = query(&[("service", "cart"), ("minDuration", ""), ("lookback", "1h")]).unwrap();
        assert_eq!(query.service.as_deref(), Some("cart"));
        assert_eq!(query.operation, None);
        assert_eq!(query.n_traces_max, 100);
        assert_eq!(query.start.end.as_micros(), 1_700_000_000_000_000);
        assert_eq!(query.start.start.as_micros(), 1_699_827_200_000_000);
        assert_eq!((query.duration_min, query.duration_max), (None, None));
    }

    #[test]
    fn tags_come_as_pairs_and_as_json() {
        let query = query(&[
            ("service", "cart"),
            ("tag", "http.url:http://x/"),
            ("tag", "error:false"),
            ("tags", r#"{"error":"true"}"#),
        ])
        .unwrap();
        let expected = [("error", "true"), ("http.url", "http://x/")];
        assert_eq!(
            query.attributes,
            expected.map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
    }

    #[test]
    fn more_traces_than_allowed_are_not_returned() {
        let query = query(&[("service", "cart"), ("limit", "1000000")]).unwrap();
        assert_eq!(query.n_traces_max, 1500);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[], "parameter 'service' is required"),
            (&[("service", "")], "parameter 'service' is required"),
            (
                &[("limit", "0")],
                "invalid parameter: limit must be greater than 0",
            ),
            (&[("limit", "many")], "unable to parse param 'limit': "),
            (&[("start", "now")], "unable to parse param 'start': "),
            (&[("end", "now")], "unable to parse param 'end': "),
            (
                &[("minDuration", "1")],
                "unable to parse param 'minDuration': ",
            ),
            (
                &[("tag", "error")],
                "malformed 'tag' parameter, expecting key:value, received: error",
            ),
            (
                &[("tags", "{")],
                "malformed 'tags' parameter, cannot unmarshal JSON: ",
            ),
            (
                &[("tags", r#"{"a":1}"#)],
                "malformed 'tags' parameter, cannot unmarshal JSON: ",
            ),
            (
                &[("service", "a"), ("start", "1800000000000000")],
                "invalid parameter: start time must be before end time",
            ),
            (
                &[
                    ("service", "a"),
                    ("minDuration", "2s"),
                    ("maxDuration", "1s"),
                ],
                "'maxDuration' should be greater than 'minDuration'",
            ),
        ];
        for (pairs, message) in cases {
            let error = query(pairs).unwrap_err();
            assert!(error.starts_with(message), "{pairs:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = parse_duration(&text);
            let _ = parse_time(&text);
            let _ = parse_trace_id(&text);
            let _ = query(&[("service", "a"), ("tags", &text), ("tag", &text)]);
        }
    }
}
