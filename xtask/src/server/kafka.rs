//! A Kafka broker that is its own controller.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::Result;

use super::port;
use crate::mesh::{Leash, Process};
use crate::workspace::output_of;

pub(super) fn start(leash: &Arc<Leash>, jars: &Path, address: SocketAddr) -> Result<Process> {
    let folder = leash.folder();
    let controller = port::free()?;
    let properties = folder.join("server.properties");
    let data = folder.join("data");
    fs::write(
        &properties,
        format!(
            "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{address},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{address}
log.dirs={}
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
",
            data.display()
        ),
    )?;
    let java = |main: &str| {
        let mut java = Command::new("java");
        // Quick to start rather than quick to serve.
        java.args(["-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]);
        java.arg("-cp").arg(jars.join("*")).arg(main);
        java
    };
    let mut format = java("kafka.tools.StorageTool");
    format.args([
        "format",
        "--cluster-id",
        "c3Bhbmxvb20tdGVzdHMhIQ",
        "--config",
    ]);
    output_of(format.arg(&properties))?;
    let mut process = Process::spawn(leash, "kafka", java("kafka.Kafka").arg(&properties))?;
    process.wait_for_line("Kafka Server started")?;
    Ok(process)
}
