//! What one VM's host remembers between host calls.

use std::collections::BTreeMap;

use spanloom_filter::Status;
use wasmi::{Memory, TypedFunc};

use super::callout::{Call, Reply};
use super::fault::Faults;
use super::process::Process;
use super::property::Value;
use super::stream::{Pairs, Phase, Stream};

/// The state behind the imports of a worker.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) process: Process,
    /// The memory and the allocator of the module, once there is an instance.
    pub(super) module: Option<(Memory, TypedFunc<u32, u32>)>,
    /// The context that the host has called.
    pub(super) current: u32,
    /// The context that the module chose to act as; zero is the current one.
    pub(super) effective: u32,
    pub(super) contexts: BTreeMap<u32, Context>,
    pub(super) calls: BTreeMap<u32, Call>,
    pub(super) next_token: u32,
    /// The answer that is being reported.
    pub(super) delivery: Option<Reply>,
    /// The configuration that is being applied.
    pub(super) configuration: Option<Vec<u8>>,
    /// Names of metrics by id.
    pub(super) metrics: Vec<String>,
    pub(super) faults: Faults,
    /// What has to wait for the end of the callback: the host does not call into a running one.
    pub(super) after: Vec<After>,
}

#[derive(Debug)]
pub(super) enum Context {
    Root(Root),
    Stream(Box<Stream>),
}

/// One place in the proxy's configuration.
#[derive(Debug)]
pub(super) struct Root {
    /// `xds.listener_direction` of its streams.
    pub(super) direction: i64,
    pub(super) tick: Option<Tick>,
    /// Whether `on_done` asked for time.
    pub(super) is_leaving: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Tick {
    pub(super) period_ns: u64,
    pub(super) next_ns: u64,
}

#[derive(Debug)]
pub(super) enum After {
    /// The root has said that it is done.
    Finish(u32),
    /// The call failed before it went anywhere.
    Fail(u32),
}

impl Host {
    pub(super) fn new(process: &Process) -> Self {
        Self {
            process: process.clone(),
            module: None,
            current: 0,
            effective: 0,
            contexts: BTreeMap::new(),
            calls: BTreeMap::new(),
            next_token: 1,
            delivery: None,
            configuration: None,
            metrics: Vec::new(),
            faults: Faults::default(),
            after: Vec::new(),
        }
    }

    pub(super) fn memory(&self) -> Memory {
        self.module.as_ref().expect("the module is running").0
    }

    pub(super) fn allocate(&self) -> TypedFunc<u32, u32> {
        self.module.as_ref().expect("the module is running").1
    }

    /// The context in whose name a host call acts. An effective one that is gone does not count.
    pub(super) fn acting(&self) -> u32 {
        match self.contexts.contains_key(&self.effective) {
            true => self.effective,
            false => self.current,
        }
    }

    pub(super) fn stream(&self, id: u32) -> Option<&Stream> {
        match self.contexts.get(&id) {
            Some(Context::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    pub(super) fn stream_mut(&mut self, id: u32) -> Option<&mut Stream> {
        match self.contexts.get_mut(&id) {
            Some(Context::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    pub(super) fn root(&self, id: u32) -> Option<&Root> {
        match self.contexts.get(&id) {
            Some(Context::Root(root)) => Some(root),
            _ => None,
        }
    }

    pub(super) fn root_mut(&mut self, id: u32) -> Option<&mut Root> {
        match self.contexts.get_mut(&id) {
            Some(Context::Root(root)) => Some(root),
            _ => None,
        }
    }

    /// The root of a context: itself if it is one.
    pub(super) fn root_id_of(&self, id: u32) -> u32 {
        self.stream(id).map_or(id, |stream| stream.root_id)
    }

    /// A header map, if the acting context has it now.
    pub(super) fn map(&self, kind: u32) -> Option<&Pairs> {
        match kind {
            6 => self.delivery.as_ref().map(|reply| &reply.headers),
            7 => self.delivery.as_ref().map(|reply| &reply.trailers),
            _ => self.stream(self.acting())?.map(kind),
        }
    }

    /// A header map to change. Each change of a request's headers has Envoy look for the route anew.
    pub(super) fn map_mut(&mut self, kind: u32) -> Result<&mut Pairs, Status> {
        let acting = self.acting();
        let stream = self.stream_mut(acting).ok_or(Status::BadArgument)?;
        stream.n_route_cache_clears +=
            u32::from(kind == 0 && stream.phase == Phase::RequestHeaders);
        stream.map_mut(kind).ok_or(Status::BadArgument)
    }

    /// Why there is no such map: in the log maps may be missing, elsewhere asking is an error.
    pub(super) fn why_no_map(&self) -> Status {
        match self.stream(self.acting()) {
            Some(stream) if stream.phase == Phase::Log => Status::NotFound,
            _ => Status::BadArgument,
        }
    }

    /// A property as `id` sees it: a root sees the node and nothing else.
    pub(super) fn property(&self, id: u32, path: &[u8]) -> Option<Value> {
        if path.starts_with(b"xds\0node\0") {
            return self.process.state().node.get(path).cloned();
        }
        let stream = self.stream(id)?;
        if path == b"xds\0listener_direction" {
            return Some(Value::Int(self.root(stream.root_id)?.direction));
        }
        let property = stream.property(path).cloned();
        // Unless a scenario says otherwise, each stream has a connection of its own.
        property.or_else(|| (path == b"connection_id").then(|| Value::Int(id.into())))
    }
}
