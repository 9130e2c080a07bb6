//! The shape of every Kafka request on the wire, by version: what the frame guard walks.
//!
//! `table.rs` is generated from Kafka's own schemas by `scripts/derive-layouts.py`; this file holds the words it
//! is written in and the few questions asked of it. Protocol source: the message schemas of Apache Kafka
//! (`common/message/*Request.json`), KIP-482 for flexible versions and tagged fields.

#[cfg(test)]
pub(crate) mod oracle;
#[cfg(test)]
pub(crate) mod sample;
#[rustfmt::skip]
mod table;

pub use table::{APIS, REQUEST_HEADER};

/// An inclusive range of versions. The upper end is `i16::MAX` where the schema leaves it open.
pub type Versions = (i16, i16);

/// The range that holds no version.
pub const NEVER: Versions = (1, 0);

/// One request API: its body in every version Kafka accepts.
#[derive(Debug)]
pub struct ApiLayout {
    /// The API key.
    pub key: i16,
    /// The name in Kafka's schemas without `Request`, e.g. `Produce`.
    pub name: &'static str,
    /// The versions that have a layout. What Tidelog advertises may be narrower.
    pub valid: Versions,
    /// The first flexible version (KIP-482): compact lengths, tagged sections, header v2.
    pub flexible_from: i16,
    /// The fields of the body, in wire order; tagged ones come in the tagged section.
    pub fields: &'static [Field],
}

/// The request header, whose versions are apart from the API's.
#[derive(Debug)]
pub struct HeaderLayout {
    /// The header versions in use.
    pub valid: Versions,
    /// The header version that carries a tagged section.
    pub flexible_from: i16,
    /// The fields, in wire order.
    pub fields: &'static [Field],
}

/// One field of a request or of a struct inside it.
#[derive(Debug)]
pub struct Field {
    /// The name in Kafka's schema.
    pub name: &'static str,
    /// What is encoded.
    pub ty: FieldType,
    /// The API versions that have the field.
    pub versions: Versions,
    /// The API versions in which null is allowed.
    pub nullable: Versions,
    /// The tag, where the field travels in the tagged section.
    pub tag: Option<u32>,
    /// The API versions in which it is tagged.
    pub tagged_versions: Versions,
    /// False for the header's client id, which keeps its two-byte length in flexible versions so that an old broker
    /// can read the header of a newer ApiVersions request (KIP-511).
    pub compact: bool,
}

/// The types of Kafka's schema language that requests use.
#[derive(Debug, Clone, Copy)]
pub enum FieldType {
    /// One byte.
    Bool,
    /// One byte.
    Int8,
    /// Two bytes.
    Int16,
    /// Two bytes.
    Uint16,
    /// Four bytes.
    Int32,
    /// Four bytes.
    Uint32,
    /// Eight bytes.
    Int64,
    /// Eight bytes.
    Float64,
    /// Sixteen bytes.
    Uuid,
    /// UTF-8, length in two bytes or a compact length.
    String,
    /// Length in four bytes or a compact length.
    Bytes,
    /// Record batches; encoded like `Bytes`.
    Records,
    /// A count in four bytes or a compact count, then the elements.
    Array(&'static FieldType),
    /// Fields in order, then in flexible versions a tagged section. A nullable one is preceded by a presence byte.
    Struct(&'static [Field]),
}

/// Whether `version` lies in `range`.
pub const fn holds(range: Versions, version: i16) -> bool {
    range.0 <= version && version <= range.1
}

/// The layout of an API key, or `None` for a key Kafka does not know or has removed.
pub fn api(key: i16) -> Option<&'static ApiLayout> {
    APIS.binary_search_by_key(&key, |api| api.key).ok().map(|index| &APIS[index])
}

impl ApiLayout {
    /// Whether `version` has a layout.
    pub const fn supports(&self, version: i16) -> bool {
        holds(self.valid, version)
    }

    /// Whether `version` is flexible (KIP-482).
    pub const fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }

    /// The version of the header that goes with a version of this API (`ApiKeys.requestHeaderVersion`). It is also
    /// defined for versions newer than the layout: they are flexible.
    pub fn header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) { REQUEST_HEADER.flexible_from } else { REQUEST_HEADER.valid.0 }
    }
}

impl Field {
    /// Whether the field is encoded in its place, not in the tagged section, in `version`.
    pub const fn in_place(&self, version: i16) -> bool {
        holds(self.versions, version) && !self.is_tagged(version)
    }

