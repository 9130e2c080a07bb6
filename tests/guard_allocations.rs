//! What the frame guard passes, the decoder can hold: memory is counted with an allocator of this test's own.

use bytes::Bytes;
use proptest::prelude::*;
use tidelog::protocol::guard::{GuardError, MAX_ELEMENTS_PER_FRAME, MAX_UNKNOWN_TAGS_PER_FRAME, check_body};
use tidelog::protocol::layout::{APIS, ApiLayout, Field, FieldType};

mod counting;
#[allow(dead_code, reason = "shared with the unit tests of the guard, which use all of it")]
#[path = "../src/protocol/layout/oracle.rs"]
mod oracle;
#[allow(dead_code, reason = "shared with the unit tests of the guard, which use all of it")]
#[path = "../src/protocol/layout/sample.rs"]
mod sample;

use counting::{Counting, Counts, measured};
use sample::Sample;

/// The largest single allocation a decoded frame may cause, as a multiple of the frame: 40 was measured, for topics of
/// OffsetFetch with an empty name (three bytes).
const LARGEST_PER_FRAME_BYTE: usize = 64;
/// Allowance for allocations that do not grow with the frame.
const LARGEST_BASE: usize = 4096;
/// What a frame at a cap may take in all once decoded: 25 MB was measured; the rest is room for wider structs in a newer crate.
const MOST_LIVE_BYTES: usize = 64 << 20;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Elements that take the fewest bytes on the wire. Nothing is null: a null array holds no elements.
fn smallest() -> Sample {
    Sample { nulls: false, ..Sample::BARE }
}

fn crate_versions() -> impl Iterator<Item = (&'static ApiLayout, i16)> {
    APIS.iter()
        .filter_map(|api| oracle::versions(api.key).map(|(low, high)| (api, low, high)))
        .flat_map(|(api, low, high)| (low..=high).map(move |version| (api, version)))
}

/// Decodes what the guard passes and holds the bound against it; `None` when it was refused.
fn bounded(key: i16, version: i16, body: Vec<u8>) -> Option<Counts> {
    let (outcome, guard) = measured(|| check_body(key, version, &body));
    assert_eq!(guard.calls, 0, "the guard allocated on key {key} v{version}");
    if !matches!(outcome, Ok(()) | Err(GuardError::TrailingBytes(_))) {
        return None;
    }
    let (length, body) = (body.len(), Bytes::from(body));
    let (_, decoder) = measured(|| oracle::decode(key, version, body));
    let bound = length * LARGEST_PER_FRAME_BYTE + LARGEST_BASE;
    assert!(
        decoder.largest <= bound,
        "key {key} v{version}: one allocation of {} bytes for a body of {length}",
        decoder.largest
    );
    Some(decoder)
}

#[test]
fn the_smallest_elements_expand_within_the_bound() {
    for (api, version) in crate_versions() {
        let flat = Sample { outer: 300, ..smallest() };
        let nested = Sample { outer: 10, inner: 10, ..smallest() };
        let tagged = Sample { outer: 100, unknown_tag: true, known_tags: true, ..smallest() };
        for sample in [flat, nested, tagged] {
            let body = sample::encode(api, version, sample);
            assert!(bounded(api.key, version, body).is_some(), "{} v{version} {sample:?}", api.name);
        }
    }
}

#[test]
fn no_frame_within_the_caps_exceeds_tens_of_megabytes() {
    const ELEMENTS: usize = 300;
    let per_element = MOST_LIVE_BYTES / MAX_ELEMENTS_PER_FRAME;
    let per_tag = MOST_LIVE_BYTES / MAX_UNKNOWN_TAGS_PER_FRAME;
    for (api, version) in crate_versions() {
        let is_array = |field: &&Field| field.in_place(version) && matches!(field.ty, FieldType::Array(_));
        let elements = api.fields.iter().filter(is_array).count() * ELEMENTS;
        // Memory grows in step with the elements, so a small request tells what one at the cap would take.
        for (unknown_tag, per_element) in [(false, per_element), (true, per_tag)] {
            let body = sample::encode(api, version, Sample { outer: ELEMENTS, unknown_tag, ..smallest() });
            let live = bounded(api.key, version, body).expect("a valid request passes").most_live as usize;
            assert!(live <= elements * per_element + LARGEST_BASE, "{} v{version}: {live} bytes", api.name);
        }
    }
}

#[test]
fn a_frame_at_the_cap_is_decoded_and_one_above_is_not() {
    // CreateAcls has the elements that grow most.
    let (api, version) =
        crate_versions().filter(|(api, _)| api.key == 30).last().expect("the crate has CreateAcls");
    let body = |outer| sample::encode(api, version, Sample { outer, ..smallest() });
    let counts = bounded(api.key, version, body(MAX_ELEMENTS_PER_FRAME)).expect("a frame at the cap passes");
    assert!(counts.most_live <= MOST_LIVE_BYTES as isize, "{} bytes", counts.most_live);
    assert!(bounded(api.key, version, body(MAX_ELEMENTS_PER_FRAME + 1)).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bodies_stay_within_the_bound(
        index in any::<prop::sample::Index>(),
        head in prop::collection::vec(any::<u8>(), 0..24),
        fill in prop::sample::select(vec![0_u8, 1, 0x7f, 0x80, 0xff]),
        length in 0_usize..2048,
    ) {
        let versions: Vec<_> = crate_versions().collect();
        let (api, version) = *index.get(&versions);
        let body = [head, vec![fill; length]].concat();
        bounded(api.key, version, body);
    }
}
