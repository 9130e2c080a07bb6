//! Record batches of requests and answers, as text.

use std::fmt::Write;

use tidelog::record::{BatchHeader, Batches, Compression, EndMarker, HEADER_LEN, Records};

/// Each batch on its own: where it is, who wrote it, and what is in it.
pub fn shown(bytes: &[u8], producer: impl Fn(i64) -> String) -> String {
    let mut out = String::from("<");
    for (at, batch) in Batches::new(bytes).enumerate() {
        if at > 0 {
            out.push_str("; ");
        }
        match batch {
            Ok((header, batch)) => out.push_str(&one(&header, batch, &producer)),
            Err(error) => {
                // Writing to a String cannot fail.
                let _ = write!(out, "{error}");
                break;
            }
        }
    }
    out.push('>');
    out
}

fn one(header: &BatchHeader, batch: &[u8], producer: impl Fn(i64) -> String) -> String {
    let mut out = format!("{}..{}", header.base_offset, header.last_offset());
    if header.has_producer() {
        let _ = write!(
            out,
            " of {} epoch {} sequence {}",
            producer(header.producer_id),
            header.producer_epoch,
            header.base_sequence
        );
    }
    if header.is_transactional() {
        out.push_str(" transactional");
    }
    if let Some(marker) = EndMarker::parse(header, batch) {
        let _ = write!(out, " {:?} by coordinator {}", marker.outcome, marker.coordinator_epoch);
    } else if header.is_control() {
        out.push_str(" control");
    } else if header.compression() == Ok(Compression::None) {
        let values = Records::new(&batch[HEADER_LEN..], header.record_count).map(|record| match record {
            Ok(record) => String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned(),
            Err(error) => error.to_string(),
        });
        let _ = write!(out, " {:?}", values.collect::<Vec<_>>());
    }
    out
}
