//! `OTEL_TRACES_SAMPLER` and its argument.

use std::str::FromStr;
use std::time::Duration;

use super::{Given, Reader};

/// What decides for a root, and whether a parent decides for its children.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SamplerSetting {
    pub(crate) root: RootSampler,
    pub(crate) parent_based: bool,
}

/// What decides about a trace that begins here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RootSampler {
    On,
    Off,
    Ratio(f64),
    /// A ratio that the whole trace can know: it is written into `tracestate`.
    Consistent(f64),
    /// What a server says, and until then a ratio.
    Remote(f64),
    /// What the rules of AWS X-Ray say.
    Xray,
}

/// Whom `jaeger_remote` or `xray` asks, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoteSetting {
    pub(crate) endpoint: String,
    pub(crate) interval: Duration,
}

/// The default.
const FALLBACK: SamplerSetting = SamplerSetting {
    root: RootSampler::On,
    parent_based: true,
};

impl SamplerSetting {
    /// The setting, and whether the environment names it.
    pub(super) fn read(reader: &mut Reader<'_>) -> (Self, bool) {
        const NAME: &str = "OTEL_TRACES_SAMPLER";
        if let Some(Given { value, .. }) = reader.by_environment(NAME) {
            if let Some(sampler) = Self::of(&value, reader) {
                return (sampler, true);
            }
            reader.warn(format!("{NAME}={value:?} is ignored: it is not known"));
        }
        let preset = reader.preset.default_of(NAME);
        let preset = preset.and_then(|value| Self::of(value, reader));
        (preset.unwrap_or(FALLBACK), false)
    }

    fn of(value: &str, reader: &mut Reader<'_>) -> Option<Self> {
        let lower = value.to_ascii_lowercase();
        let (parent_based, root) = match lower.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, lower.as_str()),
        };
        let root = match root {
            "always_on" => RootSampler::On,
            "always_off" => RootSampler::Off,
            "traceidratio" => RootSampler::Ratio(reader.ratio()),
            "consistent_probability" => RootSampler::Consistent(reader.ratio()),
            "jaeger_remote" => RootSampler::Remote(reader.initial_rate()),
            "xray" => RootSampler::Xray,
            _ => return None,
        };
        Some(Self { root, parent_based })
    }
}

const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";

impl Reader<'_> {
    /// The share of traces to keep, 1.0 when it is missing or not a share.
    fn ratio(&mut self) -> f64 {
        let ratio = self.number_or_default::<f64>(ARGUMENT);
        self.share(ratio)
    }

    fn initial_rate(&mut self) -> f64 {
        let rate = self.number_of_argument("initialSamplingRate");
        self.share(rate.unwrap_or(1.0))
    }

    /// The rest of `endpoint=..,pollingIntervalMs=..,initialSamplingRate=..`.
    pub(super) fn jaeger_remote(&mut self) -> RemoteSetting {
        let endpoint = self.argument("endpoint");
        let interval_ms = self.number_of_argument("pollingIntervalMs");
        RemoteSetting {
            endpoint: endpoint.unwrap_or_else(|| "http://localhost:14250".to_owned()),
            // Not zero, which would ask without a pause.
            interval: Duration::from_millis(interval_ms.unwrap_or(60_000).max(1)),
        }
    }

    /// `endpoint=..,polling_interval=..`, as the AWS distributions of OpenTelemetry take it: an
    /// address with or without `http://`, and seconds.
    pub(super) fn xray(&mut self) -> RemoteSetting {
        let endpoint = self.argument("endpoint");
        let endpoint = endpoint.unwrap_or_else(|| "http://localhost:2000".to_owned());
        let interval = self
            .number_of_argument("polling_interval")
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .unwrap_or(Duration::from_secs(300));
        RemoteSetting {
            endpoint: match endpoint.trim_end_matches('/') {
                url if url.contains("://") => url.to_owned(),
                address => format!("http://{address}"),
            },
            interval: interval.max(Duration::from_millis(1)),
        }
    }

    /// A number among the pairs. What is none is reported and counts as missing.
    fn number_of_argument<T: FromStr>(&mut self, key: &str) -> Option<T> {
        let value = self.argument(key)?;
        let number = value.parse().ok();
        if number.is_none() {
            self.warn(format!(
                "{ARGUMENT}: {key}={value:?} is ignored: it is not a number in range"
            ));
        }
        number
    }

    fn argument(&mut self, key: &str) -> Option<String> {
        let pairs = self.pairs(ARGUMENT);
        pairs
            .into_iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    }

    fn share(&mut self, ratio: f64) -> f64 {
        if (0.0..=1.0).contains(&ratio) {
            return ratio;
        }
        self.warn(format!(
            "{ARGUMENT}: {ratio} is not between 0 and 1: every trace is sampled"
        ));
        1.0
    }
}
