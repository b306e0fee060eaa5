//! One VM and what the proxy does with it.

use std::fmt::Debug;

use wasmi::{Instance, Store, WasmParams, WasmResults};

use super::callout::{Call, Reply};
use super::fault::Fault;
use super::host::{After, Context, Host, Root};
use super::process::Process;
use super::property::{Value, path};
use super::stream::{Exchange, Phase, Served, Stream};
use super::{imports, module};

/// `xds.listener_direction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Unspecified = 0,
    Inbound = 1,
    Outbound = 2,
}

/// `Continue` of `proxy_action_t`.
const CONTINUE: u32 = 0;

/// A worker's VM.
#[derive(Debug)]
pub(crate) struct Worker {
    store: Store<Host>,
    instance: Instance,
    next_context_id: u32,
}

impl Worker {
    /// A new instance of the module, with a memory of its own.
    pub(crate) fn new(process: &Process) -> Self {
        let module = module::module();
        let mut store = Store::new(module.engine(), Host::new(process));
        let instance = imports::linker(module.engine())
            .instantiate_and_start(&mut store, module)
            .expect("the host has all that the module imports");
        let memory = instance
            .get_memory(&store, "memory")
            .expect("the module exports its memory");
        let allocate = instance
            .get_typed_func(&store, "proxy_on_memory_allocate")
            .expect("the module exports an allocator");
        store.data_mut().module = Some((memory, allocate));
        Self {
            store,
            instance,
            next_context_id: 1,
        }
    }

    /// A root with this configuration. The host starts the VM for each root that it adds.
    pub(crate) fn root(&mut self, configuration: &str, direction: Direction) -> u32 {
        let id = self.next_id();
        let root = Root {
            direction: direction as i64,
            tick: None,
            is_leaving: false,
        };
        let host = self.store.data_mut();
        host.contexts.insert(id, Context::Root(root));
        host.configuration = Some(configuration.as_bytes().to_vec());
        let length = u32::try_from(configuration.len()).expect("a configuration is small");
        let () = self.call("proxy_on_context_create", id, (id, 0u32));
        let is_up: u32 = self.call("proxy_on_vm_start", id, (id, 0u32));
        assert_eq!(is_up, 1, "a VM that does not start takes the traffic down");
        let is_taken: u32 = self.call("proxy_on_configure", id, (id, length));
        assert_eq!(
            is_taken, 1,
            "a refused configuration takes the traffic down"
        );
        self.store.data_mut().configuration = None;
        id
    }

    /// A request arrives and its headers pass the filter.
    pub(crate) fn begin(&mut self, root_id: u32, exchange: Exchange) -> u32 {
        let id = self.create(root_id, exchange);
        self.set_phase(id, Phase::RequestHeaders);
        let exchange = &self.stream(id).exchange;
        let n_headers = exchange.request.len() as u32;
        let is_end = u32::from(!exchange.has_body());
        let action: u32 = self.call("proxy_on_request_headers", id, (id, n_headers, is_end));
        assert_eq!(action, CONTINUE, "the filter never holds a request up");
        self.set_phase(id, Phase::Between);
        id
    }

    /// The response's headers pass the filter.
    pub(crate) fn respond(&mut self, id: u32) {
        self.stream_mut(id).has_response = true;
        self.set_phase(id, Phase::ResponseHeaders);
        let n_headers = self.stream(id).exchange.response.len() as u32;
        let action: u32 = self.call("proxy_on_response_headers", id, (id, n_headers, 0u32));
        assert_eq!(action, CONTINUE, "the filter never holds a response up");
        self.set_phase(id, Phase::Between);
    }

    /// The stream is over, in Envoy's order: log, done, delete.
    pub(crate) fn end(&mut self, id: u32) -> Served {
        self.set_phase(id, Phase::Log);
        let () = self.call("proxy_on_log", id, id);
        self.set_phase(id, Phase::Between);
        let is_done: u32 = self.call("proxy_on_done", id, id);
        assert_eq!(is_done, 1, "a stream never waits");
        let stream = self.stream(id).clone();
        self.destroy(id);
        Served {
            request: stream.exchange.request,
            response: stream.exchange.response,
            n_hostcalls: stream.n_hostcalls,
            n_route_cache_clears: stream.n_route_cache_clears,
        }
    }

