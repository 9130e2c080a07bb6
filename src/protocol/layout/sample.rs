//! Encodes valid requests from their layout, for tests. `tests/guard_allocations.rs` includes this file too, so it
//! takes the layout types from its parent.

use super::{ApiLayout, Field, FieldType};

/// What kind of request to write.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Elements of the arrays of the body itself.
    pub outer: usize,
    /// Elements of the arrays inside structs.
    pub inner: usize,
    /// Null wherever it is allowed.
    pub nulls: bool,
    /// Strings and bytes are empty: the smallest elements, which expand most when decoded.
    pub empty: bool,
    /// Tagged fields that the layout knows.
    pub known_tags: bool,
    /// One tagged field nobody knows in every tagged section.
    pub unknown_tag: bool,
}

impl Sample {
    /// Every field set, two elements per array, every tagged field and one unknown.
    pub const FULL: Self =
        Self { outer: 2, inner: 2, nulls: false, empty: false, known_tags: true, unknown_tag: true };
    /// Nulls, no elements, no tags.
    pub const BARE: Self =
        Self { outer: 0, inner: 0, nulls: true, empty: true, known_tags: false, unknown_tag: false };
}

/// A tag no schema uses.
const UNKNOWN_TAG: u32 = 9_999;

/// The body of a request. Values differ from field to field and from Kafka's defaults, the same on every call.
pub fn encode(api: &ApiLayout, version: i16, sample: Sample) -> Vec<u8> {
    let mut writer =
        Writer { out: Vec::new(), version, flexible: api.is_flexible(version), sample, next: 1, depth: 0 };
    writer.fields(api.fields);
    writer.out
}

struct Writer {
    out: Vec<u8>,
    version: i16,
    flexible: bool,
    sample: Sample,
    next: u8,
    depth: usize,
}

impl Writer {
    fn fields(&mut self, fields: &[Field]) {
        let version = self.version;
        for field in fields.iter().filter(|field| field.in_place(version)) {
            self.value(&field.ty, field.is_nullable(self.version), field.compact);
        }
        if self.flexible {
            self.tagged(fields);
        }
    }

    fn tagged(&mut self, fields: &[Field]) {
        let mut known: Vec<&Field> = fields.iter().filter(|field| self.writes_tag(field)).collect();
        known.sort_by_key(|field| field.tag);
        self.varint(known.len() as u32 + u32::from(self.sample.unknown_tag));
        for field in known {
            self.varint(field.tag.expect("a tagged field has a tag"));
            let outside = std::mem::take(&mut self.out);
            self.value(&field.ty, field.is_nullable(self.version), true);
            let inside = std::mem::replace(&mut self.out, outside);
            self.varint(inside.len() as u32);
            self.out.extend(inside);
        }
        if self.sample.unknown_tag {
            self.varint(UNKNOWN_TAG);
            self.varint(3);
            self.out.extend([7, 8, 9]);
        }
    }

    /// An encoder leaves out a tagged field that has its default: null or empty.
    fn writes_tag(&self, field: &Field) -> bool {
        let is_default = match field.ty {
            FieldType::Array(_) => {
                self.elements() == 0 || self.sample.nulls && field.is_nullable(self.version)
            }
            FieldType::String | FieldType::Bytes => self.sample.nulls || self.sample.empty,
            _ => false,
        };
        self.sample.known_tags && field.is_tagged(self.version) && !is_default
    }

    fn elements(&self) -> usize {
        if self.depth == 0 { self.sample.outer } else { self.sample.inner }
    }

    fn value(&mut self, ty: &FieldType, nullable: bool, compact: bool) {
        let compact = compact && self.flexible;
        let null = nullable && self.sample.nulls;
        let seed = self.seed();
        match ty {
            FieldType::Bool => self.out.push(1),
            FieldType::Float64 => self.out.extend((f64::from(seed) + 0.5).to_be_bytes()),
            FieldType::String if null => self.null(if compact { 0 } else { 2 }),
            FieldType::Bytes | FieldType::Records | FieldType::Array(_) if null => {
                self.null(if compact { 0 } else { 4 });
            }
            FieldType::String => {
                let text = if self.sample.empty { String::new() } else { format!("é{seed}") };
                self.length(text.len(), if compact { 0 } else { 2 });
                self.out.extend(text.as_bytes());
            }
            FieldType::Bytes | FieldType::Records => {
                let bytes: &[u8] = if self.sample.empty { &[] } else { &[seed, 0xff, 0x80] };
                self.length(bytes.len(), if compact { 0 } else { 4 });
                self.out.extend(bytes);
            }
            FieldType::Array(element) => {
                let count = self.elements();
                self.length(count, if compact { 0 } else { 4 });
                self.depth += 1;
                for _ in 0..count {
                    self.value(element, false, compact);
                }
                self.depth -= 1;
            }
            FieldType::Struct(_) if null => self.out.push(0xff),
            FieldType::Struct(fields) => {
                if nullable {
                    self.out.push(1);
                }
                self.fields(fields);
            }
            fixed => {
                let width = fixed.width().expect("the other types are of fixed width");
                self.out.extend(std::iter::repeat_n(0, width - 1));
                self.out.push(seed);
            }
        }
    }

    fn seed(&mut self) -> u8 {
        self.next = self.next % 100 + 2;
        self.next
    }

    /// A length in `width` bytes, or compact when that is 0.
    fn length(&mut self, length: usize, width: usize) {
        match width {
            0 => self.varint(length as u32 + 1),
            2 => self.out.extend((length as i16).to_be_bytes()),
            _ => self.out.extend((length as i32).to_be_bytes()),
        }
    }

    fn null(&mut self, width: usize) {
        match width {
            0 => self.out.push(0),
            width => self.out.extend(std::iter::repeat_n(0xff, width)),
        }
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
}
