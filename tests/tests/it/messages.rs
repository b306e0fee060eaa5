//! What `tests/brokers`, a program without a line about tracing, does with messages over real brokers,
//! and with a real Redis and PostgreSQL, when `cargo spanloom` has built it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::Result;
use spanloom_tests::lab::Sink;
use xtask::artifacts::Artifacts;
use xtask::mesh::{Leash, Process};
use xtask::server::{Kind, Server};

use crate::outline::outline;

/// The program, built by the first test that needs it.
fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let built = Artifacts::build().and_then(|artifacts| artifacts.build_brokers());
        built.unwrap_or_else(|error| panic!("{error:#}"))
    })
}

/// There must be two traces like this one, one for each order.
fn each_order_is_one_trace(way: &str, kind: Kind, trace: &str) -> Result<()> {
    traces_are(way, kind, &trace.repeat(2))
}

/// Runs the program to its end, which sends all its spans.
fn traces_are(way: &str, kind: Kind, traces: &str) -> Result<()> {
    let (Some(broker), Some(redis), Some(postgres)) = (
        Server::shared(kind),
        Server::shared(Kind::Redis),
        Server::shared(Kind::Postgres),
    ) else {
        return Ok(());
    };
    let broker = match kind {
        Kind::Rabbitmq => format!("amqp://guest:guest@{}/%2f", broker.address()),
        _ => broker.address().to_string(),
    };
    let sink = Sink::start()?;
    sink.keep_requests();
    let mut command = Command::new(program());
    command.args([way, &broker, &format!("redis://{}", redis.address())]);
    let postgres = postgres.address();
    command.arg(format!("postgres://postgres@{postgres}/postgres"));
    let collector = format!("http://{}", sink.address());
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector);
    let leash = Leash::new()?;
    let program = Process::spawn(&leash, "brokers", &mut command)?;
    program.finish()?;
    let seen = outline(&sink, None).replace("brokers spanloom-hook ", "");
    assert_eq!(seen, traces);
    Ok(())
}

#[test]
fn a_message_of_nats_is_handled_in_the_trace_of_its_sender() {
    each_order_is_one_trace(
        "nats",
        Kind::Nats,
        "\
PRODUCER send orders
  CONSUMER process orders
    INTERNAL cook
      CLIENT PIPELINE
      CLIENT SELECT
    PRODUCER send served
",
    )
    .unwrap();
}

#[test]
fn messages_of_nats_that_are_handled_at_once_are_told_apart() {
    each_order_is_one_trace(
        "nats-concurrent",
        Kind::Nats,
        "\
PRODUCER send concurrent
  CONSUMER process concurrent
    INTERNAL Kitchen::stove
    INTERNAL cook
      CLIENT PIPELINE
      CLIENT SELECT
",
    )
    .unwrap();
}

#[test]
fn results_that_come_in_any_order_are_in_the_trace_of_no_message() {
    traces_are(
        "nats-buffered",
        Kind::Nats,
        "\
PRODUCER send buffered
  CONSUMER process buffered
    INTERNAL Kitchen::stove
    INTERNAL cook
      CLIENT PIPELINE
      CLIENT SELECT
PRODUCER send buffered
  CONSUMER process buffered
    INTERNAL Kitchen::stove
    INTERNAL cook
      CLIENT PIPELINE
      CLIENT SELECT
PRODUCER send served
PRODUCER send served
",
    )
    .unwrap();
}

#[test]
fn the_span_of_a_message_that_is_in_hand_is_sent_when_the_program_ends() {
    traces_are(
        "nats-interrupted",
        Kind::Nats,
        "\
PRODUCER send interrupted
  CONSUMER process interrupted
    INTERNAL cook
      CLIENT PIPELINE
      CLIENT SELECT
PRODUCER send interrupted
",
    )
    .unwrap();
}

#[test]
fn a_message_of_jetstream_is_handled_in_the_trace_of_its_sender() {
    each_order_is_one_trace(
        "jetstream",
        Kind::Nats,
        "\
PRODUCER send kept
  CONSUMER process kept
    INTERNAL cook
      CLIENT PIPELINE
      CLIENT SELECT
",
    )
    .unwrap();
}

#[test]
fn a_delivery_of_rabbitmq_is_handled_in_the_trace_of_its_sender() {
    each_order_is_one_trace(
        "rabbitmq",
        Kind::Rabbitmq,
        "\
PRODUCER send orders
  CONSUMER process orders
    INTERNAL cook
      CLIENT PIPELINE
      CLIENT SELECT
",
    )
    .unwrap();
}

#[test]
fn a_delegate_of_rabbitmq_runs_in_the_trace_of_the_sender() {
    each_order_is_one_trace(
        "rabbitmq-delegate",
        Kind::Rabbitmq,
        "\
PRODUCER send called
  CONSUMER process called
    INTERNAL Kitchen::stove
    INTERNAL cook
      CLIENT PIPELINE
      CLIENT SELECT
",
    )
    .unwrap();
}

#[test]
fn a_record_of_kafka_is_handled_in_the_trace_of_its_sender() {
    each_order_is_one_trace(
        "kafka",
        Kind::Kafka,
        "\
PRODUCER send orders
  CONSUMER process orders
    INTERNAL cook
      CLIENT PIPELINE
      CLIENT SELECT
",
    )
    .unwrap();
}

#[test]
fn a_task_for_each_record_of_kafka_has_its_trace() {
    each_order_is_one_trace(
        "kafka-tasks",
        Kind::Kafka,
        "\
PRODUCER send tasks
  CONSUMER process tasks
    INTERNAL Kitchen::stove
    INTERNAL cook
      CLIENT PIPELINE
      CLIENT SELECT
",
    )
    .unwrap();
}

#[test]
fn a_thread_handles_a_record_of_kafka_in_the_trace_of_its_sender() {
    each_order_is_one_trace(
        "kafka-thread",
        Kind::Kafka,
        "\
PRODUCER send thread
  CONSUMER process thread
    CLIENT INCR
",
    )
    .unwrap();
}

#[test]
fn a_message_that_the_sdk_traces_has_one_span() {
    // The example's own test compares all of its spans.
    let artifacts = Artifacts::build().unwrap();
    artifacts.test_with_spans_of_drivers("kafka").unwrap();
}