    /// A whole request that takes 5 ms.
    pub(crate) fn serve(&mut self, root_id: u32, exchange: Exchange) -> Served {
        let id = self.begin(root_id, exchange);
        self.process().elapse_ms(5);
        self.respond(id);
        self.end(id)
    }

    /// A request that something before the filter refuses: the filter hears of it in the log only.
    pub(crate) fn refuse(&mut self, root_id: u32, exchange: Exchange) -> Served {
        let id = self.create(root_id, exchange);
        self.process().elapse_ms(5);
        self.stream_mut(id).has_response = true;
        self.end(id)
    }

    /// Time passes; timers fire and calls time out as they become due.
    pub(crate) fn advance_ms(&mut self, ms: u64) {
        let until_ns = self.process().now_ns() + ms * 1_000_000;
        while let Some((due_ns, event)) = self.next_event()
            && due_ns <= until_ns
        {
            let now_ns = self.process().now_ns().max(due_ns);
            self.process().set_clock_ns(now_ns);
            match event {
                Event::Tick(root_id) => self.tick(root_id),
                Event::Timeout(token) => self.answer(token, Reply::nothing()),
            }
        }
        self.process().set_clock_ns(until_ns);
    }

    /// Time passes until the module calls a cluster again: at most a minute.
    #[track_caller]
    pub(crate) fn advance_to_call(&mut self) -> Call {
        for _ in 0..600 {
            if let Some(call) = self.calls().pop() {
                return call;
            }
            self.advance_ms(100);
        }
        panic!("no call within a minute; log: {:?}", self.process().log());
    }

    /// A root's timer fires, now, and then again after its period.
    pub(crate) fn tick(&mut self, root_id: u32) {
        let now_ns = self.process().now_ns();
        let root = self.store.data_mut().root_mut(root_id);
        if let Some(tick) = root.and_then(|root| root.tick.as_mut()) {
            tick.next_ns = now_ns + tick.period_ns;
            let () = self.call("proxy_on_tick", root_id, root_id);
        }
    }

