//! A host for unit tests: maps and properties as a test sets them, calls and counts as the filter
//! makes them. It has no phases; the simulator in `tests/` has.

use std::collections::HashMap;

use spanloom_wire::Timestamp;

use crate::header_block;
use crate::host::{BufferKind, Host, HttpCall, LogLevel, MapKind, Status};

type Headers = Vec<(String, Vec<u8>)>;

/// An export request that the filter started.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) token: u32,
    /// The context that started it.
    pub(crate) context_id: u32,
    pub(crate) body: Vec<u8>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct FakeHost {
    pub(crate) now: Timestamp,
    pub(crate) configuration: String,
    pub(crate) context_id: u32,
    pub(crate) maps: HashMap<MapKind, Headers>,
    /// By path with dots.
    pub(crate) properties: HashMap<String, Vec<u8>>,
    pub(crate) environment: HashMap<String, String>,
    pub(crate) answer_body: Vec<u8>,
    pub(crate) calls: Vec<Call>,
    /// What the host says to the next call, if not yes.
    pub(crate) refusal: Option<Status>,
    pub(crate) done: Vec<u32>,
    pub(crate) lines: Vec<String>,
    pub(crate) counters: HashMap<String, i64>,
    metrics: Vec<String>,
    /// How many host calls were made for requests.
    pub(crate) n_calls: usize,
    random: u64,
    n_tokens: u32,
}

impl FakeHost {
    pub(crate) fn advance_ms(&mut self, ms: u64) {
        self.now = Timestamp::from_nanos(self.now.as_nanos() + ms * 1_000_000);
    }

    pub(crate) fn set_headers(&mut self, map: MapKind, headers: &[(&str, &str)]) {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), value.as_bytes().to_vec());
        self.maps.insert(map, headers.iter().map(own).collect());
    }

    pub(crate) fn set_number(&mut self, path: &str, number: i64) {
        self.properties
            .insert(path.to_owned(), number.to_le_bytes().to_vec());
    }

    /// The request header of this name, as text.
    pub(crate) fn sent(&self, name: &str) -> Option<String> {
        let headers = self.maps.get(&MapKind::RequestHeaders)?;
        let value = headers.iter().find(|header| header.0 == name)?;
        Some(String::from_utf8(value.1.clone()).unwrap())
    }

    pub(crate) fn counted(&self, name: &str) -> i64 {
        self.counters
            .get(&format!("spanloom.{name}"))
            .copied()
            .unwrap_or_default()
    }
}

impl Host for FakeHost {
    fn log(&mut self, _level: LogLevel, message: &str) {
        self.lines.push(message.to_owned());
    }

    fn now(&mut self) -> Timestamp {
        self.n_calls += 1;
        self.now
    }

    fn fill_random(&mut self, bytes: &mut [u8]) -> Result<(), Status> {
        self.random += 1;
        bytes.fill(self.random as u8);
        Ok(())
    }

    fn environment(&mut self, name: &str) -> Option<String> {
        self.environment.get(name).cloned()
    }

    fn header(&mut self, map: MapKind, name: &str) -> Result<Vec<u8>, Status> {
        self.n_calls += 1;
        let headers = self.maps.get(&map).ok_or(Status::BadArgument)?;
        let found = headers.iter().find(|header| header.0 == name);
        found.map(|header| header.1.clone()).ok_or(Status::NotFound)
    }

    fn header_block(&mut self, map: MapKind) -> Result<Vec<u8>, Status> {
        self.n_calls += 1;
        let headers = self.maps.get(&map).cloned().unwrap_or_default();
        let texts: Vec<(String, String)> = headers
            .into_iter()
            .map(|(name, value)| (name, String::from_utf8(value).unwrap()))
            .collect();
        let texts: Vec<(&str, &str)> = texts
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        Ok(header_block::write(&texts))
    }

    fn replace_header(&mut self, map: MapKind, name: &str, value: &[u8]) -> Result<(), Status> {
        self.remove_header(map, name)?;
        let headers = self.maps.get_mut(&map).ok_or(Status::BadArgument)?;
        headers.push((name.to_owned(), value.to_vec()));
        Ok(())
    }

    fn remove_header(&mut self, map: MapKind, name: &str) -> Result<(), Status> {
        self.n_calls += 1;
        let headers = self.maps.get_mut(&map).ok_or(Status::BadArgument)?;
        headers.retain(|header| header.0 != name);
        Ok(())
    }

    fn property(&mut self, path: &[u8]) -> Result<Vec<u8>, Status> {
        self.n_calls += 1;
        let path = String::from_utf8(path.to_vec()).unwrap().replace('\0', ".");
        self.properties.get(&path).cloned().ok_or(Status::NotFound)
    }

    fn buffer(&mut self, buffer: BufferKind, length_max: usize) -> Result<Vec<u8>, Status> {
        let bytes = match buffer {
            BufferKind::PluginConfiguration => self.configuration.as_bytes(),
            BufferKind::CallResponseBody => &self.answer_body,
        };
        Ok(bytes[..bytes.len().min(length_max)].to_vec())
    }

    fn set_tick_period(&mut self, _period_ms: u32) -> Result<(), Status> {
        Ok(())
    }

    fn set_effective_context(&mut self, id: u32) -> Result<(), Status> {
        self.context_id = id;
        Ok(())
    }

    fn http_call(&mut self, call: HttpCall<'_>) -> Result<u32, Status> {
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        self.n_tokens += 1;
        let token = self.n_tokens;
        let (context_id, body) = (self.context_id, call.body.to_vec());
        self.calls.push(Call {
            token,
            context_id,
            body,
        });
        Ok(token)
    }

    fn define_counter(&mut self, name: &str) -> Result<u32, Status> {
        self.metrics.push(name.to_owned());
        Ok(self.metrics.len() as u32 - 1)
    }

    fn increment_counter(&mut self, id: u32, by: i64) -> Result<(), Status> {
        let name = self.metrics.get(id as usize).ok_or(Status::NotFound)?;
        *self.counters.entry(name.clone()).or_default() += by;
        Ok(())
    }

    fn done(&mut self) -> Result<(), Status> {
        self.done.push(self.context_id);
        Ok(())
    }
}
