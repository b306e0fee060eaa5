//! The functions that the host offers, by the rules of Envoy.

use spanloom_filter::Status;
use wasmi::{Error, Linker};

use super::callout::Call;
use super::host::{After, Host, Tick};
use super::memory::{Fail, Guest, hand_over, read, text, write};
use super::stream::{decode, encode, first};

const NANOS_PER_MS: u64 = 1_000_000;

/// Every import that can fail. Those of the environment cannot: Envoy has its answer ready, and the C
/// library under the standard library would not survive a failure.
pub(crate) const FALLIBLE: &[&str] = &[
    "proxy_log",
    "proxy_get_current_time_nanoseconds",
    "proxy_set_tick_period_milliseconds",
    "proxy_set_effective_context",
    "proxy_done",
    "proxy_get_header_map_pairs",
    "proxy_get_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_remove_header_map_value",
    "proxy_get_property",
    "proxy_get_buffer_bytes",
    "proxy_http_call",
    "proxy_define_metric",
    "proxy_increment_metric",
    "random_get",
];

/// All functions of the host that the filter may import. A module that imports another one cannot be
/// instantiated, as in a real host that lacks it.
pub(super) fn linker(engine: &wasmi::Engine) -> Linker<Host> {
    let mut linker = Linker::new(engine);
    let defined = define_proxy(&mut linker)
        .and_then(|()| define_headers(&mut linker))
        .and_then(|()| define_properties(&mut linker))
        .and_then(|()| define_metrics(&mut linker))
        .and_then(|()| define_wasi(&mut linker));
    defined.expect("no name is defined twice");
    linker
}

type Defined = Result<(), wasmi::errors::LinkerError>;

/// Runs a host call: counted for the stream that makes it, and overruled by faults.
fn hostcall(
    mut guest: Guest<'_>,
    name: &'static str,
    work: impl FnOnce(&mut Guest<'_>) -> Result<(), Fail>,
) -> Result<u32, Error> {
    let host = guest.data_mut();
    let current = host.current;
    if let Some(stream) = host.stream_mut(current) {
        stream.n_hostcalls += 1;
    }
    if let Some(status) = host.faults.strike(name) {
        return Ok(status);
    }
    match work(&mut guest) {
        Ok(()) => Ok(0),
        Err(Fail::Says(status)) => Ok(status.number()),
        Err(Fail::Trap(error)) => Err(error),
    }
}

fn define_proxy(linker: &mut Linker<Host>) -> Defined {
    linker.func_wrap("env", "proxy_log", |guest: Guest<'_>, level, at, length| {
        hostcall(guest, "proxy_log", |guest| {
            let line = text(guest, at, length)?;
            let level: u32 = level;
            guest.data().process.state_mut().log.push((level, line));
            Ok(())
        })
    })?;
    const NOW: &str = "proxy_get_current_time_nanoseconds";
    linker.func_wrap("env", NOW, |guest: Guest<'_>, at: u32| {
        hostcall(guest, NOW, |guest| {
            let now_ns = guest.data().process.now_ns();
            Ok(write(guest, at, &now_ns.to_le_bytes())?)
        })
    })?;
    const TICK: &str = "proxy_set_tick_period_milliseconds";
    linker.func_wrap("env", TICK, |guest: Guest<'_>, period_ms: u32| {
        hostcall(guest, TICK, |guest| {
            let host = guest.data_mut();
            let root_id = host.root_id_of(host.acting());
            let period_ns = u64::from(period_ms) * NANOS_PER_MS;
            let next_ns = host.process.now_ns() + period_ns;
            let tick = (period_ms > 0).then_some(Tick { period_ns, next_ns });
            host.root_mut(root_id).ok_or(Status::BadArgument)?.tick = tick;
            Ok(())
        })
    })?;
    const EFFECTIVE: &str = "proxy_set_effective_context";
    linker.func_wrap("env", EFFECTIVE, |guest: Guest<'_>, id: u32| {
        hostcall(guest, EFFECTIVE, |guest| {
            let host = guest.data_mut();
            if !host.contexts.contains_key(&id) {
                return Err(Status::BadArgument.into());
            }
            host.effective = id;
            Ok(())
        })
    })?;
    linker.func_wrap("env", "proxy_done", |guest: Guest<'_>| {
        hostcall(guest, "proxy_done", |guest| {
            let host = guest.data_mut();
            let acting = host.acting();
            match host.root(acting) {
                Some(root) if root.is_leaving => host.after.push(After::Finish(acting)),
                _ => return Err(Status::InternalFailure.into()),
            }
            Ok(())
        })
    })?;
    const BUFFER: &str = "proxy_get_buffer_bytes";
    linker.func_wrap(
        "env",
        BUFFER,
        |guest: Guest<'_>, kind: u32, start: u32, length: u32, data_at, length_at| {
            hostcall(guest, BUFFER, |guest| {
                let host = guest.data();
                let buffer = match kind {
                    4 => host.delivery.as_ref().map(|reply| &reply.body),
                    7 => host.configuration.as_ref(),
                    _ => None,
                };
                let buffer = buffer.ok_or(Status::NotFound)?;
                let end = start.checked_add(length).ok_or(Status::BadArgument)?;
                let end = buffer.len().min(end as usize);
                let bytes = buffer.get(start as usize..end).unwrap_or_default().to_vec();
                hand_over(guest, &bytes, data_at, length_at)
            })
        },
    )?;
    linker.func_wrap("env", "proxy_http_call", http_call)?;
    Ok(())
}

