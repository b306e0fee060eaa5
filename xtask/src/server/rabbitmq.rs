//! A RabbitMQ server with an Erlang node of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::Result;

use super::port;
use crate::mesh::{Leash, Process};

/// Starts the server and its `epmd`, the daemon that knows the names of Erlang nodes. Left to
/// itself Erlang starts one on a fixed port that outlives us.
pub(super) fn start(
    leash: &Arc<Leash>,
    rabbitmq: &Path,
    address: SocketAddr,
) -> Result<(Process, Process)> {
    let folder = leash.folder();
    let epmd_port = port::free()?.port().to_string();
    let mut epmd = Command::new("epmd");
    epmd.args(["-d", "-d", "-address", "127.0.0.1", "-port", &epmd_port]);
    let mut epmd = Process::spawn(leash, "epmd", &mut epmd)?;
    epmd.wait_for_line("entering the main select() loop")?;

    // No configuration of the machine's, and no plug-in.
    let empty = folder.join("empty");
    fs::write(&empty, "")?;
    let plugins = folder.join("enabled_plugins");
    fs::write(&plugins, "[].\n")?;
    let mut server = Command::new(rabbitmq);
    server
        // Where Erlang keeps the node's secret.
        .env("HOME", folder)
        .env("ERL_EPMD_PORT", epmd_port)
        .env(
            "RABBITMQ_NODENAME",
            format!("spanloom{}@localhost", address.port()),
        )
        .env("RABBITMQ_NODE_IP_ADDRESS", address.ip().to_string())
        .env("RABBITMQ_NODE_PORT", address.port().to_string())
        .env("RABBITMQ_DIST_PORT", port::free()?.port().to_string())
        .env("RABBITMQ_CONF_ENV_FILE", &empty)
        .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", plugins)
        .env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", folder.join("log"))
        .env("RABBITMQ_LOGS", "-")
        // Erlang's schedulers otherwise spin while they wait for work.
        .env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "+sbwt none +sbwtdcpu none +sbwtdio none",
        );
    let mut server = Process::spawn(leash, "rabbitmq", &mut server)?;
    server.wait_for_line("Server startup complete")?;
    Ok((server, epmd))
}
