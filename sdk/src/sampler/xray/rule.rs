//! One sampling rule: whom it is for, and how many it lets through.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use serde_json::{Value, json};

use super::service::Service;
use crate::sampler::remote::Bucket;

/// What is known of a span at its start.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a>(pub(super) &'a [KeyValue]);

impl<'a> Asked<'a> {
    fn value(self, name: &str) -> Option<std::borrow::Cow<'a, str>> {
        let found = self.0.iter().find(|known| known.key.as_str() == name);
        found.map(|known| known.value.as_str())
    }

    /// `url.path`, which servers have, or the path in `url.full`, which clients have.
    fn path_matches(self, pattern: &str) -> bool {
        if pattern == "*" {
            return true;
        }
        if let Some(path) = self.value("url.path") {
            return is_like(pattern, &path);
        }
        self.value("url.full").is_some_and(|url| {
            let rest = url.split_once("://").map_or(&*url, |(_, rest)| rest);
            let path = rest.find('/').map_or("/", |start| &rest[start..]);
            is_like(pattern, path.split(['?', '#']).next().unwrap_or(path))
        })
    }

    fn method_matches(self, pattern: &str) -> bool {
        // What is no method of HTTP's own is told in another attribute.
        match self.value("http.request.method").as_deref() {
            Some("_OTHER") => self.matches("http.request.method_original", pattern),
            _ => self.matches("http.request.method", pattern),
        }
    }

    fn matches(self, name: &str, pattern: &str) -> bool {
        pattern == "*"
            || self
                .value(name)
                .is_some_and(|value| is_like(pattern, &value))
    }
}

/// A rule of this service, and what it has let through.
#[derive(Debug)]
pub(super) struct Rule {
    definition: Definition,
    reservoir: Mutex<Reservoir>,
    n_requests: AtomicU64,
    n_sampled: AtomicU64,
    n_borrowed: AtomicU64,
}

#[derive(Debug, PartialEq)]
struct Definition {
    name: String,
    priority: i64,
    fixed_rate: f64,
    has_reservoir: bool,
    host: String,
    method: String,
    path: String,
    /// What a function's spans must say, when its resource does not.
    arn: String,
    attributes: Vec<(String, String)>,
}

/// What is let through before the rate counts.
#[derive(Debug)]
struct Reservoir {
    rate: f64,
    /// One a second, on credit, while X-Ray has not said what our share is.
    credit: Bucket,
    share: Option<(Bucket, Instant)>,
}

