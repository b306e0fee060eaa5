//! Odd programs, each a small package of one workspace without dependencies: they build and run as
//! they do without us, and get their spans.

use std::path::PathBuf;
use std::process::Command;

use crate::app::{restore, sources, spanloom_at};

/// What each package of the table is expected to get: its functions, sorted.
struct Odd {
    name: &'static str,
    edition: &'static str,
    /// Files below the package's folder; `src/main.rs` prints something.
    files: &'static [(&'static str, &'static str)],
    functions: &'static [&'static str],
}

/// A body that is large enough for a span.
macro_rules! body {
    () => {
        "{ let a = x; let b = a; let c = b; c }\n"
    };
}

const ODD: [Odd; 11] = [
    // Arguments are dropped when they were, and every lifetime is captured, in each edition.
    Odd {
        name: "lean",
        edition: "2018",
        files: &[("src/main.rs", include_str!("../fixtures/lean.rs"))],
        functions: &[
            "S::bump", "S::eat", "again", "apart", "copied", "deep", "generic", "held", "hidden",
            "moved", "near", "order",
        ],
    },
    Odd {
        name: "bom",
        edition: "2021",
        files: &[(
            "src/main.rs",
            concat!(
                "\u{feff}#!/usr/bin/env rust\r\npub fn f(x: u8) -> u8 ",
                body!(),
                "fn main() {\r\n    println!(\"{} {}\", f(1), line!());\r\n}\r\n"
            ),
        )],
        functions: &["f"],
    },
    Odd {
        name: "elsewhere",
        edition: "2021",
        files: &[
            (
                "src/main.rs",
                concat!(
                    "#[path = \"../side.rs\"]\nmod side;\npub fn f(x: u8) -> u8 ",
                    body!(),
                    "fn main() { println!(\"{} {}\", f(1), side::g(include_bytes!(\"../data\").len())); }\n"
                ),
            ),
            ("side.rs", concat!("pub fn g(x: usize) -> usize ", body!())),
            ("data", "12345"),
        ],
        functions: &["f", "g"],
    },
    // `std`, `file!` and what the inserted code calls its own mean something else here.
    Odd {
        name: "shadowing",
        edition: "2018",
        files: &[(
            "src/main.rs",
            concat!(
                "#![no_implicit_prelude]\n#![allow(unused, dead_code)]\n",
                "mod spanloom_hook {}\nmod std {}\nmod core {}\nstatic SITE: u8 = 1;\n",
                "macro_rules! file { () => { 1 } }\nmacro_rules! line { () => { \"x\" } }\n",
                "pub fn f(x: u8) -> u8 ",
                body!(),
                "pub async fn g() -> ::std::result::Result<u8, u8> { ::std::result::Result::Ok(SITE) }\n",
                "fn main() { ::std::println!(\"{}\", f(1)); g(); }\n"
            ),
        )],
        functions: &["f", "g"],
    },
    // Without a hook that needs `std`, or the program below has two panic handlers.
    Odd {
        name: "bare",
        edition: "2021",
        files: &[(
            "src/lib.rs",
            concat!(
                "#![cfg_attr(not(feature = \"std\"), no_std)]\npub fn f(x: u8) -> u8 ",
                body!()
            ),
        )],
        functions: &[],
    },
    Odd {
        name: "kernel",
        edition: "2021",
        files: &[
            (
                "build.rs",
                "fn main() { println!(\"cargo:rustc-link-arg-bins=-nostartfiles\"); }\n",
            ),
            (
                "src/main.rs",
                "#![no_std]\n#![no_main]\n\
                 #[panic_handler]\nfn panics(_: &core::panic::PanicInfo) -> ! { loop {} }\n\
                 #[no_mangle]\npub extern \"C\" fn _start() -> ! { loop { bare::f(1); } }\n",
            ),
        ],
        functions: &[],
    },
    // With `DEEP` a number in so many brackets: parsers that call themselves need room for it.
    Odd {
        name: "deep",
        edition: "2024",
        files: &[(
            "src/main.rs",
            concat!(
                "#![allow(unused_parens)]\npub fn f(x: u64) -> u64 { let a = x; let b = a; let c = b; c + DEEP }\n",
                "fn main() { println!(\"{}\", f(1)); }\n"
            ),
        )],
        functions: &["f"],
    },
    // With `CHAIN` a chain of functions over two crates, as long as the compiler can follow it.
    Odd {
        name: "long",
        edition: "2024",
        files: &[("src/lib.rs", "CHAIN x")],
        functions: &CHAIN,
    },
    Odd {
        name: "longer",
        edition: "2024",
        files: &[(
            "src/main.rs",
            "fn sent<F: Future + Send + 'static>(future: F) -> F {\n    future\n}\n\
             fn main() {\n    println!(\"{}\", size_of_val(&sent(f0(1))) > 0);\n}\n\
             CHAIN long::f0(x).await",
        )],
        functions: &CHAIN,
    },
    Odd {
        name: "quiet",
        edition: "2018",
        files: &[(
            "src/main.rs",
            "#![deny(warnings, unused_crate_dependencies)]\nfn main() { println!(\"quiet\"); }\n",
        )],
        functions: &[],
    },
    Odd {
        name: "sometimes",
        edition: "2021",
        files: &[(
            "src/main.rs",
            concat!(
                "#![cfg_attr(not(unix), no_std)]\npub fn f(x: u8) -> u8 ",
                body!(),
                "fn main() { println!(\"{}\", f(1)); }\n"
            ),
        )],
        functions: &["f"],
    },
];