#[expect(
    clippy::too_many_arguments,
    reason = "the ABI's function has ten parameters"
)]
fn http_call(
    guest: Guest<'_>,
    cluster_at: u32,
    cluster_length: u32,
    headers_at: u32,
    headers_length: u32,
    body_at: u32,
    body_length: u32,
    _trailers_at: u32,
    _trailers_length: u32,
    timeout_ms: u32,
    token_at: u32,
) -> Result<u32, Error> {
    hostcall(guest, "proxy_http_call", |guest| {
        let cluster = text(guest, cluster_at, cluster_length)?;
        let headers = decode(&read(guest, headers_at, headers_length)?);
        let headers = headers.ok_or(Status::BadArgument)?;
        let body = read(guest, body_at, body_length)?;
        let is_whole = [":method", ":path", ":authority"]
            .iter()
            .all(|name| first(&headers, name).is_some());
        let host = guest.data_mut();
        if !is_whole || !host.process.state().clusters.contains(&cluster) {
            return Err(Status::BadArgument.into());
        }
        let token = host.next_token;
        host.next_token += 1;
        let started_ns = host.process.now_ns();
        let timeout_ns = u64::from(timeout_ms) * NANOS_PER_MS;
        let call = Call {
            token,
            context_id: host.acting(),
            cluster,
            headers,
            body,
            deadline_ns: (timeout_ms > 0).then_some(started_ns + timeout_ns),
        };
        if !host.process.state().has_healthy_hosts {
            host.after.push(After::Fail(token));
        }
        host.calls.insert(token, call);
        Ok(write(guest, token_at, &token.to_le_bytes())?)
    })
}

fn define_headers(linker: &mut Linker<Host>) -> Defined {
    const PAIRS: &str = "proxy_get_header_map_pairs";
    linker.func_wrap(
        "env",
        PAIRS,
        |guest: Guest<'_>, kind: u32, data_at, length_at| {
            hostcall(guest, PAIRS, |guest| {
                // A map that is not there is an empty one, and an empty one is no bytes at all.
                let block = match guest.data().map(kind) {
                    Some(map) if !map.is_empty() => encode(map),
                    _ => Vec::new(),
                };
                hand_over(guest, &block, data_at, length_at)
            })
        },
    )?;
    const VALUE: &str = "proxy_get_header_map_value";
    linker.func_wrap(
        "env",
        VALUE,
        |guest: Guest<'_>, kind: u32, name_at, name_length, data_at, length_at| {
            hostcall(guest, VALUE, |guest| {
                let name = read(guest, name_at, name_length)?.to_ascii_lowercase();
                let host = guest.data();
                let map = host.map(kind).ok_or_else(|| host.why_no_map())?;
                let found = map.iter().find(|pair| pair.0 == name);
                let value = found.ok_or(Status::NotFound)?.1.clone();
                hand_over(guest, &value, data_at, length_at)
            })
        },
    )?;
    const REPLACE: &str = "proxy_replace_header_map_value";
    linker.func_wrap(
        "env",
        REPLACE,
        |guest: Guest<'_>, kind: u32, name_at, name_length, value_at, value_length| {
            hostcall(guest, REPLACE, |guest| {
                let name = read(guest, name_at, name_length)?.to_ascii_lowercase();
                let value = read(guest, value_at, value_length)?;
                let map = guest.data_mut().map_mut(kind)?;
                map.retain(|pair| pair.0 != name);
                map.push((name, value));
                Ok(())
            })
        },
    )?;
    const REMOVE: &str = "proxy_remove_header_map_value";
    linker.func_wrap(
        "env",
        REMOVE,
        |guest: Guest<'_>, kind: u32, name_at, name_length| {
            hostcall(guest, REMOVE, |guest| {
                let name = read(guest, name_at, name_length)?.to_ascii_lowercase();
                let map = guest.data_mut().map_mut(kind)?;
                map.retain(|pair| pair.0 != name);
                Ok(())
            })
        },
    )?;
    Ok(())
}

