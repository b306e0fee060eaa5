//! What a span says of commands and of their failure.

use std::borrow::Cow;

use ::redis::{Arg, Cmd, ErrorKind, Pipeline, RedisError, Value};
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanBuilder, SpanKind};

use super::Tracing;
use crate::db::Call;

/// Commands of a pipeline whose names are compared and told.
const COMMANDS_MAX: usize = 64;

/// Arguments of a command that are counted in its text.
const ARGUMENTS_MAX: usize = 32;

/// The length of a name that can be one of Redis's; a longer one would be told in part.
const NAME_BYTES_MAX: usize = 64;

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) enum Request<'a> {
    One(&'a Cmd),
    Many(&'a Pipeline),
    /// The bytes of this many commands, and of `MULTI` and `EXEC` if they are a transaction.
    Packed(&'a [u8], usize),
}

/// The name of a command, and how many arguments it has.
#[derive(Debug, PartialEq, Eq)]
struct Command {
    name: String,
    n_arguments: usize,
}

impl Command {
    fn new(name: &[u8], n_arguments: usize) -> Self {
        let name = &name[..name.len().min(NAME_BYTES_MAX)];
        Self {
            name: String::from_utf8_lossy(name).to_ascii_uppercase(),
            n_arguments,
        }
    }

    fn of(command: &Cmd) -> Self {
        let mut arguments = command.args_iter();
        let name = match arguments.next() {
            Some(Arg::Simple(name)) => name,
            _ => b"",
        };
        Self::new(name, arguments.len())
    }

    fn write(&self, text: &mut String) {
        text.push_str(&self.name);
        for _ in 0..self.n_arguments.min(ARGUMENTS_MAX) {
            text.push_str(" ?");
        }
        if self.n_arguments > ARGUMENTS_MAX {
            text.push_str(" ...");
        }
    }
}

/// The commands of a request, as far as they are told.
struct Commands {
    /// The first of them.
    first: Vec<Command>,
    n: usize,
    /// `None` for a single command, which is no batch.
    batch: Option<&'static str>,
}

impl Commands {
    fn of(request: Request<'_>) -> Self {
        match request {
            Request::One(command) => Self {
                first: vec![Command::of(command)],
                n: 1,
                batch: None,
            },
            Request::Many(pipeline) => Self {
                first: pipeline
                    .cmd_iter()
                    .take(COMMANDS_MAX)
                    .map(Command::of)
                    .collect(),
                n: pipeline.len(),
                batch: Some(match pipeline.is_transaction() {
                    true => "MULTI",
                    false => "PIPELINE",
                }),
            },
            Request::Packed(packed, n) => {
                let mut first: Vec<_> = unpack(packed).take(COMMANDS_MAX + 1).collect();
                let is_transaction = first.first().is_some_and(|command| command.name == "MULTI");
                if is_transaction {
                    first.remove(0);
                }
                first.truncate(n.min(COMMANDS_MAX));
                let batch = match is_transaction {
                    true => Some("MULTI"),
                    false => (n > 1).then_some("PIPELINE"),
                };
                Self { first, n, batch }
            }
        }
    }

    /// `GET`, `PIPELINE GET`, `MULTI`.
    fn operation(&self) -> Cow<'static, str> {
        let mut names = self.first.iter().map(|command| command.name.as_str());
        let first = names.next().unwrap_or_default();
        match self.batch {
            None => Cow::Owned(first.to_owned()),
            // Of more commands than are compared nobody knows that they are the same.
            Some(batch)
                if !first.is_empty()
                    && self.n <= COMMANDS_MAX
                    && names.all(|name| name == first) =>
            {
                Cow::Owned(format!("{batch} {first}"))
            }
            Some(batch) => Cow::Borrowed(batch),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for command in &self.first {
            if !text.is_empty() {
                text.push('\n');
            }
            command.write(&mut text);
        }
        if self.n > self.first.len() {
            text.push_str("\n...");
        }
        text
    }
}

/// Commands as they travel: `*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n`.
fn unpack(mut packed: &[u8]) -> impl Iterator<Item = Command> {
    std::iter::from_fn(move || {
        let n_parts = header(&mut packed, b'*')?;
        let mut name: &[u8] = b"";
        for index in 0..n_parts {
            let n_bytes = header(&mut packed, b'$')?;
            let (part, rest) = packed.split_at_checked(n_bytes)?;
            packed = rest.strip_prefix(b"\r\n")?;
            if index == 0 {
                name = part;
            }
        }
        Some(Command::new(name, n_parts.saturating_sub(1)))
    })
}

/// Takes `*2\r\n` off and returns the number.
fn header(packed: &mut &[u8], mark: u8) -> Option<usize> {
    let rest = packed.strip_prefix(&[mark])?;
    let end = rest.iter().take(20).position(|byte| *byte == b'\r')?;
    let number = str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
    *packed = rest[end..].strip_prefix(b"\r\n")?;
    Some(number)
}

impl Tracing {
    /// Starts the span of a request, if it is recorded.
    pub(super) fn start(&self, request: Request<'_>, db: i64) -> Option<Call> {
        Call::start(&self.spans, || {
            let commands = Commands::of(request);
            let operation = commands.operation();
            let mut attributes = self.target.attributes(4);
            attributes.push(KeyValue::new("db.namespace", db.to_string()));
            attributes.push(KeyValue::new("db.operation.name", operation.clone()));
            attributes.push(KeyValue::new("db.query.text", commands.text()));
            // By the conventions a batch of one is none.
            if commands.batch.is_some() && commands.n != 1 {
                let n = i64::try_from(commands.n).unwrap_or(i64::MAX);
                attributes.push(KeyValue::new("db.operation.batch.size", n));
            }
            SpanBuilder::from_name(operation)
                .with_kind(SpanKind::Client)
                .with_attributes(attributes)
        })
    }
}

/// The server has answered; some answers may be errors.
pub(super) fn on_answers(call: &mut Call, values: &[Value]) {
    call.on_answer();
    // Those of a transaction come in an array.
    let values = match values {
        [Value::Array(values)] => values,
        values => values,
    };
    let error = values.iter().find_map(|value| match value {
        Value::ServerError(error) => Some(error),
        _ => None,
    });
    if let Some(error) = error {
        let code = error.code().to_owned();
        let description = without_arguments(error.details().unwrap_or(&code));
        call.on_error(Some(code), "server", description);
    }
}

/// Marks the call as failed.
pub(super) fn on_error(call: &mut Call, error: &RedisError) {
    let kind = match error.kind() {
        _ if error.is_timeout() => "timeout",
        _ if error.is_connection_refusal() => "connect",
        ErrorKind::Io => "io",
        ErrorKind::Parse => "parse",
        ErrorKind::AuthenticationFailed => "authentication",
        ErrorKind::Client => "client",
        _ => "_OTHER",
    };
    let code = error.code().map(str::to_owned);
    let description = match error.detail() {
        Some(detail) => without_arguments(detail),
        None => error.to_string(),
    };
    call.on_error(code, kind, description);
}

/// The server quotes arguments of a command that it does not know.
fn without_arguments(message: &str) -> String {
    let end = message.find(", with args beginning with");
    message[..end.unwrap_or(message.len())].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pipeline_of_equal_commands_is_named_after_them() {
        let named = |pipeline: &Pipeline| Commands::of(Request::Many(pipeline)).operation();
        assert_eq!(named(::redis::pipe().get("a").get("b")), "PIPELINE GET");
        assert_eq!(named(::redis::pipe().get("a").del("b")), "PIPELINE");
        assert_eq!(
            named(::redis::pipe().atomic().incr("a", 1).get("b")),
            "MULTI"
        );
        assert_eq!(named(&::redis::pipe()), "PIPELINE");
    }

    #[test]
    fn packed_commands_say_what_they_said_unpacked() {
        let mut pipeline = ::redis::pipe();
        pipeline.set("key", "a\r\n*1\r\n$4\r\nQUIT\r\n").get("key");
        for atomic in [false, true] {
            if atomic {
                pipeline.atomic();
            }
            let packed = pipeline.get_packed_pipeline();
            let packed = Commands::of(Request::Packed(&packed, 2));
            let unpacked = Commands::of(Request::Many(&pipeline));
            assert_eq!(packed.first, unpacked.first);
            assert_eq!(packed.batch, unpacked.batch);
            assert_eq!(packed.text(), "SET ? ?\nGET ?");
        }
    }

    #[test]
    fn of_many_commands_and_arguments_the_first_are_told() {
        let mut pipeline = ::redis::pipe();
        for _ in 0..=COMMANDS_MAX {
            pipeline.cmd("PING");
        }
        let commands = Commands::of(Request::Many(&pipeline));
        assert_eq!(commands.operation(), "PIPELINE");
        assert!(commands.text().ends_with("PING\n..."));
        let wide = ::redis::cmd("del").arg(vec!["key"; 99]).take();
        let text = Commands::of(Request::One(&wide)).text();
        assert_eq!(text, format!("DEL{} ...", " ?".repeat(ARGUMENTS_MAX)));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(packed in "([*$]|[0-9]{1,3}|\r\n|[a-z]){0,40}") {
            prop_assert!(unpack(packed.as_bytes()).count() <= packed.len());
        }
    }
}
