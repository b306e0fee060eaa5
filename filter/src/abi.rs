//! Proxy-WASM ABI 0.2.1: the functions that Envoy calls and those that it offers.
//!
//! No SDK stands between: the usual one panics on many answers of the host and on headers that are
//! not UTF-8, and one panic ends tracing for the worker (or, failing closed, its traffic). All
//! `unsafe` code of the filter is in this file, and it does three things: call imports with
//! pointers to live slices, take over buffers that the host got from [`proxy_on_memory_allocate`],
//! and export names.
#![allow(
    unsafe_code,
    reason = "the ABI is raw pointers; this file is the boundary"
)]

use std::alloc::{Layout, alloc};
use std::cell::RefCell;

use spanloom_wire::Timestamp;

use crate::host::{BufferKind, Host, HttpCall, LogLevel, MapKind, Status};
use crate::vm::Vm;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, message: *const u8, length: usize) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_set_effective_context(id: u32) -> u32;
    fn proxy_done() -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, length: *mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_length: usize,
        data: *mut *mut u8,
        length: *mut usize,
    ) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_length: usize,
        value: *const u8,
        value_length: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_length: usize) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_length: usize,
        data: *mut *mut u8,
        length: *mut usize,
    ) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        length_max: usize,
        data: *mut *mut u8,
        length: *mut usize,
    ) -> u32;
    fn proxy_http_call(
        cluster: *const u8,
        cluster_length: usize,
        headers: *const u8,
        headers_length: usize,
        body: *const u8,
        body_length: usize,
        trailers: *const u8,
        trailers_length: usize,
        timeout_ms: u32,
        token: *mut u32,
    ) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, length: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, by: i64) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn random_get(bytes: *mut u8, length: usize) -> u32;
}

/// The proxy behind the imports.
struct Envoy;

/// Calls `import` with two places for a buffer and takes over the buffer.
fn taken(import: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>, Status> {
    let mut data = std::ptr::null_mut();
    let mut length = 0;
    Status::check(import(&raw mut data, &raw mut length))?;
    if data.is_null() || length == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the host filled `length` bytes that it got from `proxy_on_memory_allocate(length)`,
    // which allocates them as a `Vec<u8>` of that capacity does, and it keeps no pointer to them.
    Ok(unsafe { Vec::from_raw_parts(data, length, length) })
}

impl Host for Envoy {
    fn log(&mut self, level: LogLevel, message: &str) {
        // SAFETY: the pointer and the length are those of a live slice.
        let _unheard = unsafe { proxy_log(level as u32, message.as_ptr(), message.len()) };
    }

    fn now(&mut self) -> Timestamp {
        let mut nanos = 0;
        // SAFETY: the pointer is to a live `u64`. On failure it stays zero, "unknown" in OTLP.
        let _unknown = unsafe { proxy_get_current_time_nanoseconds(&raw mut nanos) };
        Timestamp::from_nanos(nanos)
    }

    fn fill_random(&mut self, bytes: &mut [u8]) -> Result<(), Status> {
        // SAFETY: the pointer and the length are those of a live slice.
        Status::check(unsafe { random_get(bytes.as_mut_ptr(), bytes.len()) })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the environment is read"
    )]
    fn environment(&mut self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn header(&mut self, map: MapKind, name: &str) -> Result<Vec<u8>, Status> {
        taken(|data, length| {
            // SAFETY: `name` is a live slice and the other pointers are to live places.
            unsafe {
                proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), data, length)
            }
        })
    }

    fn header_block(&mut self, map: MapKind) -> Result<Vec<u8>, Status> {
        // SAFETY: both pointers are to live places.
        taken(|data, length| unsafe { proxy_get_header_map_pairs(map as u32, data, length) })
    }

    fn replace_header(&mut self, map: MapKind, name: &str, value: &[u8]) -> Result<(), Status> {
        // SAFETY: the pointers and the lengths are those of live slices.
        Status::check(unsafe {
            proxy_replace_header_map_value(
                map as u32,
                name.as_ptr(),
                name.len(),
                value.as_ptr(),
                value.len(),
            )
        })
    }

    fn remove_header(&mut self, map: MapKind, name: &str) -> Result<(), Status> {
        // SAFETY: the pointer and the length are those of a live slice.
        Status::check(unsafe {
            proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len())
        })
    }

    fn property(&mut self, path: &[u8]) -> Result<Vec<u8>, Status> {
        taken(|data, length| {
            // SAFETY: `path` is a live slice and the other pointers are to live places.
            unsafe { proxy_get_property(path.as_ptr(), path.len(), data, length) }
        })
    }

    fn buffer(&mut self, buffer: BufferKind, length_max: usize) -> Result<Vec<u8>, Status> {
        taken(|data, length| {
            // SAFETY: both pointers are to live places.
            unsafe { proxy_get_buffer_bytes(buffer as u32, 0, length_max, data, length) }
        })
    }

    fn set_tick_period(&mut self, period_ms: u32) -> Result<(), Status> {
        // SAFETY: no pointers.
        Status::check(unsafe { proxy_set_tick_period_milliseconds(period_ms) })
    }

    fn set_effective_context(&mut self, id: u32) -> Result<(), Status> {
        // SAFETY: no pointers.
        Status::check(unsafe { proxy_set_effective_context(id) })
    }

    fn http_call(&mut self, call: HttpCall<'_>) -> Result<u32, Status> {
        // A block of no pairs.
        const NO_TRAILERS: [u8; 4] = [0; 4];
        let mut token = 0;
        // SAFETY: the pointers and the lengths are those of live slices, the token's is to a live
        // place; the host copies before it returns.
        Status::check(unsafe {
            proxy_http_call(
                call.cluster.as_ptr(),
                call.cluster.len(),
                call.headers.as_ptr(),
                call.headers.len(),
                call.body.as_ptr(),
                call.body.len(),
                NO_TRAILERS.as_ptr(),
                NO_TRAILERS.len(),
                call.timeout_ms,
                &raw mut token,
            )
        })?;
        Ok(token)
    }

    fn define_counter(&mut self, name: &str) -> Result<u32, Status> {
        let mut id = 0;
        // SAFETY: the pointer and the length are those of a live slice, the id's is to a live place.
        Status::check(unsafe {
            proxy_define_metric(COUNTER, name.as_ptr(), name.len(), &raw mut id)
        })?;
        Ok(id)
    }

    fn increment_counter(&mut self, id: u32, by: i64) -> Result<(), Status> {
        // SAFETY: no pointers.
        Status::check(unsafe { proxy_increment_metric(id, by) })
    }

    fn done(&mut self) -> Result<(), Status> {
        // SAFETY: no pointers.
        Status::check(unsafe { proxy_done() })
    }
}

