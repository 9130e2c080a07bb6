//! Random histories of several producers against a model that looks things up in all that was ever appended.

use proptest::prelude::*;

use super::*;
use crate::partition::producer_snapshot;
use crate::record::BatchBuilder;

const EXPIRATION_MS: i64 = 100;

/// What the log holds.
#[derive(Debug, Clone)]
enum Logged {
    Data(BatchHeader),
    Marker(EndMarker, i64),
}

impl Logged {
    fn producer(&self) -> i64 {
        match self {
            Logged::Data(header) => header.producer_id,
            Logged::Marker(marker, _) => marker.producer_id,
        }
    }

    fn epoch(&self) -> i16 {
        match self {
            Logged::Data(header) => header.producer_epoch,
            Logged::Marker(marker, _) => marker.producer_epoch,
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// `skew` is what the client gets wrong: the distance of the sequence from the next, or of the epoch.
    Data {
        producer: i64,
        epoch: i16,
        skew: i32,
        records: i32,
        transactional: bool,
        enlistment: Enlistment,
    },
    Marker {
        producer: i64,
        epoch: i16,
        coordinator: i32,
        outcome: TransactionOutcome,
    },
    Repeat {
        back: usize,
    },
    Wait {
        ms: i64,
    },
    HighWatermark,
    Snapshot,
    Reload,
}

fn step() -> impl Strategy<Value = Step> {
    let enlistment = prop_oneof![
        2 => Just(Enlistment::Unknown),
        3 => Just(Enlistment::Enlisted { begins_at_zero: false }),
        3 => Just(Enlistment::Enlisted { begins_at_zero: true }),
    ];
    let skew = prop_oneof![6 => Just(0), 1 => -12..12i32];
    let outcome = prop_oneof![Just(TransactionOutcome::Commit), Just(TransactionOutcome::Abort)];
    prop_oneof![
        14 => (0..3i64, 0..2i16, skew, 1..4i32, prop::bool::weighted(0.7), enlistment).prop_map(
            |(producer, epoch, skew, records, transactional, enlistment)| Step::Data {
                producer, epoch, skew, records, transactional, enlistment
            }
        ),
        6 => (0..3i64, -1..2i16, -1..2i32, outcome).prop_map(|(producer, epoch, coordinator, outcome)| {
            Step::Marker { producer, epoch, coordinator, outcome }
        }),
        3 => (0..12usize).prop_map(|back| Step::Repeat { back }),
        2 => (1..150i64).prop_map(|ms| Step::Wait { ms }),
        3 => Just(Step::HighWatermark),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Reload),
    ]
}

/// All that was appended, and since when each producer is remembered, and its batches, as places in `log`.
struct Model {
    log: Vec<Logged>,
    known_from: [usize; 3],
    batches_from: [usize; 3],
    heard_ms: [i64; 3],
    next_offset: i64,
    high_watermark: i64,
    now_ms: i64,
}

impl Model {
    fn of(&self, producer: i64) -> impl DoubleEndedIterator<Item = &Logged> {
        let from = self.known_from[producer as usize];
        self.log[from..].iter().filter(move |logged| logged.producer() == producer)
    }

    fn epoch(&self, producer: i64) -> Option<i16> {
        self.of(producer).last().map(Logged::epoch)
    }

    /// The batches of the present epoch, newest first, at most five.
    fn window(&self, producer: i64) -> Vec<BatchHeader> {
        let at = producer as usize;
        let epoch = self.epoch(producer);
        let places = self.known_from[at]..self.log.len();
        let own = places.rev().filter(|place| self.log[*place].producer() == producer);
        let present = own.take_while(|place| Some(self.log[*place].epoch()) == epoch);
        let data = present.filter(|place| *place >= self.batches_from[at]).filter_map(|place| {
            match &self.log[place] {
                Logged::Data(header) => Some(*header),
                Logged::Marker(..) => None,
            }
        });
        data.take(5).collect()
    }

    /// First offset and epoch of the transaction that no marker has ended.
    fn open(&self, producer: i64) -> Option<(i64, i16)> {
        let behind_marker = self.log.iter().rev().take_while(
            |logged| !matches!(logged, Logged::Marker(marker, _) if marker.producer_id == producer),
        );
        behind_marker
            .filter_map(|logged| match logged {
                Logged::Data(header) if header.producer_id == producer && header.is_transactional() => {
                    Some((header.base_offset, header.producer_epoch))
                }
                _ => None,
            })
            .last()
    }

    fn first_unstable(&self) -> Option<i64> {
        let mut unstable: Vec<i64> =
            (0..3).filter_map(|producer| self.open(producer)).map(|(first, _)| first).collect();
        let mut begun: HashMap<i64, i64> = HashMap::new();
        for logged in &self.log {
            match logged {
                Logged::Data(header) if header.is_transactional() => {
                    begun.entry(header.producer_id).or_insert(header.base_offset);
                }
                Logged::Data(_) => {}
                Logged::Marker(marker, offset) => {
                    let first = begun.remove(&marker.producer_id);
                    unstable.extend(first.filter(|_| *offset >= self.high_watermark));
                }
            }
        }
        unstable.into_iter().min()
    }

