//! The operator's end of the socket: one request, one answer.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::socket;

/// Bytes of an answer at most: a record and its frame in JSON.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No broker listens.
    #[error("no broker answers at {}", .0.display())]
    NotRunning(PathBuf),
    /// The connection cannot be made or broke.
    #[error("the broker at {} did not answer: {source}", path.display())]
    Broken { path: PathBuf, source: io::Error },
    /// It is no answer.
    #[error("the broker at {} gave an answer that is not understood: {reason}", path.display())]
    Answer { path: PathBuf, reason: String },
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// HTTP's status.
    pub status: u16,
    /// The body.
    pub body: Value,
}

impl Answer {
    /// The body of a success.
    ///
    /// # Errors
    /// What the broker said otherwise.
    pub fn success(self) -> Result<Value, String> {
        match self.status {
            200..300 => Ok(self.body),
            status => Err(match self.body.get("error").and_then(Value::as_str) {
                Some(error) => error.to_owned(),
                None => format!("the broker answered with status {status}"),
            }),
        }
    }
}

/// Sends a request to the broker that runs on `data_dir`, and waits for the answer as long as it takes.
///
/// # Errors
/// [`ClientError`].
pub fn ask(data_dir: &Path, method: &str, target: &str, body: Option<&Value>) -> Result<Answer, ClientError> {
    let path = data_dir.join(socket::FILE);
    let stream = socket::connect(data_dir).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning(path.clone()),
        _ => ClientError::Broken { path: path.clone(), source },
    })?;
    let answer = exchange(stream, method, target, body)
        .map_err(|source| ClientError::Broken { path: path.clone(), source })?;
    parse(&answer).map_err(|reason| ClientError::Answer { path, reason })
}

fn exchange(mut stream: UnixStream, method: &str, target: &str, body: Option<&Value>) -> io::Result<Vec<u8>> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: tidelog\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it stopped, or closed the connection"));
    }
    Ok(answer)
}

/// Reads an answer that ends with its connection, and says how long it is.
fn parse(answer: &[u8]) -> Result<Answer, String> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or("its head is cut short")?;
    let head = std::str::from_utf8(&answer[..end]).map_err(|_| "its head is not text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default().strip_prefix("HTTP/1.1 ");
    let status = status.and_then(|rest| rest.get(..3)?.parse().ok()).ok_or("it has no status")?;
    let length = lines.filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())
    });
    let body = &answer[end + 4..];
    if length.flatten() != Some(body.len()) {
        return Err("its body is cut short".to_owned());
    }
    let body = serde_json::from_slice(body).map_err(|error| format!("its body is no JSON: {error}"))?;
    Ok(Answer { status, body })
}

/// Bytes as one segment of a request's path.
pub fn encode_segment(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => text.push(char::from(*byte)),
            // A dot as well: a segment of dots alone would be taken for a step up.
            // Writing to a String cannot fail.
            other => drop(write!(text, "%{other:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_whole_or_refused() {
        let text = b"HTTP/1.1 409 Conflict\r\nDate: x\r\nContent-Length: 15\r\n\r\n{\"error\":\"why\"}";
        let answer = parse(text).unwrap();
        assert_eq!(answer.status, 409);
        assert_eq!(answer.success().unwrap_err(), "why");
        for length in 0..text.len() {
            assert!(parse(&text[..length]).is_err(), "{length}");
        }
        let fine = parse(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
        assert_eq!(fine.success().unwrap(), serde_json::json!({}));
    }

    #[test]
    fn segments_are_encoded() {
        assert_eq!(encode_segment("a-Z_~9".as_bytes()), "a-Z_~9");
        assert_eq!(encode_segment(b"a/b ..\0\xff%"), "a%2Fb%20%2E%2E%00%FF%25");
    }
}
