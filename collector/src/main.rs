//! The binary `spanloom`: reads settings and configuration, runs the collector until a signal.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use spanloom_collector::config::{Config, ConfigError, LogLevel, Logs};
use spanloom_collector::reason::chain;
use spanloom_collector::service::{Service, write_addresses};
use spanloom_collector::settings::{Request, Settings};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Requests are buffers of tens to hundreds of kilobytes that live for a moment. The system's
/// allocator gets such buffers from the kernel and gives them back each time, page faults included.
#[cfg(not(target_env = "musl"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `EX_USAGE` of sysexits.h: the command line or the configuration is wrong.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let request = match Request::parse(std::env::args_os()) {
        Ok(request) => request,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(EXIT_USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match request {
        Request::Validate { config } => match read_config(&config) {
            Ok(_) => {
                say(&format!("{}: a valid configuration", config.display()));
                ExitCode::SUCCESS
            }
            Err(message) => usage_error(&message),
        },
        Request::Run(settings) => {
            let config = match &settings.config {
                Some(path) => read_config(path),
                None => Ok(settings.built_in_config()),
            };
            match config {
                Ok(config) => run(&settings, config),
                Err(message) => usage_error(&message),
            }
        }
    }
}

fn run(settings: &Settings, config: Config) -> ExitCode {
    log_to_stderr(Logs {
        level: settings.log_level.unwrap_or(config.logs.level),
        ..config.logs
    });
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run_until_signal(settings, config)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("{}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Returns whether everything accepted was finished.
async fn run_until_signal(settings: &Settings, config: Config) -> anyhow::Result<bool> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let service = Service::start(config, settings.request_bytes_max).await?;
    if let Some(path) = &settings.addresses_file {
        write_addresses(path, service.addresses())?;
    }
    greet(&service);
    either(&mut terminate, &mut interrupt).await;
    tracing::info!("stopping: finishing what was accepted; a second signal stops at once");
    tokio::select! {
        has_finished = service.stop(settings.stop_timeout) => {
            if !has_finished {
                tracing::warn!("stopped before everything accepted was finished");
            }
            Ok(has_finished)
        }
        () = either(&mut terminate, &mut interrupt) => {
            tracing::warn!("stopped by a second signal");
            Ok(false)
        }
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Says what runs where, for the person who started it.
fn greet(service: &Service) {
    for (name, address) in service.addresses() {
        match name.as_str() {
            "query" => tracing::info!("the traces are at http://{address}/"),
            "health" => tracing::info!("health is at http://{address}/status"),
            name if name.starts_with("otlp_grpc") => {
                tracing::info!("send spans to {address} (OTLP over gRPC)");
            }
            _ => tracing::info!("send spans to http://{address}/v1/traces (OTLP over HTTP)"),
        }
    }
    tracing::info!("spanloom {} is running", env!("CARGO_PKG_VERSION"));
}

fn read_config(path: &std::path::Path) -> Result<Config, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
    Config::parse(&text, &environment).map_err(|error| match error {
        ConfigError::Yaml(message) => format!("{}: {message}", path.display()),
        ConfigError::Problems(_) => format!("{}:\n{error}", path.display()),
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where configuration reads it"
)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn usage_error(message: &str) -> ExitCode {
    say(&format!("spanloom: {message}"));
    ExitCode::from(EXIT_USAGE)
}

fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "{message}");
}

fn log_to_stderr(logs: Logs) {
    let level = match logs.level {
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Error => tracing::Level::ERROR,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    if logs.is_json {
        builder.json().init();
    } else {
        builder.init();
    }
}
