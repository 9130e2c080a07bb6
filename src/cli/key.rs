//! `tidelog key get`: the latest record of a key of a compacted topic.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::place;
use crate::control::client::{self, ClientError, encode_segment};

/// Bytes of a key that fit into a request.
const KEY_BYTES_MAX: usize = 16 << 10;
/// The key is not there, or was deleted.
const NOT_FOUND: u8 = 1;
const FAILED: u8 = 2;

#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// Print the latest value of a key; the status is 1 when there is none, and 2 when that cannot be told.
    Get(Get),
}

#[derive(Debug, Args)]
pub(super) struct Get {
    /// A compacted topic.
    topic: String,
    /// The key.
    key: String,
    /// Look only in this partition. Otherwise the one that Java clients choose for the key comes first, and then the others.
    #[arg(long, value_name = "N")]
    partition: Option<i32>,
    /// The data directory of the broker; the one that `tidelog serve` would use if it is not given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print the whole record as JSON.
    #[arg(long)]
    json: bool,
    /// How the key is written on the command line.
    #[arg(long, value_enum, default_value_t = Encoding::Utf8)]
    key_encoding: Encoding,
}

/// How bytes are written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Encoding {
    Utf8,
    Hex,
    Base64,
}

impl Encoding {
    fn decode(self, text: &str) -> anyhow::Result<Vec<u8>> {
        match self {
            Encoding::Utf8 => Ok(text.as_bytes().to_vec()),
            Encoding::Hex => {
                let digits: Option<Vec<u8>> =
                    text.chars().map(|digit| Some(digit.to_digit(16)? as u8)).collect();
                let digits = digits.context("the key is not hexadecimal")?;
                match digits.as_chunks::<2>() {
                    (pairs, []) => Ok(pairs.iter().map(|[high, low]| high * 16 + low).collect()),
                    _ => bail!("the key is not hexadecimal: two digits make a byte"),
                }
            }
            Encoding::Base64 => BASE64.decode(text).context("the key is not base64"),
        }
    }
}

impl Key {
    pub(super) fn run(self) -> ExitCode {
        let Key::Get(get) = self;
        match get.run() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(NOT_FOUND),
            Err(error) => {
                eprintln!("tidelog: {error:#}");
                ExitCode::from(FAILED)
            }
        }
    }
}

impl Get {
    /// Whether the key has a value.
    fn run(self) -> anyhow::Result<bool> {
        let key = self.key_encoding.decode(&self.key)?;
        if key.len() > KEY_BYTES_MAX {
            bail!("the key has {} bytes; up to {KEY_BYTES_MAX} can be asked for", key.len());
        }
        let data = place::or_default(self.data)?;
        let mut target =
            format!("/v1/topics/{}/keys/{}", encode_segment(self.topic.as_bytes()), encode_segment(&key));
        if let Some(partition) = self.partition {
            target.push_str(&format!("?partition={partition}"));
        }
        let answer = client::ask(&data, "GET", &target, None).map_err(|error| match error {
            ClientError::NotRunning(_) => {
                anyhow!("{error}: start the broker, or name its data directory with --data")
            }
            other => other.into(),
        })?;
        let body = answer.success().map_err(anyhow::Error::msg)?;
        let found =
            body.get("found").ok_or_else(|| anyhow!("the broker's answer is not understood: {body}"))?;
        let shown = Shown::of(&self.topic, self.partition, found, self.json)?;
        if !shown.told.is_empty() {
            eprintln!("{}", shown.told);
        }
        let mut out = std::io::stdout().lock();
        out.write_all(&shown.printed).and_then(|()| out.flush()).context("cannot print")?;
        Ok(shown.has_value)
    }
}

/// What a user sees.
#[derive(Debug, PartialEq)]
struct Shown {
    has_value: bool,
    /// To the standard output.
    printed: Vec<u8>,
    /// To the standard error output.
    told: String,
}

