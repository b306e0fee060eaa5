//! Just enough HTTP/1.1 to see headers as they stand on the wire. One request a connection, no
//! bodies: libraries would tidy away what the tests are about.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// More than Envoy lets pass (60 KiB by default, 96 KiB at most in these tests).
const HEAD_BYTES_MAX: usize = 256 * 1024;

/// A peer that is silent for so long is broken.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The head of a request or of an answer.
#[derive(Clone, Debug)]
pub struct Message {
    /// The request line or the status line.
    pub start_line: String,
    /// The header lines in order.
    pub headers: Headers,
}

/// Header lines: names in lower case, values as they stood, without the whitespace around them.
#[derive(Clone, Debug, Default)]
pub struct Headers(Vec<(String, Vec<u8>)>);

impl Headers {
    /// All lines in order.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &[u8])> {
        self.0.iter().map(|(name, value)| (name, value.as_slice()))
    }

    /// The values of all lines with this name (lower case), in order.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(n, _)| *n == name)
            .map(|(_, value)| value)
    }

    /// The value of the only line with this name.
    ///
    /// # Errors
    /// There is no such line, or more than one.
    pub fn only(&self, name: &str) -> Result<&[u8]> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            (None, _) => bail!("no header {name}"),
            (Some(_), Some(_)) => bail!("several headers {name}"),
        }
    }
}

impl Message {
    /// The path of a request with its query.
    pub fn path(&self) -> &str {
        self.start_line.split(' ').nth(1).unwrap_or_default()
    }

    /// The status code of an answer; 0 if there is none.
    pub fn status(&self) -> u16 {
        self.start_line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or(0)
    }

    fn read(stream: &mut TcpStream) -> Result<Self> {
        let mut head = Vec::new();
        let mut chunk = [0; 16 * 1024];
        let end = loop {
            if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            let n = stream.read(&mut chunk)?;
            if n == 0 {
                bail!("the peer closed the connection");
            }
            head.extend_from_slice(&chunk[..n]);
            if head.len() > HEAD_BYTES_MAX {
                bail!("more than {HEAD_BYTES_MAX} bytes of headers");
            }
        };
        let mut lines = head[..end]
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::trim_ascii_end);
        let start_line = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        let mut headers = Vec::new();
        for line in lines {
            let colon = line
                .iter()
                .position(|byte| *byte == b':')
                .context("no colon")?;
            let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
            headers.push((name, line[colon + 1..].trim_ascii().to_vec()));
        }
        Ok(Self {
            start_line,
            headers: Headers(headers),
        })
    }
}

/// Sends one request on a connection of its own and returns the head of the answer.
pub(super) fn exchange(
    to: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &[u8])],
) -> Result<Message> {
    let mut stream = connect(to)?;
    let mut request = format!("{method} {target} HTTP/1.1\r\nhost: shop.test\r\n").into_bytes();
    for (name, value) in headers {
        request.extend_from_slice(name.as_bytes());
        request.extend_from_slice(b":");
        request.extend_from_slice(value);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"connection: close\r\n\r\n");
    stream.write_all(&request)?;
    Message::read(&mut stream).with_context(|| format!("no answer to {method} {target}"))
}

fn connect(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(to).with_context(|| format!("cannot connect to {to}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Answers every connection's one request with the status that `answer` chooses, until the process
/// ends.
pub(super) fn serve(
    listener: TcpListener,
    answer: impl Fn(Message) -> u16 + Send + Sync + 'static,
) {
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                // A client that breaks off is seen by whoever sent through it.
                let Ok(request) = Message::read(&mut stream) else {
                    return;
                };
                let status = answer(request);
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                );
                let _ = stream.write_all(head.as_bytes());
            });
        }
    });
}