thread_local! {
    /// A worker has one VM with one linear memory, and all roots of that VM share this value.
    static VM: RefCell<Vm> = const { RefCell::new(Vm::new()) };
}

/// Runs a callback. The host does not call back into a running callback (it defers), so the VM is
/// always free; if that ever failed to hold, the callback would answer `otherwise`.
fn with_vm<T>(otherwise: T, callback: impl FnOnce(&mut Vm, &mut Envoy) -> T) -> T {
    let mut callback = Some(callback);
    let done = VM.try_with(|vm| {
        let mut vm = vm.try_borrow_mut().ok()?;
        let callback = callback.take()?;
        Some(callback(&mut vm, &mut Envoy))
    });
    done.ok().flatten().unwrap_or(otherwise)
}

/// `Counter` of `proxy_metric_type_t`.
const COUNTER: u32 = 0;
/// `Continue` of `proxy_action_t`: the filter never holds a stream up.
const CONTINUE: u32 = 0;
const TRUE: u32 = 1;

/// Says which ABI the module speaks.
#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

/// Gives the host memory for what it hands over; null when there is none.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(length: usize) -> *mut u8 {
    match Layout::array::<u8>(length) {
        // SAFETY: the layout is not of size zero.
        Ok(layout) if length > 0 => unsafe { alloc(layout) },
        _ => std::ptr::null_mut(),
    }
}

/// A root (parent 0) or a stream begins.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(id: u32, parent_id: u32) {
    with_vm((), |vm, _| vm.on_context_create(id, parent_id));
}

/// The VM is up.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_vm_start(_root_id: u32, _configuration_length: usize) -> u32 {
    TRUE
}

/// A root gets its configuration. Never refused: a refusal would put the traffic at risk.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(root_id: u32, configuration_length: usize) -> u32 {
    with_vm((), |vm, envoy| {
        vm.on_configure(envoy, root_id, configuration_length);
    });
    TRUE
}

/// A root's timer.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(root_id: u32) {
    with_vm((), |vm, envoy| vm.on_tick(envoy, root_id));
}

/// Request headers arrived.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(id: u32, _n_headers: u32, end_of_stream: u32) -> u32 {
    let has_body = end_of_stream == 0;
    with_vm((), |vm, envoy| vm.on_request_headers(envoy, id, has_body));
    CONTINUE
}

/// Response headers arrived.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(id: u32, _n_headers: u32, _end_of_stream: u32) -> u32 {
    with_vm((), |vm, envoy| vm.on_response_headers(envoy, id));
    CONTINUE
}

/// The stream is over and everything about it is known.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(id: u32) {
    with_vm((), |vm, envoy| vm.on_log(envoy, id));
}

/// A context is to end; false postpones it until `proxy_done`.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_done(id: u32) -> u32 {
    with_vm(true, |vm, envoy| vm.on_done(envoy, id)).into()
}

/// An answer to an export, or its failure: then there are no headers.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(
    root_id: u32,
    token: u32,
    n_headers: u32,
    body_length: usize,
    _n_trailers: u32,
) {
    with_vm((), |vm, envoy| {
        vm.on_http_call_response(envoy, root_id, token, n_headers, body_length);
    });
}
