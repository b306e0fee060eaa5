//! `OTEL_TRACES_SAMPLER` and its argument.

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
}

/// The default, and what a name that cannot be served comes nearest to.
const FALLBACK: SamplerSetting = SamplerSetting {
    root: RootSampler::On,
    parent_based: true,
};

impl SamplerSetting {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let Some(Given { name, value }) = reader.given("OTEL_TRACES_SAMPLER") else {
            return FALLBACK;
        };
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
            "jaeger_remote" => {
                let ratio = reader.initial_rate();
                reader.warn(format!(
                    "{name}={value:?} asks no server here: {ratio} is sampled"
                ));
                // Jaeger's sampler leaves decided traces alone whatever its name says.
                return Self {
                    root: RootSampler::Ratio(ratio),
                    parent_based: true,
                };
            }
            "xray" => {
                reader.warn(format!(
                    "{name}={value:?} asks no server here: every trace is sampled"
                ));
                return FALLBACK;
            }
            _ => {
                reader.warn(format!(
                    "{name}={value:?} is not known: every trace is sampled"
                ));
                return FALLBACK;
            }
        };
        Self { root, parent_based }
    }
}

const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";

impl Reader<'_> {
    /// The share of traces to keep, 1.0 when it is missing or not a share.
    fn ratio(&mut self) -> f64 {
        let ratio = self.number_or_default::<f64>(ARGUMENT);
        self.share(ratio)
    }

    /// `initialSamplingRate` of `endpoint=..,pollingIntervalMs=..,initialSamplingRate=..`.
    fn initial_rate(&mut self) -> f64 {
        let arguments = self.pairs(ARGUMENT);
        let rate = arguments
            .iter()
            .find(|(key, _)| key == "initialSamplingRate");
        let rate = rate.and_then(|(_, rate)| rate.parse().ok()).unwrap_or(1.0);
        self.share(rate)
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