const CHAIN: [&str; 14] = [
    "f0", "f1", "f10", "f11", "f12", "f13", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9",
];

/// As many functions, each of which awaits the next, and the last one `end`.
fn chain(end: &str) -> String {
    let calls = (1..CHAIN.len()).map(|next| format!("f{next}(x).await"));
    let bodies = calls.chain([end.to_owned()]).enumerate();
    bodies
        .map(|(at, body)| format!("pub async fn f{at}(x: u8) -> u8 {{\n    {body}\n}}\n"))
        .collect()
}

/// Writes the workspace.
fn folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("odd");
    // What an older table left there would be told of in the report.
    std::fs::remove_dir_all(&folder).ok();
    let names = ODD.map(|odd| format!("\"{}\"", odd.name)).join(", ");
    let manifest = format!(
        "[workspace]\nresolver = \"2\"\nmembers = [{names}]\n[profile.dev]\npanic = \"abort\"\n"
    );
    restore(&folder.join("Cargo.toml"), manifest.as_bytes());
    for odd in ODD {
        let (name, edition) = (odd.name, odd.edition);
        let dependencies = match name {
            "kernel" => "[dependencies]\nbare = { path = \"../bare\" }\n",
            "longer" => "[dependencies]\nlong = { path = \"../long\" }\n",
            _ => "[features]\nstd = []\n",
        };
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"{edition}\"\n{dependencies}"
        );
        restore(&folder.join(name).join("Cargo.toml"), manifest.as_bytes());
        for (path, text) in odd.files {
            let (text, end) = text.split_once("CHAIN ").unwrap_or((text, ""));
            let chain = end
                .is_empty()
                .then(String::new)
                .unwrap_or_else(|| chain(end));
            let text = format!("{text}{chain}");
            let text = text.replace("DEEP", &format!("{}1{}", "(".repeat(800), ")".repeat(800)));
            restore(&folder.join(name).join(path), text.as_bytes());
        }
    }
    folder
}

#[test]
fn odd_programs_are_built_with_spans_and_run_as_before() {
    let folder = folder();
    let before = sources(&folder);
    let output = spanloom_at(&folder, &["build", "--offline"], &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("spanloom"), "{said}");
    let mut after = sources(&folder);
    after.retain(|path, _| !path.ends_with("Cargo.lock"));
    assert!(
        before
            .iter()
            .filter(|(path, _)| !path.ends_with("Cargo.lock"))
            .eq(&after)
    );

    let matched = std::fs::read(folder.join("target/spanloom/matched.json")).unwrap();
    let matched: serde_json::Value = serde_json::from_slice(&matched).unwrap();
    for odd in ODD {
        let mut functions: Vec<&str> = matched
            .as_array()
            .unwrap()
            .iter()
            .filter(|report| report["crate"] == odd.name)
            .flat_map(|report| report["functions"].as_array().unwrap())
            .filter_map(serde_json::Value::as_str)
            .collect();
        functions.sort_unstable();
        assert_eq!(functions, odd.functions, "{}", odd.name);
    }
    let prints = |name: &str| {
        let program = folder.join("target/spanloom/debug").join(name);
        let output = Command::new(program).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let prints_plainly = |name: &str| {
        let manifest = folder.join(name).join("Cargo.toml");
        let mut cargo = Command::new("cargo");
        cargo.args(["run", "--quiet", "--offline", "--manifest-path"]);
        let output = cargo.arg(manifest).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(prints("bom"), "1 4\n");
    assert_eq!(prints("elsewhere"), "1 5\n");
    assert_eq!(prints("shadowing"), "1\n");
    assert_eq!(prints("deep"), "2\n");
    assert_eq!(prints("longer"), "true\n");
    assert_eq!(prints("quiet"), "quiet\n");
    assert_eq!(prints("lean"), prints_plainly("lean"));
}