    fn verdict(&self, header: &BatchHeader, enlistment: Enlistment) -> &'static str {
        let producer = header.producer_id;
        let (epoch, window, open) = (self.epoch(producer), self.window(producer), self.open(producer));
        let repeats = |known: &&BatchHeader| {
            known.base_sequence == header.base_sequence && known.last_sequence() == header.last_sequence()
        };
        if epoch == Some(header.producer_epoch) && window.iter().find(repeats).is_some() {
            return "duplicate";
        }
        if epoch.is_some_and(|epoch| header.producer_epoch < epoch) {
            return "epoch";
        }
        let joins =
            open.is_some_and(|(_, epoch)| epoch == header.producer_epoch) && header.is_transactional();
        if header.is_transactional() && !joins && enlistment == Enlistment::Unknown {
            return "not enlisted";
        }
        let expected = match epoch {
            None => (enlistment == Enlistment::Enlisted { begins_at_zero: true }).then_some(0),
            Some(epoch) if epoch < header.producer_epoch => Some(0),
            Some(_) => Some(window.first().map_or(0, |last| last.last_sequence().wrapping_add(1).max(0))),
        };
        if expected.is_some_and(|expected| expected != header.base_sequence) {
            return "sequence";
        }
        if open.is_some() && !joins { "state" } else { "append" }
    }

    fn hear(&mut self, logged: Logged, offsets: i64) {
        let producer = logged.producer() as usize;
        self.heard_ms[producer] = self.now_ms;
        self.log.push(logged);
        self.next_offset += offsets;
    }

    fn wait(&mut self, ms: i64) {
        self.now_ms += ms;
        for producer in 0..3 {
            let idle = self.now_ms - self.heard_ms[producer] >= EXPIRATION_MS;
            if idle && self.open(producer as i64).is_none() {
                self.known_from[producer] = self.log.len();
            }
        }
    }
}

fn named(verdict: &Result<Verdict, AppendError>) -> &'static str {
    match verdict {
        Ok(Verdict::Append) => "append",
        Ok(Verdict::Duplicate(_)) => "duplicate",
        Err(AppendError::InvalidProducerEpoch { .. }) => "epoch",
        Err(AppendError::NotEnlisted { .. }) => "not enlisted",
        Err(AppendError::OutOfOrderSequence { .. }) => "sequence",
        Err(AppendError::InvalidTxnState { .. }) => "state",
        Err(other) => panic!("{other}"),
    }
}

fn header(producer: i64, epoch: i16, sequence: i32, records: i32, transactional: bool) -> BatchHeader {
    let builder = BatchBuilder::new().producer(producer, epoch, sequence).transactional(transactional);
    let batch = (0..records).fold(builder, |builder, _| builder.record(50, None, None)).build().unwrap();
    BatchHeader::parse(&batch).unwrap()
}

