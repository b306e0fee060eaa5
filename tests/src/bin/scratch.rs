//! Scratch: measures several modules side by side. Not committed.
#![allow(clippy::print_stdout, missing_docs)]
use anyhow::Result;
use serde_json::{Value, json};
use spanloom_tests::lab::{Delivery, Envoy, EnvoyOptions, Sink, Tracing, load};
use std::path::PathBuf;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    // scratch ENVOY ROUNDS case...   case = none | native:PCT | FILE:PCT[:json]
    let args: Vec<String> = std::env::args().collect();
    let envoy_bin = PathBuf::from(&args[1]);
    let rounds: usize = args[2].parse()?;
    let upstream = load::start_upstream().await?;
    let sink = Sink::start()?;
    let mut cases = Vec::new();
    for spec in &args[3..] {
        let tracing = if spec == "none" {
            Tracing::None
        } else {
            let mut parts = spec.splitn(3, ':');
            let who = parts.next().unwrap_or_default();
            let percent: f64 = parts.next().unwrap_or("100").parse()?;
            if who == "native" {
                Tracing::Native { percent }
            } else {
                let mut configuration =
                    json!({"service_name": "orders", "sampling": {"ratio": percent/100.0}});
                if let Some(more) = parts.next() {
                    let more: Value = serde_json::from_str(more)?;
                    for (k, v) in more.as_object().into_iter().flatten() {
                        configuration[k] = v.clone();
                    }
                }
                Tracing::Filter {
                    module: who.into(),
                    configuration,
                    delivery: Delivery::Inline,
                }
            }
        };
        let mut options = EnvoyOptions::new(tracing, sink.address());
        options.app = upstream;
        let envoy = Envoy::start(&envoy_bin, &options)?;
        let listener = envoy.listener("inbound")?;
        cases.push((spec.clone(), envoy, listener, Vec::<f64>::new()));
    }
    for case in &cases {
        load::run(case.2, 8, 2000).await?;
    }
    let n = cases.len();
    for slice in 0..rounds {
        for turn in 0..n {
            let case = &mut cases[(slice + turn) % n];
            let before = case.1.cpu_us()?;
            load::run(case.2, 8, 500).await?;
            case.3.push((case.1.cpu_us()? - before) / 500.0);
        }
    }
    let q = |v: &[f64], p: f64| {
        let mut s = v.to_vec();
        s.sort_by(f64::total_cmp);
        s[((s.len() - 1) as f64 * p) as usize]
    };
    let base = (q(&cases[0].3, 0.25), q(&cases[0].3, 0.5));
    for case in &cases {
        let short: String = case
            .0
            .chars()
            .rev()
            .take(60)
            .collect::<String>()
            .chars()
            .rev()
            .collect();
        println!(
            "{:>60}  q25 {:6.1} (+{:5.1})  med {:6.1} (+{:5.1})",
            short,
            q(&case.3, 0.25),
            q(&case.3, 0.25) - base.0,
            q(&case.3, 0.5),
            q(&case.3, 0.5) - base.1
        );
    }
    println!("spans {}", sink.n_spans());
    Ok(())
}