impl Rule {
    /// Reads a `SamplingRule`. Nothing if it has no name or is for somebody else.
    pub(super) fn read(rule: &Value, service: &Service, now: Instant) -> Option<Self> {
        let text = |name: &str| rule[name].as_str().unwrap_or("*").to_owned();
        let is_ours = service.is_like(
            &text("ServiceName"),
            &text("ServiceType"),
            &text("ResourceARN"),
        );
        let attributes = rule["Attributes"].as_object();
        let attributes = attributes.into_iter().flatten();
        let definition = Definition {
            name: rule["RuleName"].as_str().filter(|_| is_ours)?.to_owned(),
            priority: rule["Priority"].as_i64().unwrap_or(i64::MAX),
            fixed_rate: share(&rule["FixedRate"])?,
            has_reservoir: rule["ReservoirSize"]
                .as_f64()
                .is_some_and(|size| size > 0.0),
            host: text("Host"),
            method: text("HTTPMethod"),
            path: text("URLPath"),
            arn: match service.is_named_by_spans() {
                true => text("ResourceARN"),
                false => "*".to_owned(),
            },
            attributes: attributes
                .map(|(name, value)| (name.clone(), value.as_str().unwrap_or("*").to_owned()))
                .collect(),
        };
        Some(Self {
            reservoir: Mutex::new(Reservoir {
                rate: definition.fixed_rate,
                credit: Bucket::new(f64::from(u8::from(definition.has_reservoir)), now),
                share: None,
            }),
            definition,
            n_requests: AtomicU64::new(0),
            n_sampled: AtomicU64::new(0),
            n_borrowed: AtomicU64::new(0),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.definition.name
    }

    /// The lower priority goes first, then the name.
    pub(super) fn order(&self) -> (i64, &str) {
        (self.definition.priority, &self.definition.name)
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.definition == other.definition
    }

    pub(super) fn matches(&self, asked: Asked<'_>) -> bool {
        let rule = &self.definition;
        let mut attributes = rule.attributes.iter();
        asked.method_matches(&rule.method)
            && asked.matches("server.address", &rule.host)
            && asked.path_matches(&rule.path)
            && asked.matches("cloud.resource_id", &rule.arn)
            && attributes.all(|(name, pattern)| asked.matches(name, pattern))
    }

    /// Whether the reservoir lets one more through, and the rate for it if not.
    pub(super) fn take(&self, now: Instant) -> (bool, f64) {
        self.n_requests.fetch_add(1, Ordering::Relaxed);
        let reservoir = self
            .reservoir
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let share = reservoir.share.as_ref().filter(|(_, until)| now < *until);
        let (is_within, counter) = match share {
            Some((share, _)) => (share.take(now), &self.n_sampled),
            None => (reservoir.credit.take(now), &self.n_borrowed),
        };
        if is_within {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        (is_within, reservoir.rate)
    }

    pub(super) fn count_sampled(&self) {
        self.n_sampled.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a `SamplingTargetDocument`.
    pub(super) fn aim(&self, target: &Value, now: Instant, epoch_s: f64) {
        let mut reservoir = self
            .reservoir
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(rate) = share(&target["FixedRate"]) {
            reservoir.rate = rate;
        }
        let quota = target["ReservoirQuota"].as_f64();
        let left_s = target["ReservoirQuotaTTL"]
            .as_f64()
            .map(|until| until - epoch_s);
        let left = left_s.and_then(|left_s| Duration::try_from_secs_f64(left_s).ok());
        if let (Some(quota), Some(until)) = (quota, left.and_then(|left| now.checked_add(left))) {
            // A share that only lasts longer is not filled anew, or it would give twice.
            match &mut reservoir.share {
                Some((share, old)) if share.per_second() == quota => *old = until,
                share => *share = Some((Bucket::new(quota, now), until)),
            }
        }
    }

    /// A `SamplingStatisticsDocument` of what was counted since the last one.
    pub(super) fn statistics(&self, client_id: &str, epoch_s: f64) -> Value {
        let count = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        json!({
            "ClientID": client_id,
            "RuleName": self.definition.name,
            "Timestamp": epoch_s,
            "RequestCount": count(&self.n_requests),
            "SampledCount": count(&self.n_sampled),
            "BorrowCount": count(&self.n_borrowed),
        })
    }
}

fn share(value: &Value) -> Option<f64> {
    value.as_f64().filter(|rate| (0.0..=1.0).contains(rate))
}

/// Whether a text is like a pattern, in which `*` stands for any characters and `?` for one.
/// Letters of ASCII match in either case.
pub(super) fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on when the rest does not match: one further than the last star has reached.
    let mut retry = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t + 1));
                p += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted.eq_ignore_ascii_case(&text[t]) => {
                (p, t) = (p + 1, t + 1);
            }
            _ => match retry {
                Some((after_star, next)) => {
                    (p, t) = (after_star, next);
                    retry = Some((after_star, next + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_sdk::Resource;
    use proptest::prelude::*;

    fn service(name: &str) -> Service {
        Service::of(&Resource::builder_empty().build(), name.to_owned())
    }

    /// The same by the definition, in exponential time.
    fn is_like_by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], text) => text.is_empty(),
            ([b'*', rest @ ..], text) => {
                (0..=text.len()).any(|n| is_like_by_definition(rest, &text[n..]))
            }
            ([b'?', rest @ ..], [_, text @ ..]) => is_like_by_definition(rest, text),
            ([a, rest @ ..], [b, text @ ..]) => a == b && is_like_by_definition(rest, text),
            (_, []) => false,
        }
    }

    proptest! {
        #[test]
        fn a_pattern_means_what_its_definition_says(
            pattern in "[ab?*]{0,8}",
            text in "[ab]{0,10}",
        ) {
            let expected = is_like_by_definition(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(is_like(&pattern, &text), expected);
        }

        #[test]
        fn whatever_a_daemon_says_a_rule_still_decides(
            size in any::<f64>(),
            quota in any::<f64>(),
            ttl in any::<f64>(),
            rate in any::<f64>(),
        ) {
            let now = Instant::now();
            let rule = json!({ "RuleName": "r", "FixedRate": 0.5, "ReservoirSize": size });
            let rule = Rule::read(&rule, &service("cart"), now).unwrap();
            let target = json!({
                "FixedRate": rate, "ReservoirQuota": quota, "ReservoirQuotaTTL": ttl,
            });
            rule.aim(&target, now, 1e9);
            let (_, rate) = rule.take(now);
            prop_assert!((0.0..=1.0).contains(&rate));
        }
    }

    #[test]
    fn stars_and_question_marks_stand_for_others() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("/api/*/tea", "/API/v1/green/tea", true),
            ("/api/*/tea", "/api/tea", false),
            ("*a*b", "aabab", true),
            ("*a*b", "aaba", false),
            ("?og", "dog", true),
            ("?og", "og", false),
            ("a*", "ba", false),
        ] {
            assert_eq!(is_like(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_rule_matches_by_what_the_span_says() {
        let rule = json!({
            "RuleName": "r", "FixedRate": 0.5, "ServiceName": "c?rt", "HTTPMethod": "get",
            "URLPath": "/orders/*", "Host": "*.example", "Attributes": { "tier": "gold*" },
        });
        let now = Instant::now();
        assert!(Rule::read(&rule, &service("shop"), now).is_none());
        let rule = Rule::read(&rule, &service("cart"), now).unwrap();
        let span = |path: (&'static str, &'static str), tier: &'static str| {
            let pairs = [
                ("http.request.method", "GET"),
                ("server.address", "shop.example"),
                path,
                ("tier", tier),
            ];
            let attributes = pairs.map(|(key, value)| KeyValue::new(key, value));
            rule.matches(Asked(&attributes))
        };
        assert!(span(("url.path", "/orders/7"), "golden"));
        assert!(span(("url.full", "http://h:80/orders/7?x=/y"), "gold"));
        assert!(!span(("url.full", "http://h/?x=/orders/7"), "gold"));
        assert!(!span(("url.path", "/orders/7"), "silver"));
        assert!(!span(("other", "/orders/7"), "gold"));
    }

    #[test]
    fn an_unusual_method_matches_by_its_own_name() {
        let rule = json!({ "RuleName": "r", "FixedRate": 0.5, "HTTPMethod": "PURGE" });
        let rule = Rule::read(&rule, &service("cart"), Instant::now()).unwrap();
        let span = |original: &'static str| {
            let pairs = [
                ("http.request.method", "_OTHER"),
                ("http.request.method_original", original),
            ];
            rule.matches(Asked(&pairs.map(|(key, value)| KeyValue::new(key, value))))
        };
        assert!(span("PURGE") && !span("BREW"));
    }

    #[test]
    fn a_rule_lends_one_a_second_until_it_knows_its_share_and_then_gives_that() {
        let now = Instant::now();
        let rule = json!({ "RuleName": "r", "FixedRate": 0.5, "ReservoirSize": 50 });
        let rule = Rule::read(&rule, &service("cart"), now).unwrap();
        let take = |after: u64| rule.take(now + Duration::from_secs(after));
        assert_eq!(
            [take(0), take(0), take(1)],
            [(true, 0.5), (false, 0.5), (true, 0.5)]
        );
        let target = json!({
            "FixedRate": 0.1, "ReservoirQuota": 2, "ReservoirQuotaTTL": 1_000_010,
        });
        rule.aim(&target, now + Duration::from_secs(2), 1_000_000.0);
        let taken = [take(2).0, take(2).0, take(2).0];
        assert_eq!(taken, [true, true, false]);
        // Past its time the share is worth nothing, and the credit is back.
        assert_eq!([take(13), take(13)], [(true, 0.1), (false, 0.1)]);
        rule.count_sampled();
        let told = rule.statistics("client", 1.0);
        let counts = ["RequestCount", "SampledCount", "BorrowCount"];
        assert_eq!(counts.map(|name| told[name].as_u64()), [8, 3, 3].map(Some));
        assert_eq!(rule.statistics("client", 1.0)["RequestCount"], 0);
    }
}
