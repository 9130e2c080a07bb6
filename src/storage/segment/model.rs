//! The log against a list of batches, through closes and crashes. With compaction, truncation and transactions:
//! `compact/model_tests.rs`.

use proptest::prelude::*;

use super::testing::*;
use super::*;

fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 1000,
        segment_ms: 1 << 40,
        index_interval_bytes: 150,
        segment_index_bytes: 1 << 20,
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append { records: i32, timestamp: i64, payload: usize },
    Roll,
    Release,
    Close,
    Crash,
    Read { offset: i64, max_bytes: usize, end: i64 },
    Find { timestamp: i64, from: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1..5i32, -1..300i64, 0..400usize).prop_map(|(records, timestamp, payload)| Step::Append { records, timestamp, payload }),
        1 => Just(Step::Roll),
        1 => Just(Step::Release),
        1 => Just(Step::Close),
        1 => Just(Step::Crash),
        6 => (0..150i64, 0..2000usize, 0..200i64).prop_map(|(offset, max_bytes, end)| Step::Read { offset, max_bytes, end }),
        4 => (0..300i64, 0..150i64).prop_map(|(timestamp, from)| Step::Find { timestamp, from }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_a_list_of_batches(steps in proptest::collection::vec(step(), 1..60)) {
        let temp = tempfile::tempdir().unwrap();
        let config = small();
        let mut log = create(temp.path(), config);
        // (base offset, next offset, timestamp, bytes)
        let mut model: Vec<(i64, i64, i64, Vec<u8>)> = Vec::new();
        for step in steps {
            let log_end = model.last().map_or(0, |batch| batch.1);
            match step {
                Step::Append { records, timestamp, payload } => {
                    let bytes = append(&mut log, records, timestamp, payload);
                    model.push((log_end, log_end + i64::from(records), timestamp, bytes));
                }
                Step::Roll => log.roll(0).unwrap(),
                Step::Release => log.release_idle().unwrap(),
                Step::Close => {
                    log.close().unwrap();
                    let (opened, recovery) = reopen(temp.path(), config);
                    prop_assert!(!recovery.recovered);
                    log = opened;
                }
                Step::Crash => {
                    drop(log);
                    let (opened, recovery) = recover(temp.path(), config);
                    prop_assert_eq!(recovery.truncated_bytes, 0);
                    prop_assert_eq!(recovery.batches_scanned as usize, model.len());
                    log = opened;
                }
                Step::Read { offset, max_bytes, end } => match log.read(offset, max_bytes, end, true) {
                    Err(ReadError::OutOfRange { .. }) => prop_assert!(offset > log_end),
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                    Ok(slice) => {
                        let bytes = slice.read().unwrap();
                        let first = model.partition_point(|batch| batch.1 <= offset);
                        let mut expected: Vec<u8> = Vec::new();
                        let mut complete = true;
                        for batch in &model[first..] {
                            let fits = expected.is_empty() || expected.len() + batch.3.len() <= max_bytes;
                            if batch.0 >= end || offset >= end || !fits {
                                break;
                            }
                            // A slice may end early only where its segment ends.
                            if bytes.len() == expected.len() {
                                let base = if bytes.is_empty() { -1 } else { slice.segment_base };
                                complete = log.segments().unwrap().iter().any(|s| s.base_offset == batch.0 && s.base_offset > base) && !bytes.is_empty();
                                break;
                            }
                            expected.extend(&batch.3);
                        }
                        prop_assert!(complete);
                        prop_assert_eq!(bytes, expected);
                    }
                },
                Step::Find { timestamp, from } => {
                    let found = log.offset_for_timestamp(timestamp, from, i64::MAX).unwrap();
                    let expected = model.iter().find(|batch| batch.1 > from && batch.2 >= timestamp);
                    prop_assert_eq!(found.map(|found| found.header.base_offset), expected.map(|batch| batch.0));
                    let newest = log.max_timestamp_batch(i64::MAX).unwrap().map(|found| found.header.base_offset);
                    let largest = model.iter().map(|batch| batch.2).max().filter(|largest| *largest >= 0);
                    let expected = largest.and_then(|largest| model.iter().find(|batch| batch.2 == largest));
                    prop_assert_eq!(newest, expected.map(|batch| batch.0));
                }
            }
            prop_assert_eq!(log.end_offset(), model.last().map_or(0, |batch| batch.1));
        }
        let whole: Vec<u8> = model.iter().flat_map(|batch| batch.3.clone()).collect();
        prop_assert_eq!(read_all(&log, 0, 700), whole);
    }
}
