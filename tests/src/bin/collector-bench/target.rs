//! The processes that are measured.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Between two looks at a process that may still be busy.
const SETTLE_STEP: Duration = Duration::from_millis(150);

/// `sysconf(_SC_CLK_TCK)` is this on every Linux that Rust's std supports.
const TICKS_PER_SECOND: u64 = 100;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The collector, OTLP in and out.
    Forward,
    /// The collector, OTLP in, the embedded store behind.
    Store,
    /// Decodes and encodes.
    RelayProst,
    /// Passes bytes through.
    RelayRaw,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] =
        [Kind::Forward, Kind::Store, Kind::RelayProst, Kind::RelayRaw];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Forward => "spanloom, gRPC in, gRPC out",
            Kind::Store => "spanloom, gRPC in, embedded store",
            Kind::RelayProst => "relay, prost decode and encode",
            Kind::RelayRaw => "relay, bytes as they are",
        }
    }
}

/// A process that takes spans; killed when dropped.
pub(crate) struct Target {
    _child: Child,
    pid: u32,
    address: SocketAddr,
    _directory: TempDir,
}

impl Target {
    /// Starts a target in front of `sink` and waits until it listens.
    pub(crate) async fn start(kind: Kind, spanloom: &Path, sink: SocketAddr) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        match kind {
            Kind::Forward => {
                let config = directory.path().join("config.yaml");
                fs::write(&config, forwarding_to(sink))?;
                let mut command = Command::new(spanloom);
                command.arg("--config").arg(config);
                Self::spanloom(command, directory).await
            }
            Kind::Store => {
                let mut command = Command::new(spanloom);
                command.arg("--data-dir").arg(directory.path().join("data"));
                command.args(["--otlp-grpc-port=0", "--otlp-http-port=0"]);
                command.args(["--query-port=0", "--health-port=0"]);
                Self::spanloom(command, directory).await
            }
            Kind::RelayProst => Self::relay("relay-prost", sink, directory).await,
            Kind::RelayRaw => Self::relay("relay-raw", sink, directory).await,
        }
    }

    async fn spanloom(mut command: Command, directory: TempDir) -> Result<Self> {
        let addresses = directory.path().join("addresses.json");
        command
            .arg("--addresses-file")
            .arg(&addresses)
            .stderr(Stdio::piped());
        let mut child = command
            .kill_on_drop(true)
            .spawn()
            .context("cannot start spanloom")?;
        let stderr = child.stderr.take().context("stderr is piped")?;
        let mut lines = BufReader::new(stderr).lines();
        loop {
            match lines.next_line().await? {
                Some(line) if line.contains("is running") => break,
                Some(_) => {}
                None => bail!("spanloom ended before it was running"),
            }
        }
        // Nobody reads on: under load it says nothing.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let json: serde_json::Value = serde_json::from_slice(&fs::read(addresses)?)?;
        let address = json["otlp_grpc"]
            .as_str()
            .context("no otlp_grpc address")?
            .parse()?;
        Self::new(child, address, directory)
    }

    async fn relay(name: &str, sink: SocketAddr, directory: TempDir) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([name, "--to", &sink.to_string()])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let line = BufReader::new(stdout).lines().next_line().await?;
        let address = line.context("the relay ended")?.parse()?;
        Self::new(child, address, directory)
    }

    fn new(child: Child, address: SocketAddr, directory: TempDir) -> Result<Self> {
        let pid = child.id().context("the process has ended")?;
        Ok(Self {
            _child: child,
            pid,
            address,
            _directory: directory,
        })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process's CPU time, once it does nothing more.
    pub(crate) async fn settled_cpu(&self) -> Result<Duration> {
        let mut before = self.cpu()?;
        loop {
            tokio::time::sleep(SETTLE_STEP).await;
            let now = self.cpu()?;
            if now == before {
                return Ok(now);
            }
            before = now;
        }
    }

    /// User and system time of all threads: fields 14 and 15 of `/proc/PID/stat` (proc(5)).
    fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The second field is the name in parentheses, which may hold anything.
        let (_, after_name) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
    }

    pub(crate) fn peak_rss_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_ascii_whitespace().next());
        Ok(kib.context("no VmHWM in /proc/PID/status")?.parse()?)
    }
}

fn forwarding_to(sink: SocketAddr) -> String {
    format!(
        "
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}}}
exporters: {{otlp: {{endpoint: '{sink}', tls: {{insecure: true}}}}}}
service: {{pipelines: {{traces: {{receivers: [otlp], exporters: [otlp]}}}}}}
"
    )
}
