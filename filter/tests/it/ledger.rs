//! Accepted = exported + dropped + held, at every step of any schedule.
//!
//! The scenario keeps its own books from outside: what requests there were, what the collector
//! answered to which spans. The filter's statistics have to agree with them after each step, and
//! when the last root has gone nothing may be held.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::otlp::{partial_success, spans};
use crate::sim::{Call, Direction, Exchange, Process, Reply, Worker, first};

/// Small enough that every limit is met.
const CONFIGURATION: &str = r#"{
    "batch": {"spans_max": 5, "interval_ms": 1000},
    "exporter": {"buffer_bytes_max": 65536, "retry": {"initial_ms": 500, "elapsed_ms_max": 15000}}
}"#;

/// A root with a pipeline of its own and without spans: its ticks tell the statistics of the VM and
/// move nothing of the others'.
const BYSTANDER: &str = r#"{"exporter": {"cluster": "none"}}"#;

#[derive(Clone, Debug)]
enum Action {
    /// Requests on the root of this number.
    Serve(usize, u32),
    Tick(usize),
    AdvanceMs(u64),
    /// The collector takes the call of this number except some of its spans.
    Take(usize, u64),
    /// It refuses the call for good.
    Refuse(usize),
    /// It asks to come again.
    Postpone(usize),
    /// It breaks the connection.
    Break(usize),
    AddRoot,
    EndRoot(usize),
    SetCluster(bool),
}

fn action() -> impl Strategy<Value = Action> {
    let at = 0..8usize;
    prop_oneof![
        6 => (at.clone(), 1..8u32).prop_map(|(at, n)| Action::Serve(at, n)),
        1 => (at.clone(), 60..160u32).prop_map(|(at, n)| Action::Serve(at, n)),
        3 => at.clone().prop_map(Action::Tick),
        4 => (1..4000u64).prop_map(Action::AdvanceMs),
        1 => (4000..30_000u64).prop_map(Action::AdvanceMs),
        5 => (at.clone(), 0..3u64).prop_map(|(at, n)| Action::Take(at, n)),
        1 => at.clone().prop_map(Action::Refuse),
        3 => at.clone().prop_map(Action::Postpone),
        2 => at.clone().prop_map(Action::Break),
        1 => Just(Action::AddRoot),
        1 => at.prop_map(Action::EndRoot),
        1 => any::<bool>().prop_map(Action::SetCluster),
    ]
}

struct Books {
    worker: Worker,
    bystander: u32,
    roots: Vec<u32>,
    /// Spans of the requests so far, by id.
    finished: BTreeSet<String>,
    /// Those of them that the collector has settled, one way or the other.
    settled: BTreeSet<String>,
    n_exported: u64,
    n_rejected: u64,
    n_refused: u64,
}

impl Books {
    fn open() -> Self {
        let mut worker = Worker::new(&Process::new());
        let bystander = worker.root(BYSTANDER, Direction::Inbound);
        let roots = [Direction::Inbound, Direction::Outbound];
        let roots = roots.map(|direction| worker.root(CONFIGURATION, direction));
        Self {
            worker,
            bystander,
            roots: roots.to_vec(),
            finished: BTreeSet::new(),
            settled: BTreeSet::new(),
            n_exported: 0,
            n_rejected: 0,
            n_refused: 0,
        }
    }

    fn root(&self, at: usize) -> Option<u32> {
        let at = at.checked_rem(self.roots.len())?;
        Some(self.roots[at])
    }

    fn call(&self, at: usize) -> Option<Call> {
        let mut calls = self.worker.calls();
        let at = at.checked_rem(calls.len())?;
        Some(calls.swap_remove(at))
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::Serve(at, n) => {
                let Some(root) = self.root(at) else { return };
                for _ in 0..n {
                    let served = self.worker.serve(root, Exchange::get("/"));
                    let sent = first(&served.request, "traceparent").unwrap();
                    assert!(self.finished.insert(sent[36..52].to_owned()), "{sent}");
                }
            }
            Action::Tick(at) => {
                if let Some(root) = self.root(at) {
                    self.worker.tick(root);
                }
            }
            Action::AdvanceMs(ms) => self.worker.advance_ms(ms),
            Action::Take(at, n_rejected) => {
                if let Some(call) = self.call(at) {
                    let n_spans = self.settle(&call);
                    let n_rejected = n_rejected.min(n_spans);
                    self.n_rejected += n_rejected;
                    self.n_exported += n_spans - n_rejected;
                    let message = partial_success(i64::try_from(n_rejected).unwrap(), "");
                    self.worker.answer(call.token, Reply::grpc_ok(&message));
                }
            }
            Action::Refuse(at) => {
                if let Some(call) = self.call(at) {
                    self.n_refused += self.settle(&call);
                    self.worker.answer(call.token, Reply::grpc(3, &[]));
                }
            }
            Action::Postpone(at) => {
                if let Some(call) = self.call(at) {
                    self.worker.answer(call.token, Reply::grpc(14, &[]));
                }
            }
            Action::Break(at) => {
                if let Some(call) = self.call(at) {
                    self.worker.answer(call.token, Reply::nothing());
                }
            }
            Action::AddRoot => {
                let root = self.worker.root(CONFIGURATION, Direction::Inbound);
                self.roots.push(root);
            }
            Action::EndRoot(at) => {
                if let Some(root) = self.root(at) {
                    self.roots.retain(|id| *id != root);
                    self.worker.end_root(root);
                }
            }
            Action::SetCluster(is_there) => {
                let process = self.worker.process();
                process.set_cluster("otel_collector", is_there);
            }
        }
    }

    /// The collector's last word on a call: none of its spans may come again.
    fn settle(&mut self, call: &Call) -> u64 {
        let spans = spans(call);
        for span in &spans {
            assert!(
                self.settled.insert(span.span_id()),
                "sent again after a final answer"
            );
        }
        spans.len() as u64
    }

    /// How many spans the filter holds by its own account, which has to agree with the books.
    fn check(&mut self) -> u64 {
        self.worker.tick(self.bystander);
        let process = self.worker.process();
        let n_accepted = process.metric("spanloom.spans_accepted");
        let n_dropped = process.metrics_under("spanloom.spans_dropped");
        assert_eq!(n_accepted, self.finished.len() as u64);
        assert_eq!(process.metric("spanloom.spans_exported"), self.n_exported);
        assert_eq!(
            process.metric("spanloom.spans_dropped.rejected"),
            self.n_rejected
        );
        assert_eq!(
            process.metric("spanloom.spans_dropped.refused"),
            self.n_refused
        );
        let n_gone = self.n_exported + n_dropped;
        let n_held = n_accepted.checked_sub(n_gone).expect("more gone than came");

        let mut under_way = BTreeSet::new();
        for span in self.worker.calls().iter().flat_map(spans) {
            assert!(self.finished.contains(&span.span_id()));
            assert!(!self.settled.contains(&span.span_id()));
            assert!(under_way.insert(span.span_id()), "under way twice");
        }
        assert!(under_way.len() as u64 <= n_held);
        n_held
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_span_is_accounted_for(actions in prop::collection::vec(action(), 1..60)) {
        let mut books = Books::open();
        for action in &actions {
            books.act(action);
            books.check();
        }
        for root in std::mem::take(&mut books.roots) {
            books.worker.end_root(root);
        }
        books.worker.advance_ms(10_000);
        prop_assert_eq!(books.check(), 0, "the last root is gone");
        prop_assert!(books.worker.calls().is_empty());
    }
}