    /// Whether the field travels in the tagged section in `version`.
    pub const fn is_tagged(&self, version: i16) -> bool {
        self.tag.is_some() && holds(self.versions, version) && holds(self.tagged_versions, version)
    }

    /// Whether null is allowed in `version`.
    pub const fn is_nullable(&self, version: i16) -> bool {
        holds(self.nullable, version)
    }

    /// The fewest bytes the field takes in its place in `version`; lengths are compact when `flexible`.
    pub fn smallest(&self, version: i16, flexible: bool) -> usize {
        match self.ty {
            FieldType::Struct(_) if self.is_nullable(version) => 1,
            ty => ty.smallest(version, flexible && self.compact),
        }
    }

    const fn null(self, from: i16, to: i16) -> Self {
        Self { nullable: (from, to), ..self }
    }

    const fn tag(self, tag: u32, from: i16, to: i16) -> Self {
        Self { tag: Some(tag), tagged_versions: (from, to), ..self }
    }

    const fn never_compact(self) -> Self {
        Self { compact: false, ..self }
    }
}

impl FieldType {
    /// The number of bytes of a type of fixed width; `None` for the others.
    pub const fn width(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Int8 => Some(1),
            Self::Int16 | Self::Uint16 => Some(2),
            Self::Int32 | Self::Uint32 => Some(4),
            Self::Int64 | Self::Float64 => Some(8),
            Self::Uuid => Some(16),
            Self::String | Self::Bytes | Self::Records | Self::Array(_) | Self::Struct(_) => None,
        }
    }

    /// The fewest bytes one value takes in `version`.
    pub fn smallest(self, version: i16, flexible: bool) -> usize {
        match self {
            Self::String => {
                if flexible {
                    1
                } else {
                    2
                }
            }
            Self::Bytes | Self::Records | Self::Array(_) => {
                if flexible {
                    1
                } else {
                    4
                }
            }
            Self::Struct(fields) => {
                let in_place = fields.iter().filter(|field| field.in_place(version));
                in_place.map(|field| field.smallest(version, flexible)).sum::<usize>() + usize::from(flexible)
            }
            _ => self.width().unwrap_or(0),
        }
    }
}

/// A field that is neither nullable nor tagged; the table adds what differs.
const fn field(name: &'static str, ty: FieldType, versions: Versions) -> Field {
    Field { name, ty, versions, nullable: NEVER, tag: None, tagged_versions: NEVER, compact: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_ascend_so_that_a_key_can_be_searched() {
        assert!(APIS.windows(2).all(|pair| pair[0].key < pair[1].key));
        assert_eq!(api(0).map(|api| api.name), Some("Produce"));
        assert_eq!(api(92).map(|api| api.name), Some("DeleteShareGroupOffsets"));
        assert!(api(7).is_none(), "ControlledShutdown was removed in Kafka 4.0");
        assert!(api(-1).is_none());
        assert!(api(i16::MAX).is_none());
    }

    #[test]
    fn a_header_is_flexible_when_the_api_version_is() {
        let produce = api(0).unwrap();
        assert_eq!((produce.header_version(8), produce.header_version(9)), (1, 2));
        let handshake = api(17).unwrap();
        assert_eq!(handshake.header_version(1), 1, "SaslHandshake never became flexible");
        assert_eq!(api(18).unwrap().header_version(99), 2);
    }

    #[test]
    fn the_smallest_encodings_are_those_of_the_schemas() {
        let metadata_topics = &api(3).unwrap().fields[0];
        let FieldType::Array(topic) = metadata_topics.ty else { panic!("topics are an array") };
        assert_eq!(topic.smallest(1, false), 2, "a name");
        assert_eq!(topic.smallest(9, true), 2, "a name and no tags");
        assert_eq!(topic.smallest(12, true), 18, "an id, a name and no tags");
    }

    #[test]
    fn header_rules_agree_with_the_crate() {
        for layout in APIS {
            let Ok(key) = kafka_protocol::messages::ApiKey::try_from(layout.key) else {
                continue;
            };
            let (low, high) = oracle::versions(layout.key).unwrap();
            for version in low..=high {
                assert_eq!(
                    layout.header_version(version),
                    key.request_header_version(version),
                    "{}",
                    layout.name
                );
                assert!(layout.supports(version), "{} v{version} has no layout", layout.name);
            }
        }
    }
}
