//! What Apache Kafka's metadata log says, record by record (KRaft; `MetadataRecordSerde`).
//!
//! ```text
//!   record value   frame version, unsigned varint = 1 | api key, unsigned varint | version, unsigned varint | message
//! ```
//!
//! Only the kinds of records that matter to an import are read; each record says its own length, so that all others are
//! passed over.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::wire::{BadMessage, Fields};

const FRAME_VERSION: u32 = 1;
/// `ConfigResource.Type`.
pub const BROKER_CONFIG: i8 = 4;
/// `ConfigResource.Type`.
pub const TOPIC_CONFIG: i8 = 2;
/// `ConfigResource.Type`.
pub const GROUP_CONFIG: i8 = 32;

/// A partition as the metadata has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionMeta {
    /// Nodes that are to have a copy.
    pub replicas: Vec<i32>,
    /// Nodes whose copy was complete and that took part.
    pub isr: Vec<i32>,
    /// Nodes whose copy is complete although they do not take part: those that stopped in order (KIP-966).
    pub eligible: Vec<i32>,
}

/// A topic as the metadata has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicMeta {
    pub name: String,
    pub partitions: BTreeMap<i32, PartitionMeta>,
}

/// The state of things.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    topics: BTreeMap<Uuid, TopicMeta>,
    configs: BTreeMap<(i8, String), BTreeMap<String, String>>,
    next_producer_id: i64,
    not_taken: BTreeSet<&'static str>,
}

/// The metadata after all records so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KafkaImage {
    state: State,
    /// What was so before the metadata transaction that is under way (KIP-868).
    before: Option<Box<State>>,
}

impl KafkaImage {
    /// The topics, by id.
    pub fn topics(&self) -> impl Iterator<Item = (Uuid, &TopicMeta)> {
        self.settled().topics.iter().map(|(id, topic)| (*id, topic))
    }

    /// Resources of a type with their settings.
    pub fn configs(&self, of: i8) -> impl Iterator<Item = (&str, &BTreeMap<String, String>)> {
        let configs = self.settled().configs.iter().filter(move |((kind, _), _)| *kind == of);
        configs.map(|((_, name), values)| (name.as_str(), values))
    }

    /// The first producer id that no broker was given.
    pub fn next_producer_id(&self) -> i64 {
        self.settled().next_producer_id
    }

