//! Writes the inputs that fuzzing starts from: `cargo run --example fuzz-seeds -- DIRECTORY`.
//!
//! Valid ones of every kind, one folder for each fuzz target. They are made from the layout table and the batch builder
//! instead of being stored, so a new API or version is fuzzed from the day it has a layout.

use std::fs;
use std::path::{Path, PathBuf};

use tidelog::protocol::layout::{APIS, ApiLayout, Field, FieldType};
use tidelog::record::{BatchBuilder, Compression};

#[path = "../src/protocol/layout/sample.rs"]
mod sample;

use sample::Sample;

/// Milliseconds; what the rules of the `record_batch` target hold for now.
const NOW_MS: i64 = 1_700_000_000_000;

fn main() -> std::io::Result<()> {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: fuzz-seeds DIRECTORY");
        std::process::exit(2);
    };
    write(&directory.join("decode_request"), requests())?;
    write(&directory.join("record_batch"), batches().into_iter())?;
    write(&directory.join("open_log"), logs())
}

fn write(folder: &Path, seeds: impl Iterator<Item = (String, Vec<u8>)>) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, bytes) in seeds {
        fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}

/// Every API in every version: with everything set, with nothing set, and as a client of today sends it.
fn requests() -> impl Iterator<Item = (String, Vec<u8>)> {
    let plain = Sample { outer: 1, inner: 1, unknown_tag: false, ..Sample::FULL };
    let samples = [("full", Sample::FULL), ("bare", Sample::BARE), ("plain", plain)];
    APIS.iter().flat_map(move |api| {
        let versions = api.valid.0..=api.valid.1;
        versions.flat_map(move |version| {
            samples.map(|(name, sample)| {
                let mut frame = header(api, version);
                frame.extend(sample::encode(api, version, sample));
                (format!("{}-{version}-{name}", api.name), frame)
            })
        })
    })
}

fn header(api: &ApiLayout, version: i16) -> Vec<u8> {
    let mut header = [api.key.to_be_bytes(), version.to_be_bytes()].concat();
    header.extend(7i32.to_be_bytes());
    header.extend(4i16.to_be_bytes());
    header.extend(b"seed");
    if api.is_flexible(version) {
        // No tagged fields.
        header.push(0);
    }
    header
}

fn records(codec: Compression, base_offset: i64) -> BatchBuilder {
    let mut batch = BatchBuilder::new().base_offset(base_offset).compression(codec, None);
    for number in 0..4i64 {
        let value = format!("value {number} ").repeat(6);
        let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", Some(b"1")), (b"null", None)];
        batch = batch.record_with_headers(NOW_MS + number, Some(b"key"), Some(value.as_bytes()), headers);
    }
    batch
}

/// One batch for each codec and for each thing a batch can be.
fn batches() -> Vec<(String, Vec<u8>)> {
    let mut named: Vec<(String, BatchBuilder)> =
        Compression::ALL.iter().map(|codec| (codec.name().to_owned(), records(*codec, 0))).collect();
    let plain = || records(Compression::None, 0);
    named.extend([
        ("idempotent".into(), plain().producer(9, 1, i32::MAX)),
        ("transactional".into(), plain().producer(9, 1, 5).transactional(true)),
        ("control".into(), plain().producer(9, 1, -1).transactional(true).control(true)),
        ("append-time".into(), plain().log_append_time(NOW_MS)),
        ("nulls".into(), BatchBuilder::new().record(NOW_MS, None, None).record(-1, None, Some(b""))),
        ("no-records".into(), BatchBuilder::new().last_offset_delta(3)),
        ("gaps".into(), BatchBuilder::new().record_at(2, NOW_MS, Some(b"k"), None, &[]).last_offset_delta(9)),
    ]);
    named.into_iter().map(|(name, batch)| (name, built(batch))).collect()
}

fn built(batch: BatchBuilder) -> Vec<u8> {
    batch.build().expect("a small batch can be built").to_vec()
}

/// Logs of a few batches behind the target's 16 bytes of instructions: after an unclean and after a clean stop, in one
/// segment and in two, with and without a recovery point, whole and with a torn tail.
fn logs() -> impl Iterator<Item = (String, Vec<u8>)> {
    let batches: Vec<Vec<u8>> = (0..6i64)
        .map(|number| {
            built(records(Compression::ALL[number as usize % 5], number * 4).leader_epoch(number as i32 / 2))
        })
        .collect();
    let whole = batches.concat();
    let half = batches[..3].concat().len() as u16;
    let torn = whole.len() - 40;
    let logs = [("whole", whole.len()), ("torn", torn), ("empty", 0)];
    let mut seeds = Vec::new();
    for (name, length) in logs {
        for flags in 0..8u8 {
            let mut seed = vec![0; 16];
            seed[0] = flags;
            // The second segment begins at offset 12: one behind the first one's base, and 11.
            seed[8..10].copy_from_slice(&11u16.to_be_bytes());
            seed[10..12].copy_from_slice(&half.to_be_bytes());
            // The recovery point lies in the third batch.
            seed[14..16].copy_from_slice(&9u16.to_be_bytes());
            seed.extend(&whole[..length]);
            seeds.push((format!("{name}-{flags}"), seed.clone()));
            // The same with an entry in each index: the end of the first batch, and where the second one is.
            let second = (batches[0].len() as u32).to_be_bytes();
            let time = (NOW_MS + 3).to_be_bytes();
            let entries = [&7u32.to_be_bytes()[..], &second, &time, &3u32.to_be_bytes()].concat();
            seed[12..14].copy_from_slice(&[1, 1]);
            seed.splice(16..16, entries);
            seeds.push((format!("{name}-{flags}-indexed"), seed));
        }
    }
    seeds.into_iter()
}
