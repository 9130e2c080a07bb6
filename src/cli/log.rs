//! `tidelog log verify` and `tidelog log repair`: look through the logs of a stopped broker.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::json::Json;
use super::log_scope::{Found, Scope, Seen};
use super::place::Place;
use crate::storage::segment::inspect::{Finding, Severity};

#[derive(Debug, Args)]
pub(super) struct Log {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read everything and say what is damaged; changes nothing. Exits with 0 when all is sound, 1 when something is
    /// damaged, 2 when that could not be found out.
    Verify(Which),
    /// Repair what is damaged; what has to be taken out is kept beside. Without --yes only says what would be done.
    Repair {
        #[command(flatten)]
        which: Which,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
struct Which {
    #[command(flatten)]
    place: Place,
    /// Only this topic.
    #[arg(long)]
    topic: Option<String>,
    /// Only this partition of it.
    #[arg(long, requires = "topic", value_name = "N")]
    partition: Option<i32>,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

const SOUND: u8 = 0;
const DAMAGED: u8 = 1;
const NOT_CHECKED: u8 = 2;

impl Log {
    pub(super) fn run(self) -> ExitCode {
        let (which, repairs) = match self.command {
            Command::Verify(which) => (which, None),
            Command::Repair { which, yes } => (which, Some(yes)),
        };
        match look(&which, repairs) {
            Ok(code) => code.into(),
            Err(error) => {
                eprintln!("tidelog: {error:#}");
                NOT_CHECKED.into()
            }
        }
    }
}

fn look(which: &Which, repairs: Option<bool>) -> anyhow::Result<u8> {
    let (data_dir, config) = which.place.find()?;
    let scope = Scope::open(&data_dir, &config, which.topic.as_deref(), which.partition)?;
    let shows = std::io::stderr().is_terminal();
    let progress = |name: &str| {
        if shows {
            eprintln!("{name}");
        }
    };
    let mut seen = scope.inspect(&progress)?;
    let mut kept = Vec::new();
    let mut remaining = seen.is_damaged();
    if repairs == Some(true) && remaining {
        kept = scope.repair(&seen, &progress)?;
        let after = scope.again()?.inspect(&progress)?;
        remaining = after.is_damaged();
        if remaining {
            seen.found.extend(after.found);
        }
    }
    let mut out = std::io::stdout().lock();
    if which.json {
        let kept = kept.iter().map(|path| path.display().to_string().as_str().into()).collect();
        let fields = vec![
            ("sound", Json::Bool(!remaining)),
            ("repaired", Json::Bool(repairs == Some(true) && !remaining)),
            ("partitions", seen.partitions.into()),
            ("segments", seen.segments.into()),
            ("batches", seen.batches.into()),
            ("bytes", seen.bytes.into()),
            ("findings", Json::List(seen.found.iter().map(json).collect())),
            ("kept", Json::List(kept)),
        ];
        writeln!(out, "{}", Json::Object(fields))?;
    } else {
        write!(out, "{}", text(&seen, repairs.is_some()))?;
        for path in &kept {
            writeln!(out, "kept: {}", path.display())?;
        }
        match (repairs, remaining) {
            (Some(true), true) => writeln!(out, "Not everything could be repaired.")?,
            (Some(true), false) => {
                writeln!(out, "Nothing is damaged now. The next start verifies the logs.")?
            }
            (Some(false), true) => writeln!(out, "Nothing was changed; repeat with --yes to repair.")?,
            _ => {}
        }
    }
    Ok(if remaining { DAMAGED } else { SOUND })
}

fn text(seen: &Seen, with_remedy: bool) -> String {
    let mut out = String::new();
    for Found { finding, .. } in &seen.found {
        let kind = match finding.severity {
            Severity::Note => "note   ",
            Severity::Damage => "DAMAGED",
        };
        let position = finding.position.map_or(String::new(), |at| format!(" byte {at}"));
        let offsets =
            finding.offsets.map_or(String::new(), |(first, last)| format!(" offsets {first} to {last}"));
        out.push_str(&format!("{kind} {}{position}{offsets}: {}\n", finding.path.display(), finding.what));
        if with_remedy || finding.severity == Severity::Damage {
            out.push_str(&format!("        repair: {}\n", finding.remedy()));
        }
    }
    let damaged = seen.found.iter().filter(|found| found.finding.severity == Severity::Damage).count();
    out.push_str(&format!(
        "{} partitions, {} segments, {} batches, {} bytes: {}\n",
        seen.partitions,
        seen.segments,
        seen.batches,
        seen.bytes,
        if damaged == 0 { "sound".to_owned() } else { format!("{damaged} findings of damage") },
    ));
    out
}

fn json(found: &Found) -> Json {
    let Finding { severity, path, position, offsets, what, .. } = &found.finding;
    let mut fields = vec![
        ("severity", if *severity == Severity::Damage { "damage" } else { "note" }.into()),
        ("partition", found.partition.as_str().into()),
        ("file", path.display().to_string().as_str().into()),
    ];
    fields.extend(position.map(|at| ("position", at.into())));
    if let Some((first, last)) = offsets {
        fields.extend([("first_offset", Json::Number(*first)), ("last_offset", Json::Number(*last))]);
    }
    fields.extend([("what", what.as_str().into()), ("repair", found.finding.remedy().as_str().into())]);
    Json::Object(fields)
}