fn check(producers: &Producers, model: &Model) -> Result<(), TestCaseError> {
    prop_assert_eq!(producers.first_unstable_offset(model.high_watermark), model.first_unstable());
    let mut open: Vec<_> =
        (0..3).filter_map(|id| model.open(id).map(|(first, epoch)| (first, id, epoch))).collect();
    open.sort();
    let found =
        producers.open_transactions().map(|open| (open.first_offset, open.producer_id, open.producer_epoch));
    prop_assert_eq!(found.collect::<Vec<_>>(), open);
    let mut known: Vec<_> =
        producers.views().map(|view| (view.producer_id, view.producer_epoch, view.last_sequence)).collect();
    known.sort();
    let expected = (0..3).filter_map(|id| {
        let last = model.window(id).first().map_or(-1, |last| last.last_sequence());
        Some((id, model.epoch(id)?, last))
    });
    prop_assert_eq!(known, expected.collect::<Vec<_>>());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_all_that_was_appended(
        first_sequence in prop_oneof![Just(0), Just(i32::MAX - 7)],
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut producers = Producers::default();
        let mut model = Model {
            log: vec![], known_from: [0; 3], batches_from: [0; 3], heard_ms: [0; 3], next_offset: 0, high_watermark: 0, now_ms: 1_000,
        };
        // The snapshot, its place in the log, and what the model knew then.
        let mut snapshot = (producer_snapshot::encode(&producers), 0, [0; 3]);
        for step in steps {
            match step {
                Step::Data { producer, epoch, skew, records, transactional, enlistment } => {
                    let present = model.epoch(producer);
                    let epoch = present.unwrap_or(0) + epoch;
                    let next = match (present, model.window(producer).first()) {
                        (None, _) => first_sequence,
                        (Some(present), Some(last)) if present == epoch => last.last_sequence().wrapping_add(1).max(0),
                        _ => 0,
                    };
                    let sequence = next.wrapping_add(skew) & i32::MAX;
                    let mut header = header(producer, epoch, sequence, records, transactional);
                    let verdict = producers.check(&header, enlistment);
                    prop_assert_eq!(named(&verdict), model.verdict(&header, enlistment), "{:?}", header);
                    if matches!(verdict, Ok(Verdict::Append)) {
                        header.base_offset = model.next_offset;
                        producers.record(&header, model.now_ms);
                        model.hear(Logged::Data(header), i64::from(records));
                    }
                }
                Step::Marker { producer, epoch, coordinator, outcome } => {
                    let known = model.epoch(producer);
                    let producer_epoch = (known.unwrap_or(0) + epoch).max(0);
                    let last_coordinator = model.of(producer).rev().find_map(|logged| match logged {
                        Logged::Marker(marker, _) => Some(marker.coordinator_epoch),
                        Logged::Data(_) => None,
                    });
                    let coordinator_epoch = (last_coordinator.unwrap_or(0) + coordinator).max(0);
                    let marker = EndMarker { producer_id: producer, producer_epoch, coordinator_epoch, outcome };
                    let fenced = known.is_some_and(|known| producer_epoch < known);
                    let outdated = last_coordinator.is_some_and(|last| coordinator_epoch < last);
                    match producers.check_marker(&marker) {
                        Err(AppendError::InvalidProducerEpoch { .. }) => prop_assert!(fenced),
                        Err(AppendError::CoordinatorFenced { .. }) => prop_assert!(!fenced && outdated),
                        Err(other) => prop_assert!(false, "{}", other),
                        Ok(()) => {
                            prop_assert!(!fenced && !outdated);
                            let offset = model.next_offset;
                            let open = model.open(producer).filter(|_| outcome == TransactionOutcome::Abort);
                            let aborted = producers.end(&marker, offset, 60, model.now_ms);
                            model.hear(Logged::Marker(marker, offset), 1);
                            let others = (0..3).filter_map(|other| model.open(other)).map(|(first, _)| first).min();
                            let expected = open.map(|(first_offset, _)| AbortedTransaction {
                                producer_id: producer,
                                first_offset,
                                last_offset: offset,
                                last_stable_offset: others.unwrap_or(offset + 1),
                            });
                            prop_assert_eq!(aborted, expected);
                        }
                    }
                }
                Step::Repeat { back } => {
                    let data: Vec<_> = model.log.iter().filter_map(|logged| match logged {
                        Logged::Data(header) => Some(*header),
                        Logged::Marker(..) => None,
                    }).collect();
                    if let Some(header) = data.len().checked_sub(back + 1).map(|at| data[at]) {
                        let verdict = producers.check(&header, Enlistment::Unknown);
                        prop_assert_eq!(named(&verdict), model.verdict(&header, Enlistment::Unknown));
                        if let Ok(Verdict::Duplicate(meta)) = verdict {
                            // A forgotten producer may have used the same sequences again.
                            let known = model.window(header.producer_id).into_iter().find(|known| {
                                known.base_sequence == header.base_sequence
                                    && known.last_sequence() == header.last_sequence()
                            });
                            prop_assert_eq!(Some(meta.first_offset()), known.map(|known| known.base_offset));
                        }
                    }
                }
                Step::Wait { ms } => {
                    model.wait(ms);
                    producers.expire(model.now_ms, EXPIRATION_MS);
                }
                Step::HighWatermark => {
                    model.high_watermark = model.next_offset;
                    producers.settle(model.high_watermark);
                }
                Step::Snapshot => {
                    snapshot = (producer_snapshot::encode(&producers), model.log.len(), model.known_from);
                }
                Step::Reload => {
                    let (bytes, from, known_from) = &snapshot;
                    producers = producer_snapshot::decode(bytes, model.now_ms).unwrap();
                    for logged in &model.log[*from..] {
                        match logged {
                            Logged::Data(header) => producers.replay(header, model.now_ms),
                            Logged::Marker(marker, offset) => {
                                producers.end(marker, *offset, 60, model.now_ms);
                            }
                        }
                    }
                    // What is in the log is committed. Of each producer the snapshot holds but the newest batch.
                    model.high_watermark = model.next_offset;
                    producers.settle(model.high_watermark);
                    model.known_from = *known_from;
                    model.heard_ms = [model.now_ms; 3];
                    for (producer, known_from) in known_from.iter().enumerate() {
                        let newest = model.log[*known_from..*from].iter().rposition(|logged| {
                            logged.producer() == producer as i64 && matches!(logged, Logged::Data(_))
                        });
                        model.batches_from[producer] = newest.map_or(*from, |at| known_from + at);
                    }
                }
            }
            check(&producers, &model)?;
        }
    }
}
