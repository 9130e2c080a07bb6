//! Load on group coordinators, with nothing of a real client but its frames: a thousand members cost it less than one
//! consumer would. Standard library only; `brokers.py` compiles it with `rustc`.
//!
//! One command per line of standard input, one line of figures per command:
//!
//! ```text
//! members PORT PROTOCOL GROUPS CONNECTIONS TOPIC   joins one member to each of GROUPS groups and keeps them
//! beat    PORT PROTOCOL SECONDS INTERVAL_MS        heartbeats of those members, spread evenly; 0: as fast as it goes
//! commit  PORT GROUP TOPIC PARTITIONS CONNECTIONS DEPTH SECONDS   commits of PARTITIONS offsets, a group per connection
//! fill    PORT GROUP TOPIC PARTITIONS GROUPS END   one commit of PARTITIONS offsets to each of GROUPS groups
//! balance PORT PROTOCOL GROUP TOPIC PARTITIONS MEMBERS INTERVAL_MS SESSION_MS   join, one member more, one killed
//! ```
//!
//! PROTOCOL is `classic` or `consumer`, as in the clients' `group.protocol`.

mod beats;
mod board;
mod classic;
mod commits;
mod consumer;
mod rebalance;
mod wire;

use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead, Write};
use std::str::FromStr;

/// What goes wrong ends the command; the text is for a human.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Figures by name, as they are printed.
pub type Figures = Vec<(&'static str, f64)>;

/// Which group protocol a member speaks.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    Classic,
    Consumer,
}

impl FromStr for Protocol {
    type Err = Box<dyn Error + Send + Sync>;

    fn from_str(word: &str) -> Outcome<Self> {
        match word {
            "classic" => Ok(Self::Classic),
            "consumer" => Ok(Self::Consumer),
            _ => Err(format!("{word} is no group protocol").into()),
        }
    }
}

/// The words behind a command's name, one by one.
pub struct Words<'a>(std::str::SplitWhitespace<'a>);

impl<'a> Words<'a> {
    fn text(&mut self) -> Outcome<&'a str> {
        self.0.next().ok_or_else(|| "a word is missing".into())
    }

    fn read<T: FromStr<Err: Into<Box<dyn Error + Send + Sync>>>>(&mut self) -> Outcome<T> {
        self.text()?.parse().map_err(Into::into)
    }
}

type Kept = HashMap<(u16, Protocol), Vec<beats::Lane>>;

fn run(line: &str, kept: &mut Kept) -> Outcome<Figures> {
    let mut words = Words(line.split_whitespace());
    match words.text()? {
        "members" => {
            let key = (words.read()?, words.read()?);
            let lanes = beats::join(key.0, key.1, words.read()?, words.read()?, words.text()?)?;
            kept.insert(key, lanes);
            Ok(Figures::new())
        }
        "beat" => {
            let lanes = kept.get_mut(&(words.read()?, words.read()?)).ok_or("no members were made")?;
            beats::run(lanes, words.read()?, words.read()?)
        }
        "commit" => commits::run(&commits::Load {
            port: words.read()?,
            group: words.text()?,
            topic: words.text()?,
            partitions: words.read()?,
            connections: words.read()?,
            depth: words.read()?,
            seconds: words.read()?,
        }),
        "fill" => commits::fill(
            words.read()?,
            words.text()?,
            words.text()?,
            words.read()?,
            words.read()?,
            words.read()?,
        ),
        "balance" => rebalance::run(&rebalance::Plan {
            port: words.read()?,
            protocol: words.read()?,
            group: words.text()?.into(),
            topic: words.text()?.into(),
            partitions: words.read()?,
            members: words.read()?,
            interval_ms: words.read()?,
            session_ms: words.read()?,
        }),
        other => Err(format!("{other} is no command").into()),
    }
}

fn main() -> Outcome<()> {
    let mut kept = Kept::new();
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lock().lines() {
        match run(&line?, &mut kept) {
            Ok(figures) => {
                let shown: String = figures.iter().map(|(name, value)| format!(" {name}={value}")).collect();
                writeln!(out, "done{shown}")?;
            }
            Err(error) => writeln!(out, "failed {}", error.to_string().replace('\n', " "))?,
        }
        out.flush()?;
    }
    Ok(())
}