impl Shown {
    fn of(topic: &str, partition: Option<i32>, found: &Value, as_json: bool) -> anyhow::Result<Shown> {
        let unclear = || anyhow!("the broker's answer is not understood: {found}");
        let place = || partition.map_or_else(|| format!("topic {topic}"), |index| format!("{topic}-{index}"));
        if found.is_null() {
            let printed = if as_json { b"null\n".to_vec() } else { Vec::new() };
            return Ok(Shown {
                has_value: false,
                printed,
                told: format!("no record of {} has this key", place()),
            });
        }
        let number = |name: &str| found.get(name).and_then(Value::as_i64).ok_or_else(unclear);
        let (index, offset) = (number("partition")?, number("offset")?);
        let value = bytes(found.get("value_base64")).ok_or_else(unclear)?;
        let has_value = value.is_some();
        let mut told = Vec::new();
        if !has_value {
            told.push(format!("the key was deleted by the record at {topic}-{index}, offset {offset}"));
        }
        let default = number("default_partition")?;
        if partition.is_none() && default != index {
            told.push(format!(
                "found in partition {index}; Java's default partitioner would have chosen {default}"
            ));
        }
        let printed = match (as_json, value) {
            (true, value) => {
                let headers = found.get("headers").and_then(Value::as_array).ok_or_else(unclear)?;
                let headers: Option<Vec<Value>> = headers
                    .iter()
                    .map(|header| {
                        let mut shown = json!({ "key": header.get("key")?.as_str()? });
                        show(&mut shown, bytes(header.get("value_base64"))?);
                        Some(shown)
                    })
                    .collect();
                let mut shown = json!({
                    "topic": topic,
                    "partition": index,
                    "offset": offset,
                    "timestamp": number("timestamp")?,
                    "headers": headers.ok_or_else(unclear)?,
                });
                show(&mut shown, value);
                format!("{shown}\n").into_bytes()
            }
            (false, Some(mut value)) => {
                value.push(b'\n');
                value
            }
            (false, None) => Vec::new(),
        };
        Ok(Shown { has_value, printed, told: told.join("\n") })
    }
}

/// Bytes in an answer, which may be none; `None` when that is not understood.
fn bytes(value: Option<&Value>) -> Option<Option<Vec<u8>>> {
    match value? {
        Value::Null => Some(None),
        value => BASE64.decode(value.as_str()?).ok().map(Some),
    }
}

/// Adds a value: as text where it is text.
fn show(shown: &mut Value, value: Option<Vec<u8>>) {
    match value.map(String::from_utf8) {
        None => shown["value"] = Value::Null,
        Some(Ok(text)) => shown["value"] = text.into(),
        Some(Err(other)) => shown["value_base64"] = BASE64.encode(other.as_bytes()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_decoded() {
        assert_eq!(Encoding::Utf8.decode("ü").unwrap(), "ü".as_bytes());
        assert_eq!(Encoding::Hex.decode("00fFa0").unwrap(), [0, 255, 160]);
        assert!(Encoding::Hex.decode("").unwrap().is_empty());
        assert_eq!(Encoding::Base64.decode("AP+g").unwrap(), [0, 255, 160]);
        for (encoding, bad) in
            [(Encoding::Hex, "abc"), (Encoding::Hex, "xy"), (Encoding::Hex, "ü"), (Encoding::Base64, "AP+")]
        {
            assert!(encoding.decode(bad).is_err(), "{bad}");
        }
    }

    fn found(value: Option<&[u8]>, partition: i32) -> Value {
        json!({
            "partition": partition, "default_partition": 1, "offset": 7, "timestamp": 99,
            "value_base64": value.map(|value| BASE64.encode(value)),
            "headers": [{ "key": "h", "value_base64": "AP8=" }, { "key": "n", "value_base64": null }],
        })
    }

    #[test]
    fn a_value_is_printed_as_it_is() {
        let shown = Shown::of("t", None, &found(Some(b"a\xff"), 1), false).unwrap();
        assert_eq!(shown, Shown { has_value: true, printed: b"a\xff\n".to_vec(), told: String::new() });
        let elsewhere = Shown::of("t", None, &found(Some(b"a"), 2), false).unwrap();
        assert!(elsewhere.told.contains("partition 2") && elsewhere.told.contains("chosen 1"));
        assert_eq!(Shown::of("t", Some(2), &found(Some(b"a"), 2), false).unwrap().told, "");
    }

    #[test]
    fn what_is_deleted_or_not_there_is_told() {
        let deleted = Shown::of("t", None, &found(None, 1), false).unwrap();
        assert_eq!((deleted.has_value, deleted.printed.len()), (false, 0));
        assert!(deleted.told.contains("deleted") && deleted.told.contains("offset 7"));
        let nothing = Shown::of("t", Some(3), &Value::Null, true).unwrap();
        assert_eq!((nothing.has_value, nothing.printed.as_slice()), (false, b"null\n".as_slice()));
        assert!(nothing.told.contains("t-3"));
        assert!(Shown::of("t", None, &json!({}), false).is_err());
    }

    #[test]
    fn a_record_as_json() {
        let printed = |value: Option<&[u8]>| {
            let shown = Shown::of("t", None, &found(value, 1), true).unwrap();
            serde_json::from_slice::<Value>(&shown.printed).unwrap()
        };
        let headers = json!([{ "key": "h", "value_base64": "AP8=" }, { "key": "n", "value": null }]);
        let record = |name: &str, value: Value| {
            let mut record =
                json!({ "topic": "t", "partition": 1, "offset": 7, "timestamp": 99, "headers": headers });
            record[name] = value;
            record
        };
        assert_eq!(printed(Some(b"text")), record("value", "text".into()));
        assert_eq!(printed(Some(&[0, 255])), record("value_base64", "AP8=".into()));
        assert_eq!(printed(None), record("value", Value::Null));
    }
}