    /// The calls under way, oldest first.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.store.data().calls.values().cloned().collect()
    }

    /// The one call under way.
    #[track_caller]
    pub(crate) fn only_call(&self) -> Call {
        let mut calls = self.calls();
        assert_eq!(calls.len(), 1, "one call under way");
        calls.remove(0)
    }

    /// A cluster answers.
    pub(crate) fn answer(&mut self, token: u32, reply: Reply) {
        let host = self.store.data_mut();
        let call = host.calls.remove(&token).expect("the call is under way");
        let (n_headers, n_trailers) = (reply.headers.len() as u32, reply.trailers.len() as u32);
        let body_length = reply.body.len() as u32;
        host.delivery = Some(reply);
        let arguments = (call.context_id, token, n_headers, body_length, n_trailers);
        let () = self.call("proxy_on_http_call_response", call.context_id, arguments);
        self.store.data_mut().delivery = None;
    }

    /// The host loses the call: not even its timeout comes.
    pub(crate) fn forget(&mut self, token: u32) {
        let call = self.store.data_mut().calls.get_mut(&token);
        call.expect("the call is under way").deadline_ns = None;
    }

    /// The proxy has no more use for a root. True if it ended at once.
    pub(crate) fn end_root(&mut self, root_id: u32) -> bool {
        let mut contexts = self.store.data().contexts.values();
        let has_streams = contexts
            .any(|context| matches!(context, Context::Stream(stream) if stream.root_id == root_id));
        assert!(!has_streams, "streams hold their root");
        let is_done: u32 = self.call("proxy_on_done", root_id, root_id);
        if is_done == 1 {
            self.destroy(root_id);
        } else if let Some(root) = self.store.data_mut().root_mut(root_id) {
            root.is_leaving = true;
        }
        is_done == 1
    }

    /// Whether a context still exists.
    pub(crate) fn is_alive(&self, id: u32) -> bool {
        self.store.data().contexts.contains_key(&id)
    }

    /// The linear memory, in pages of 64 KiB. It never shrinks.
    pub(crate) fn n_memory_pages(&self) -> u64 {
        self.store.data().memory().size(&self.store)
    }

    /// From now on a host call fails.
    pub(crate) fn fail(&mut self, fault: Fault) {
        self.store.data_mut().faults.add(fault);
    }

    /// How many host calls have failed by a fault.
    pub(crate) fn n_faults_struck(&self) -> u64 {
        self.store.data().faults.n_struck()
    }

    /// The process that the worker is one of.
    pub(crate) fn process(&self) -> Process {
        self.store.data().process.clone()
    }

    fn create(&mut self, root_id: u32, mut exchange: Exchange) -> u32 {
        let id = self.next_id();
        let now_ns = i64::try_from(self.process().now_ns()).expect("this century");
        let time = exchange.properties.entry(path("request.time"));
        time.or_insert(Value::Int(now_ns));
        let stream = Stream {
            root_id,
            phase: Phase::Between,
            has_response: false,
            exchange,
            n_hostcalls: 0,
            n_route_cache_clears: 0,
        };
        let contexts = &mut self.store.data_mut().contexts;
        contexts.insert(id, Context::Stream(Box::new(stream)));
        let () = self.call("proxy_on_context_create", id, (id, root_id));
        id
    }

    /// Calls die with the context that started them; nobody is told.
    fn destroy(&mut self, id: u32) {
        let host = self.store.data_mut();
        host.contexts.remove(&id);
        host.calls.retain(|_, call| call.context_id != id);
    }

    fn next_event(&self) -> Option<(u64, Event)> {
        let host = self.store.data();
        let ticks = host.contexts.iter().filter_map(|(id, context)| {
            let Context::Root(Root { tick, .. }) = context else {
                return None;
            };
            Some((tick.as_ref()?.next_ns, Event::Tick(*id)))
        });
        let timeouts = host
            .calls
            .values()
            .filter_map(|call| Some((call.deadline_ns?, Event::Timeout(call.token))));
        ticks.chain(timeouts).min_by_key(|(due_ns, _)| *due_ns)
    }

    /// Runs a callback in the name of a context, and then what had to wait for its end.
    fn call<P: WasmParams + Debug, R: WasmResults>(
        &mut self,
        name: &str,
        context_id: u32,
        arguments: P,
    ) -> R {
        let host = self.store.data_mut();
        host.current = context_id;
        host.effective = 0;
        let shown = format!("{name}{arguments:?}");
        let callback = self
            .instance
            .get_typed_func::<P, R>(&self.store, name)
            .expect("the module has this callback");
        let result = match callback.call(&mut self.store, arguments) {
            Ok(result) => result,
            Err(trap) => panic!(
                "the filter trapped in {shown}: {trap}; log: {:?}",
                self.process().log()
            ),
        };
        let host = self.store.data_mut();
        (host.current, host.effective) = (0, 0);
        for after in std::mem::take(&mut host.after) {
            match after {
                After::Finish(root_id) => self.destroy(root_id),
                After::Fail(token) if self.store.data().calls.contains_key(&token) => {
                    self.store.data_mut().delivery = None;
                    self.answer(token, Reply::nothing());
                }
                After::Fail(_) => {}
            }
        }
        result
    }

    fn next_id(&mut self) -> u32 {
        let id = self.next_context_id;
        self.next_context_id += 1;
        id
    }

    fn stream(&self, id: u32) -> &Stream {
        self.store.data().stream(id).expect("the stream is alive")
    }

    fn stream_mut(&mut self, id: u32) -> &mut Stream {
        let stream = self.store.data_mut().stream_mut(id);
        stream.expect("the stream is alive")
    }

    fn set_phase(&mut self, id: u32, phase: Phase) {
        self.stream_mut(id).phase = phase;
    }
}

enum Event {
    Tick(u32),
    Timeout(u32),
}
