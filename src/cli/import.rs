//! `tidelog import kafka`: move in from the data directory of a stopped Apache Kafka.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};

use super::json::Json;
use super::place::Place;
use crate::import::{self, Options, Report};

#[derive(Debug, Args)]
pub(super) struct Import {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// From a stopped single node of Apache Kafka in KRaft mode (3.7 to 4.3). Its directories are only read.
    Kafka(Kafka),
}

#[derive(Debug, Args)]
struct Kafka {
    /// A data directory of Kafka (log.dirs, metadata.log.dir). All of them must be named.
    #[arg(long = "from", value_name = "DIR", required = true)]
    from: Vec<PathBuf>,
    #[command(flatten)]
    to: Place,
    /// Share segments that are complete instead of copying them; both directories must be on one file system.
    #[arg(long)]
    hard_link: bool,
    /// Import although Kafka did not stop in order: the first start verifies the logs.
    #[arg(long)]
    unclean: bool,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

impl Import {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let From::Kafka(kafka) = self.from;
        let (to, config) = kafka.to.find()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let options = Options {
            from: &kafka.from,
            to: &to,
            config: &config,
            hard_link: kafka.hard_link,
            unclean: kafka.unclean,
            dry_run: kafka.dry_run,
            now_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
        };
        let shows = std::io::stderr().is_terminal();
        let report = import::run(&options, &mut |step| {
            if shows {
                eprintln!("{step}");
            }
        })?;
        let mut out = std::io::stdout().lock();
        if kafka.json {
            writeln!(out, "{}", json(&report, kafka.dry_run))?;
        } else {
            write!(out, "{}", text(&report, kafka.dry_run))?;
        }
        Ok(())
    }
}

fn text(report: &Report, dry_run: bool) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!("{} cluster {}", if dry_run { "Would import" } else { "Imported" }, report.cluster_id));
    line(format!("  topics            {}", report.topics));
    line(format!("  partitions        {}", report.partitions));
    line(format!("  bytes             {} ({} shared)", report.bytes, report.shared_bytes));
    line(format!("  groups            {}", report.groups.groups));
    line(format!("  offsets           {}", report.groups.offsets));
    line(format!("  transactional ids {}", report.transactions.ids));
    if report.restarted {
        line("What an interrupted import had left was removed first.".to_owned());
    }
    if report.transactions.aborted > 0 {
        let count = report.transactions.aborted;
        line(format!(
            "{count} transactions were open: the first start aborts them, and their producers are fenced."
        ));
    }
    if report.transactions.carried_out > 0 {
        let count = report.transactions.carried_out;
        line(format!("{count} transactions were decided: the first start writes their markers."));
    }
    if report.pending_offsets > 0 {
        line(format!(
            "{} offsets of transactions that were never committed are dropped.",
            report.pending_offsets
        ));
    }
    if !report.left_out.is_empty() {
        line("Left out:".to_owned());
        for left in &report.left_out {
            line(format!("  {}: {}", left.what, left.why));
        }
    }
    if !report.is_clean {
        line("Kafka had not stopped in order: the first start verifies the logs.".to_owned());
    }
    line(format!(
        "Kafka's server.properties is in none of its data directories: carry its settings over yourself, and start with node.id={}.",
        report.node_id
    ));
    out
}

fn json(report: &Report, dry_run: bool) -> Json {
    let left_out = report.left_out.iter();
    Json::Object(vec![
        ("dry_run", Json::Bool(dry_run)),
        ("cluster_id", report.cluster_id.as_str().into()),
        ("node_id", Json::Number(report.node_id.into())),
        ("topics", report.topics.into()),
        ("partitions", report.partitions.into()),
        ("bytes", report.bytes.into()),
        ("shared_bytes", report.shared_bytes.into()),
        ("groups", report.groups.groups.into()),
        ("offsets", report.groups.offsets.into()),
        ("pending_offsets", report.pending_offsets.into()),
        ("transactional_ids", report.transactions.ids.into()),
        ("aborted_transactions", report.transactions.aborted.into()),
        ("decided_transactions", report.transactions.carried_out.into()),
        ("next_producer_id", Json::Number(report.next_producer_id)),
        ("clean", Json::Bool(report.is_clean)),
        ("restarted", Json::Bool(report.restarted)),
        (
            "left_out",
            Json::List(
                left_out
                    .map(|left| {
                        Json::Object(vec![
                            ("what", left.what.as_str().into()),
                            ("why", left.why.as_str().into()),
                        ])
                    })
                    .collect(),
            ),
        ),
    ])
}
