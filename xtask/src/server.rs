//! Real databases and brokers for tests, on free loopback ports, gone with the test.
//!
//! ```no_run
//! use xtask::server::{Kind, Server};
//!
//! // The one that all tests of a binary share. None says that the machine lacks it, which has been
//! // told, and that the test is to return.
//! let Some(redis) = Server::shared(Kind::Redis) else { return };
//! let url = format!("redis://{}", redis.address());
//!
//! // One of its own, for a test that stops it.
//! let Some(redis) = Server::start(Kind::Redis).unwrap() else { return };
//! redis.stop().unwrap();
//! ```
//!
//! Tests that share a server keep apart by names of their own: databases, topics, queues, subjects.

mod kafka;
mod mysql;
mod nats;
mod port;
mod postgres;
mod rabbitmq;
mod redis;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};

use crate::mesh::{Leash, Process};
use crate::{parts, step};

/// The servers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One broker, which is its own controller. Topics are made when first used, with one partition.
    Kafka,
    /// A MariaDB. User `root`, without a password, has the database `spanloom`. No TLS.
    Mysql,
    /// With JetStream.
    Nats,
    /// User `postgres`, without a password, has the database `postgres`. No TLS.
    Postgres,
    /// User `guest`, password `guest`, virtual host `/`.
    Rabbitmq,
    /// Without a password, and keeping nothing on disk.
    Redis,
}

impl Kind {
    /// Its name among the [`parts`].
    pub fn part(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Mysql => "mysql",
            Self::Nats => "nats",
            Self::Postgres => "postgres",
            Self::Rabbitmq => "rabbitmq",
            Self::Redis => "redis",
        }
    }
}

/// A running server. Dropping it stops it and removes what it wrote.
pub struct Server {
    process: Process,
    /// What it needs to run, stopped after it.
    _companion: Option<Process>,
    address: SocketAddr,
}

impl Server {
    /// The server that all tests of this binary share, started by the first of them. It ends with
    /// the process. `None` says that the test is to return: outside CI a missing part is no
    /// failure, but it is told.
    ///
    /// # Panics
    /// If it does not start, or, with `CI` set, cannot be had.
    pub fn shared(kind: Kind) -> Option<&'static Self> {
        // A failure is kept, too: each test reports it, none tries again.
        static SHARED: [OnceLock<Result<Option<Server>>>; 6] = [const { OnceLock::new() }; 6];
        match SHARED[kind as usize].get_or_init(|| Self::start_if_there(kind)) {
            Ok(Some(server)) => Some(server),
            Ok(None) => {
                not_run(kind);
                None
            }
            Err(error) => panic!("{error:#}"),
        }
    }

    /// Starts a server of its own, for a test that stops or fills it; `None` as for
    /// [`shared`](Self::shared). Returns when it answers.
    ///
    /// # Errors
    /// It did not start, with the end of its log, or, with `CI` set, cannot be had.
    pub fn start(kind: Kind) -> Result<Option<Self>> {
        let server = Self::start_if_there(kind)?;
        if server.is_none() {
            not_run(kind);
        }
        Ok(server)
    }

    fn start_if_there(kind: Kind) -> Result<Option<Self>> {
        let Some(part) = parts::wanted(kind.part())? else {
            return Ok(None);
        };
        let leash = Leash::new()?;
        start_on(&leash, kind, &part)
            .with_context(|| format!("{} did not start", kind.part()))
            .map(Some)
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it, and returns when it has ended.
    ///
    /// # Errors
    /// It does not end when asked to.
    pub fn stop(self) -> Result<()> {
        self.process.end()
    }
}

fn start_on(leash: &Arc<Leash>, kind: Kind, part: &Path) -> Result<Server> {
    let address = port::free()?;
    let mut companion = None;
    let process = match kind {
        Kind::Kafka => kafka::start(leash, part, address)?,
        Kind::Mysql => mysql::start(leash, part, address)?,
        Kind::Nats => nats::start(leash, part, address)?,
        Kind::Postgres => postgres::start(leash, part, address)?,
        Kind::Rabbitmq => {
            let (server, epmd) = rabbitmq::start(leash, part, address)?;
            companion = Some(epmd);
            server
        }
        Kind::Redis => redis::start(leash, part, address)?,
    };
    Ok(Server {
        process,
        _companion: companion,
        address,
    })
}

fn not_run(kind: Kind) {
    let part = kind.part();
    step::not_run(&format!("{part}: cargo xtask parts {part}"));
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn starts_and_stops(kind: Kind) {
        let Some(server) = Server::start(kind).unwrap() else {
            return;
        };
        let address = server.address();
        TcpStream::connect(address).unwrap();
        server.stop().unwrap();
        TcpStream::connect(address).unwrap_err();
    }

    #[test]
    fn kafka_starts_and_stops() {
        starts_and_stops(Kind::Kafka);
    }

    #[test]
    fn mysql_starts_and_stops() {
        starts_and_stops(Kind::Mysql);
    }

    #[test]
    fn nats_starts_and_stops() {
        starts_and_stops(Kind::Nats);
    }

    #[test]
    fn postgres_starts_and_stops() {
        starts_and_stops(Kind::Postgres);
    }

    #[test]
    fn rabbitmq_starts_and_stops() {
        starts_and_stops(Kind::Rabbitmq);
    }

    #[test]
    fn redis_starts_and_stops() {
        starts_and_stops(Kind::Redis);
    }
}
