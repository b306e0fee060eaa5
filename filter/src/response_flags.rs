//! Envoy's response flags: why Envoy itself ended or shaped a response.

/// By bit of `response.flags`: Envoy's short name, and whether requests fail by it and then with
/// which `error.type` (Envoy's long name in lower case).
const FLAGS: &[(&str, Option<&str>)] = &[
    ("LH", Some("failed_local_health_check")),
    ("UH", Some("no_healthy_upstream")),
    ("UT", Some("upstream_request_timeout")),
    ("LR", Some("local_reset")),
    ("UR", Some("upstream_remote_reset")),
    ("UF", Some("upstream_connection_failure")),
    ("UC", Some("upstream_connection_termination")),
    ("UO", Some("upstream_overflow")),
    ("NR", Some("no_route_found")),
    ("DI", None),
    ("FI", Some("fault_injected")),
    ("RL", Some("rate_limited")),
    ("UAEX", Some("unauthorized_external_service")),
    ("RLSE", Some("rate_limit_service_error")),
    ("DC", None),
    ("URX", Some("upstream_retry_limit_exceeded")),
    ("SI", Some("stream_idle_timeout")),
    ("IH", Some("invalid_envoy_request_headers")),
    ("DPE", Some("downstream_protocol_error")),
    ("UMSDR", Some("upstream_max_stream_duration_reached")),
    ("RFCF", None),
    ("NFCF", Some("no_filter_config_found")),
    ("DT", Some("duration_timeout")),
    ("UPE", Some("upstream_protocol_error")),
    ("NC", Some("no_cluster_found")),
    ("OM", Some("overload_manager")),
    ("DF", Some("dns_resolution_failed")),
    ("DO", Some("drop_overload")),
    ("DR", Some("downstream_remote_reset")),
    ("UDO", Some("unconditional_drop_overload")),
];

/// The bit of "the caller went away".
const DOWNSTREAM_CONNECTION_TERMINATION: u32 = 14;
const DOWNSTREAM_REMOTE_RESET: u32 = 28;

/// A set of flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResponseFlags(pub(crate) u64);

impl ResponseFlags {
    /// The short names; a bit that this version does not know is `bitN`.
    pub(crate) fn names(self) -> Vec<String> {
        (0..u64::BITS)
            .filter(|bit| self.has(*bit))
            .map(name)
            .collect()
    }

    /// Envoy's long name for the first flag that says why the request failed.
    pub(crate) fn error_type(self) -> Option<&'static str> {
        let flags = (0..).zip(FLAGS);
        flags
            .filter(|(bit, _)| self.has(*bit))
            .find_map(|(_, (_, error_type))| *error_type)
    }

    /// Whether the caller went away before the response was over.
    pub(crate) const fn is_cancelled(self) -> bool {
        self.has(DOWNSTREAM_CONNECTION_TERMINATION) || self.has(DOWNSTREAM_REMOTE_RESET)
    }

    const fn has(self, bit: u32) -> bool {
        self.0.unbounded_shr(bit) & 1 == 1
    }
}

fn name(bit: u32) -> String {
    let known = usize::try_from(bit).ok().and_then(|bit| FLAGS.get(bit));
    known.map_or_else(|| format!("bit{bit}"), |(name, _)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_named_and_unknown_ones_survive() {
        let flags = ResponseFlags(1 << 5 | 1 << 15 | 1 << 40);
        assert_eq!(flags.names(), ["UF", "URX", "bit40"]);
        assert_eq!(flags.error_type(), Some("upstream_connection_failure"));
        assert!(ResponseFlags(0).names().is_empty());
    }

    #[test]
    fn a_caller_who_left_is_no_error() {
        let flags = ResponseFlags(1 << 14);
        assert!(flags.is_cancelled());
        assert_eq!(flags.error_type(), None);
    }
}