    /// Kinds of things that are there and that no import carries over.
    pub fn not_taken(&self) -> impl Iterator<Item = &'static str> {
        self.settled().not_taken.iter().copied()
    }

    /// A metadata transaction that is not ended counts as not begun.
    fn settled(&self) -> &State {
        self.before.as_deref().unwrap_or(&self.state)
    }

    /// Takes in the value of the next record.
    ///
    /// # Errors
    /// [`BadMessage`] for a value that is not what Kafka 3.7 to 4.3 writes.
    pub fn apply(&mut self, value: &[u8]) -> Result<(), BadMessage> {
        let mut fields = Fields::new(value);
        if fields.unsigned()? != FRAME_VERSION {
            return Err(BadMessage("its frame version is unknown"));
        }
        let (api_key, version) = (fields.unsigned()?, fields.unsigned()?);
        let known = |highest: u32| {
            if version <= highest { Ok(()) } else { Err(BadMessage("its version is newer than Kafka 4.3's")) }
        };
        match api_key {
            2 => known(0).and_then(|()| self.topic(fields)),
            3 => known(2).and_then(|()| self.partition(fields, version)),
            4 => known(0).and_then(|()| self.config(fields)),
            5 => known(2).and_then(|()| self.partition_change(fields)),
            9 => {
                known(0)?;
                self.state.topics.remove(&fields.uuid()?).map_or(Ok(()), |topic| {
                    self.state.configs.remove(&(TOPIC_CONFIG, topic.name));
                    Ok(())
                })
            }
            15 => {
                known(0)?;
                let (_broker, _epoch) = (fields.i32()?, fields.i64()?);
                self.state.next_producer_id = fields.i64()?.max(self.state.next_producer_id);
                Ok(())
            }
            10 => self.note("delegation tokens"),
            11 => self.note("SCRAM credentials"),
            14 => self.note("client quotas"),
            18 => self.note("access control lists"),
            23 => {
                self.before = Some(Box::new(self.state.clone()));
                Ok(())
            }
            24 => {
                self.before = None;
                Ok(())
            }
            25 => {
                if let Some(before) = self.before.take() {
                    self.state = *before;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn note(&mut self, kind: &'static str) -> Result<(), BadMessage> {
        self.state.not_taken.insert(kind);
        Ok(())
    }

    fn topic(&mut self, mut fields: Fields<'_>) -> Result<(), BadMessage> {
        let name = fields.string(true)?.to_owned();
        self.state.topics.insert(fields.uuid()?, TopicMeta { name, partitions: BTreeMap::new() });
        Ok(())
    }

    fn partition(&mut self, mut fields: Fields<'_>, version: u32) -> Result<(), BadMessage> {
        let (index, topic) = (fields.i32()?, fields.uuid()?);
        let mut meta =
            PartitionMeta { replicas: fields.nodes()?, isr: fields.nodes()?, eligible: Vec::new() };
        let (_removing, _adding) = (fields.nodes()?, fields.nodes()?);
        let (_leader, _leader_epoch, _partition_epoch) = (fields.i32()?, fields.i32()?, fields.i32()?);
        if version >= 1 {
            for _ in 0..fields.count(true, 16)? {
                fields.uuid()?;
            }
        }
        fields.tagged(|tag, mut field| {
            if tag == 1 {
                meta.eligible = field.nodes()?;
            }
            Ok(())
        })?;
        let topic = self.state.topics.get_mut(&topic).ok_or(BadMessage("a partition of no topic"))?;
        topic.partitions.insert(index, meta);
        Ok(())
    }

    fn partition_change(&mut self, mut fields: Fields<'_>) -> Result<(), BadMessage> {
        let (index, topic) = (fields.i32()?, fields.uuid()?);
        let topic = self.state.topics.get_mut(&topic).ok_or(BadMessage("a partition of no topic"))?;
        let partition = topic.partitions.get_mut(&index).ok_or(BadMessage("a change of no partition"))?;
        fields.tagged(|tag, mut field| {
            match tag {
                0 => partition.isr = field.nodes()?,
                2 => partition.replicas = field.nodes()?,
                6 => partition.eligible = field.nodes()?,
                _ => {}
            }
            Ok(())
        })
    }

    fn config(&mut self, mut fields: Fields<'_>) -> Result<(), BadMessage> {
        let resource = (fields.i8()?, fields.string(true)?.to_owned());
        let key = fields.string(true)?.to_owned();
        let values = self.state.configs.entry(resource).or_default();
        match fields.nullable_string(true)? {
            Some(value) => values.insert(key, value.to_owned()),
            None => values.remove(&key),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(out: &mut Vec<u8>, text: &str) {
        out.push(text.len() as u8 + 1);
        out.extend_from_slice(text.as_bytes());
    }

    fn topic(name: &str, id: u8) -> Vec<u8> {
        let mut out = vec![1, 2, 0];
        text(&mut out, name);
        out.extend([[0; 15].as_slice(), &[id, 0]].concat());
        out
    }

    fn partition(index: u8, id: u8, replicas: &[u8]) -> Vec<u8> {
        let mut out = vec![1, 3, 1, 0, 0, 0, index];
        out.extend([[0; 15].as_slice(), &[id]].concat());
        for _ in 0..2 {
            out.push(replicas.len() as u8 + 1);
            replicas.iter().for_each(|node| out.extend([0, 0, 0, *node]));
        }
        // Removing, adding, leader, leader epoch, partition epoch, directories, no tagged fields.
        out.extend([1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        out
    }

    fn config(kind: u8, resource: &str, key: &str, value: Option<&str>) -> Vec<u8> {
        let mut out = vec![1, 4, 0, kind];
        text(&mut out, resource);
        text(&mut out, key);
        match value {
            Some(value) => text(&mut out, value),
            None => out.push(0),
        }
        out.push(0);
        out
    }

    fn image(records: &[Vec<u8>]) -> KafkaImage {
        let mut image = KafkaImage::default();
        records.iter().for_each(|record| image.apply(record).expect("readable"));
        image
    }

    #[test]
    fn topics_come_change_and_go() {
        let mut change = vec![1, 5, 0, 0, 0, 0, 1];
        change.extend([[0; 15].as_slice(), &[7]].concat());
        // One tagged field: the replicas.
        change.extend([2, 2, 5, 2, 0, 0, 0, 9, 0, 1, 1]);
        let mut records = vec![topic("t", 7), partition(0, 7, &[1]), partition(1, 7, &[1, 2]), change];
        records.push(config(2, "t", "retention.ms", Some("5")));
        records.push(config(2, "t", "segment.ms", Some("6")));
        records.push(config(2, "t", "segment.ms", None));
        let found = image(&records);
        let (id, of) = found.topics().next().expect("a topic");
        assert_eq!((id, of.name.as_str(), of.partitions.len()), (Uuid::from_u128(7), "t", 2));
        assert_eq!((of.partitions[&1].replicas.as_slice(), of.partitions[&1].isr.len()), (&[9][..], 0));
        let (name, values) = found.configs(TOPIC_CONFIG).next().expect("settings");
        assert_eq!((name, values.len(), values["retention.ms"].as_str()), ("t", 1, "5"));
        records.push([[1, 9, 0].as_slice(), &[0; 15], &[7, 0]].concat());
        let found = image(&records);
        assert_eq!((found.topics().count(), found.configs(TOPIC_CONFIG).count()), (0, 0));
    }

    #[test]
    fn a_transaction_counts_only_when_it_is_ended() {
        let begun = [topic("a", 1), vec![1, 23, 0, 0], topic("b", 2)];
        assert_eq!(image(&begun).topics().count(), 1);
        assert_eq!(image(&[begun.as_slice(), &[vec![1, 24, 0, 0]]].concat()).topics().count(), 2);
        assert_eq!(
            image(&[begun.as_slice(), &[vec![1, 25, 0, 0], topic("c", 3)]].concat()).topics().count(),
            2
        );
    }

    #[test]
    fn what_is_not_known_is_passed_over_or_refused() {
        let mut found = image(&[vec![1, 99, 5, 1, 2, 3], vec![1, 18, 0]]);
        assert_eq!(found.not_taken().collect::<Vec<_>>(), ["access control lists"]);
        for bad in [vec![2, 2, 0], vec![1, 2, 1], vec![1, 2], vec![], partition(0, 9, &[1])] {
            assert!(found.apply(&bad).is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(kind in 0u8..30, rest: Vec<u8>) {
            let mut bytes = vec![1, kind, 0];
            bytes.extend(rest);
            let _ = KafkaImage::default().apply(&bytes);
        }
    }
}
