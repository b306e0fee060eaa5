//! What all workers of one Envoy share.

use std::cell::{Ref, RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::property::{Value, path};

/// One Envoy. Copies of a handle are the same process.
#[derive(Clone, Debug)]
pub(crate) struct Process(Rc<RefCell<State>>);

#[derive(Debug)]
pub(super) struct State {
    pub(super) now_ns: u64,
    pub(super) random: u64,
    pub(super) clusters: BTreeSet<String>,
    pub(super) node: BTreeMap<Vec<u8>, Value>,
    pub(super) environment: Vec<(String, String)>,
    /// By name, summed up over workers.
    pub(super) metrics: BTreeMap<String, i64>,
    pub(super) log: Vec<(u32, String)>,
    /// Whether a call to a cluster finds a host there; without one it fails at once.
    pub(super) has_healthy_hosts: bool,
}

impl Process {
    /// A process with a collector's cluster and without Istio.
    pub(crate) fn new() -> Self {
        let node = [
            ("xds.node.id", "sidecar~10.0.0.1"),
            ("xds.node.cluster", "cart"),
        ];
        let node = node.map(|(name, value)| (path(name), Value::text(value)));
        Self(Rc::new(RefCell::new(State {
            now_ns: 1_700_000_000_000_000_000,
            random: 0x5eed,
            clusters: BTreeSet::from(["otel_collector".to_owned()]),
            node: BTreeMap::from(node),
            environment: Vec::new(),
            metrics: BTreeMap::new(),
            log: Vec::new(),
            has_healthy_hosts: true,
        })))
    }

    pub(super) fn state(&self) -> Ref<'_, State> {
        self.0.borrow()
    }

    pub(super) fn state_mut(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }

    /// The wall clock.
    pub(crate) fn now_ns(&self) -> u64 {
        self.state().now_ns
    }

    /// Lets time pass without any timer noticing: the time that a request takes.
    pub(crate) fn elapse_ms(&self, ms: u64) {
        self.state_mut().now_ns += ms * 1_000_000;
    }

    /// Sets the clock, backwards too.
    pub(crate) fn set_clock_ns(&self, now_ns: u64) {
        self.state_mut().now_ns = now_ns;
    }

    /// A statistic; one that nobody defined is zero.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let value = self.state().metrics.get(name).copied().unwrap_or_default();
        u64::try_from(value).expect("counters do not go below zero")
    }

    /// All statistics whose names begin so, summed up.
    pub(crate) fn metrics_under(&self, prefix: &str) -> u64 {
        let state = self.state();
        let under = state
            .metrics
            .iter()
            .filter(|(name, _)| name.starts_with(prefix));
        let sum: i64 = under.map(|(_, value)| *value).sum();
        u64::try_from(sum).expect("counters do not go below zero")
    }

    /// The lines of the proxy's log.
    pub(crate) fn log(&self) -> Vec<String> {
        self.state()
            .log
            .iter()
            .map(|(_, line)| line.clone())
            .collect()
    }

    /// Takes a cluster away, or brings it.
    pub(crate) fn set_cluster(&self, name: &str, is_there: bool) {
        let clusters = &mut self.state_mut().clusters;
        if is_there {
            clusters.insert(name.to_owned());
        } else {
            clusters.remove(name);
        }
    }

    /// Says something about the node; `segments` are joined as they are.
    pub(crate) fn set_node(&self, segments: &[&str], value: &str) {
        let path = ["xds\0node\0", &segments.join("\0")].concat();
        self.state_mut()
            .node
            .insert(path.into_bytes(), Value::text(value));
    }

    /// Sets a variable of the VM's environment; workers that exist do not see it.
    pub(crate) fn set_environment(&self, name: &str, value: &str) {
        let variable = (name.to_owned(), value.to_owned());
        self.state_mut().environment.push(variable);
    }

    /// Whether clusters have hosts that can be called.
    pub(crate) fn set_healthy_hosts(&self, are_there: bool) {
        self.state_mut().has_healthy_hosts = are_there;
    }

    /// The next bytes of the process's generator (SplitMix64): no two workers get the same ones.
    pub(super) fn fill_random(&self, bytes: &mut [u8]) {
        let state = &mut *self.state_mut();
        for chunk in bytes.chunks_mut(8) {
            state.random = state.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = state.random;
            word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            let word = (word ^ word >> 31).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}