fn define_properties(linker: &mut Linker<Host>) -> Defined {
    const PROPERTY: &str = "proxy_get_property";
    linker.func_wrap(
        "env",
        PROPERTY,
        |guest: Guest<'_>, path_at, path_length, data_at, length_at| {
            hostcall(guest, PROPERTY, |guest| {
                let path = read(guest, path_at, path_length)?;
                let host = guest.data();
                let value = host.property(host.acting(), &path);
                let value = value.ok_or(Status::NotFound)?.encode();
                hand_over(guest, &value, data_at, length_at)
            })
        },
    )?;
    Ok(())
}

fn define_metrics(linker: &mut Linker<Host>) -> Defined {
    const DEFINE: &str = "proxy_define_metric";
    linker.func_wrap(
        "env",
        DEFINE,
        |guest: Guest<'_>, kind: u32, name_at, name_length, id_at| {
            hostcall(guest, DEFINE, |guest| {
                let name = text(guest, name_at, name_length)?;
                if kind > 2 {
                    return Err(Status::BadArgument.into());
                }
                let metrics = &mut guest.data_mut().metrics;
                let id = u32::try_from(metrics.len()).expect("a handful");
                metrics.push(name);
                Ok(write(guest, id_at, &id.to_le_bytes())?)
            })
        },
    )?;
    const INCREMENT: &str = "proxy_increment_metric";
    linker.func_wrap("env", INCREMENT, |guest: Guest<'_>, id: u32, by: i64| {
        hostcall(guest, INCREMENT, |guest| {
            let host = guest.data();
            let name = host.metrics.get(id as usize).ok_or(Status::BadArgument)?;
            let mut state = host.process.state_mut();
            *state.metrics.entry(name.clone()).or_default() += by;
            Ok(())
        })
    })?;
    Ok(())
}

/// The few functions of WASI that the standard library needs. Its way to report a panic traps at
/// once, with what it wanted to say.
fn define_wasi(linker: &mut Linker<Host>) -> Defined {
    const WASI: &str = "wasi_snapshot_preview1";
    linker.func_wrap(
        WASI,
        "random_get",
        |guest: Guest<'_>, at: u32, length: u32| {
            hostcall(guest, "random_get", |guest| {
                let mut bytes = vec![0; length as usize];
                guest.data().process.fill_random(&mut bytes);
                Ok(write(guest, at, &bytes)?)
            })
        },
    )?;
    linker.func_wrap(
        WASI,
        "environ_sizes_get",
        |guest: Guest<'_>, n_at: u32, length_at: u32| {
            hostcall(guest, "environ_sizes_get", |guest| {
                let variables = environment(guest.data());
                let length: usize = variables.iter().map(Vec::len).sum();
                write(guest, n_at, &(variables.len() as u32).to_le_bytes())?;
                Ok(write(guest, length_at, &(length as u32).to_le_bytes())?)
            })
        },
    )?;
    linker.func_wrap(
        WASI,
        "environ_get",
        |guest: Guest<'_>, pointers_at: u32, mut at: u32| {
            hostcall(guest, "environ_get", |guest| {
                for (i, variable) in (0..).zip(environment(guest.data())) {
                    write(guest, pointers_at + 4 * i, &at.to_le_bytes())?;
                    write(guest, at, &variable)?;
                    at += variable.len() as u32;
                }
                Ok(())
            })
        },
    )?;
    linker.func_wrap(
        WASI,
        "fd_write",
        |guest: Guest<'_>, _: u32, vectors_at: u32, _: u32, _: u32| -> Result<u32, Error> {
            let word = |at| {
                let bytes = read(&guest, at, 4).unwrap_or_default();
                u32::from_le_bytes(bytes.try_into().unwrap_or_default())
            };
            let said = read(&guest, word(vectors_at), word(vectors_at + 4));
            let said = String::from_utf8_lossy(&said.unwrap_or_default()).into_owned();
            Err(Error::new(format!("the module wrote: {said}")))
        },
    )?;
    linker.func_wrap(WASI, "proc_exit", |code: u32| -> Result<(), Error> {
        Err(Error::new(format!("the module exited with {code}")))
    })?;
    Ok(())
}

/// `NAME=value` and a zero byte for each variable.
fn environment(host: &Host) -> Vec<Vec<u8>> {
    let state = host.process.state();
    let variables = state.environment.iter();
    variables
        .map(|(name, value)| format!("{name}={value}\0").into_bytes())
        .collect()
}
