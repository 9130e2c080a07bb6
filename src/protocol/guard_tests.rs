//! The guard against the crate's own encoder and decoder, for every API and version.

use bytes::Bytes;
use proptest::prelude::*;

use super::layout::sample::{self, Sample};
use super::layout::{APIS, ApiLayout, oracle};
use super::*;

/// Every API and version that has a layout.
fn all_versions() -> impl Iterator<Item = (&'static ApiLayout, i16)> {
    APIS.iter().flat_map(|api| (api.valid.0..=api.valid.1).map(move |version| (api, version)))
}

/// Every API and version the crate can decode.
fn crate_versions() -> impl Iterator<Item = (&'static ApiLayout, i16)> {
    all_versions().filter(|(api, version)| {
        oracle::versions(api.key).is_some_and(|range| layout::holds(range, *version))
    })
}

fn samples() -> impl Iterator<Item = Sample> {
    let nulls = Sample { nulls: true, ..Sample::FULL };
    let no_tags = Sample { known_tags: false, unknown_tag: false, ..Sample::FULL };
    let empty = Sample { empty: true, ..Sample::FULL };
    [Sample::FULL, Sample::BARE, nulls, no_tags, empty].into_iter()
}

#[test]
fn defaults_of_the_crate_pass_to_the_last_byte() {
    let mut checked = 0;
    for (api, version) in crate_versions() {
        // A few types have a default that an old version cannot express; those are not encoded at all.
        let Some(Ok(body)) = oracle::encode_default(api.key, version) else {
            continue;
        };
        assert_eq!(check_body(api.key, version, &body), Ok(()), "{} v{version} {body:02x?}", api.name);
        checked += 1;
    }
    assert!(checked >= crate_versions().count() * 9 / 10, "only {checked} defaults could be encoded");
}

#[test]
fn populated_requests_pass_and_mean_the_same_to_the_crate() {
    assert_eq!(crate_versions().map(|(api, _)| api.key).collect::<std::collections::BTreeSet<_>>().len(), 87);
    for (api, version) in crate_versions() {
        for sample in samples() {
            let body = sample::encode(api, version, sample);
            let what = format!("{} v{version} {sample:?} {body:02x?}", api.name);
            assert_eq!(check_body(api.key, version, &body), Ok(()), "{what}");
            let recoded = oracle::recode(api.key, version, Bytes::from(body.clone())).expect(&what);
            let (left, again) = recoded.unwrap_or_else(|error| panic!("{error}: {what}"));
            assert_eq!(left, 0, "{what}");
            assert_eq!(again, body, "{what}");
        }
    }
}

#[test]
fn versions_newer_than_the_crate_pass_too() {
    for (api, version) in all_versions() {
        for sample in samples() {
            let body = sample::encode(api, version, sample);
            assert_eq!(check_body(api.key, version, &body), Ok(()), "{} v{version} {sample:?}", api.name);
        }
    }
}

#[test]
fn every_truncation_is_refused_and_every_excess_told() {
    for (api, version) in all_versions() {
        let mut body = sample::encode(api, version, Sample::FULL);
        for end in 0..body.len() {
            let outcome = check_body(api.key, version, &body[..end]);
            assert!(
                matches!(outcome, Err(GuardError::Truncated { .. })),
                "{} v{version} cut at {end}: {outcome:?}",
                api.name
            );
        }
        body.extend([0, 0, 0]);
        assert_eq!(
            check_body(api.key, version, &body),
            Err(GuardError::TrailingBytes(3)),
            "{} v{version}",
            api.name
        );
    }
}

#[test]
fn four_hostile_bytes_harm_no_api() {
    for (api, version) in crate_versions() {
        for body in
            [&[0x7f, 0xff, 0xff, 0xff][..], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0x80, 0, 0, 0], &[0xff; 64]]
        {
            // The allocator would abort the test if a count of billions were let through.
            if matches!(check_body(api.key, version, body), Ok(()) | Err(GuardError::TrailingBytes(_))) {
                oracle::decode(api.key, version, Bytes::from_static(body)).unwrap().unwrap();
            }
        }
    }
    let metadata = check_body(3, 1, &[0x7f, 0xff, 0xff, 0xff]);
    assert!(matches!(metadata, Err(GuardError::Truncated { field: "Topics", .. })), "{metadata:?}");
}

#[test]
fn each_rule_refuses_with_its_own_error() {
    use GuardError::*;
    let cases: &[(i16, i16, &[u8], GuardError)] = &[
        (-3, 0, &[], UnknownApi(-3)),
        (0, 99, &[], UnsupportedVersion { key: 0, version: 99, correlation_id: None }),
        (17, 0, &[0xff, 0xff], UnexpectedNull("Mechanism")),
        (17, 0, &[0xff, 0xfe], NegativeLength { field: "Mechanism", length: -2 }),
        (17, 0, &[0, 2, 0xc3, 0x28], InvalidUtf8("Mechanism")),
        (3, 1, &[0xff, 0xff, 0xff, 0xfd], NegativeLength { field: "Topics", length: -3 }),
        (3, 9, &[0xff, 0xff, 0xff, 0xff, 0x1f], OversizedVarint("Topics")),
        (3, 9, &[0x80, 0x80, 0x80, 0x80, 0x80, 0], OversizedVarint("Topics")),
        // Topics, ResponsePartitionLimit, then the presence of Cursor.
        (75, 0, &[1, 0, 0, 0, 9, 2], InvalidPresence { field: "Cursor", byte: 2 }),
        // BrokerHeartbeat: two longs, two bools, then OfflineLogDirs (tag 0) declared one byte too long.
        (
            63,
            1,
            &[&[0; 22][..], &[1, 0, 2, 1, 0]].concat(),
            TaggedSizeMismatch { field: "OfflineLogDirs", unread: 1 },
        ),
    ];
    for (key, version, body, error) in cases {
        assert_eq!(check_body(*key, *version, body).as_ref(), Err(error), "key {key} v{version} {body:02x?}");
    }
    let long = [&[0x81, 0x80, 0x02][..], &[b'a'; 32_768], &[0]].concat();
    let find_coordinator = check_body(10, 3, &long);
    assert_eq!(find_coordinator, Err(StringTooLong { field: "Key", length: 32_768 }));
}

/// Bytes written by hand: samples take what may be null from the table under test.
#[test]
fn null_is_accepted_in_the_versions_that_allow_it() {
    let null_records =
        [&[0xff, 0xff, 0, 1, 0, 0, 0, 9][..], &[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0], &[0xff; 4]]
            .concat();
    assert_eq!(check_body(0, 3, &null_records), Ok(()));
    let compact = [0, 0, 1, 0, 0, 0, 9, 2, 2, b't', 2, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(check_body(0, 9, &compact), Ok(()));

    // Null topics ask for all of them since Metadata v1; before, an empty array did.
    assert_eq!(check_body(3, 0, &[0xff; 4]), Err(GuardError::UnexpectedNull("Topics")));
    assert_eq!(check_body(3, 1, &[0xff; 4]), Ok(()));
    // DescribeTopicPartitions: no topics, a limit, no cursor, no tags.
    assert_eq!(check_body(75, 0, &[1, 0, 0, 0, 9, 0xff, 0]), Ok(()));
}

#[test]
fn elements_and_unknown_tags_are_capped() {
    let topics = |count: usize| [&(count as i32).to_be_bytes()[..], &vec![0; count * 2]].concat();
    assert_eq!(check_body(3, 1, &topics(MAX_ELEMENTS_PER_FRAME)), Ok(()));
    let over = check_body(3, 1, &topics(MAX_ELEMENTS_PER_FRAME + 1));
    assert_eq!(over, Err(GuardError::TooManyElements("Topics")));

    // ApiVersions v3 with empty names, then a tagged section of fields without content: tag 5, size 0.
    let tags = |count: usize| {
        let count_bytes = [count as u8 | 0x80, (count >> 7) as u8 | 0x80, (count >> 14) as u8];
        [&[1, 1][..], &count_bytes, &[5, 0].repeat(count)].concat()
    };
    assert_eq!(check_body(18, 3, &tags(MAX_UNKNOWN_TAGS_PER_FRAME)), Ok(()));
    assert_eq!(check_body(18, 3, &tags(MAX_UNKNOWN_TAGS_PER_FRAME + 1)), Err(GuardError::TooManyUnknownTags));
}

fn frame(key: i16, version: i16, after: &[u8]) -> Vec<u8> {
    [&key.to_be_bytes()[..], &version.to_be_bytes(), &77_i32.to_be_bytes(), after].concat()
}

#[test]
fn headers_of_both_versions_are_read() {
    let old = frame(0, 8, &[0, 2, b'm', b'e', 1, 2, 3]);
    let header =
        FrameHeader { key: 0, version: 8, correlation_id: 77, client_id: Some("me"), body_start: 12 };
    assert_eq!(check_header(&old), Ok(header));
    let flexible = frame(0, 9, &[0xff, 0xff, 1, 4, 1, 0xaa, 1, 2, 3]);
    let header = FrameHeader { key: 0, version: 9, correlation_id: 77, client_id: None, body_start: 14 };
    assert_eq!(check_header(&flexible), Ok(header));
}

#[test]
fn malformed_headers_are_refused() {
    assert_eq!(check_header(&[0; 7]), Err(GuardError::TooShort));
    assert_eq!(check_header(&frame(5, 0, &[0, 0])), Err(GuardError::UnknownApi(5)));
    let unsupported = GuardError::UnsupportedVersion { key: 0, version: 2, correlation_id: Some(77) };
    assert_eq!(check_header(&frame(0, 2, &[])), Err(unsupported));
    assert!(matches!(check_header(&frame(0, 8, &[])), Err(GuardError::Truncated { field: "ClientId", .. })));
    assert!(matches!(check_header(&frame(0, 8, &[0x7f, 0xff, 1])), Err(GuardError::Truncated { .. })));
    assert_eq!(check_header(&frame(0, 8, &[0, 1, 0xff])), Err(GuardError::InvalidUtf8("ClientId")));
    let negative = GuardError::NegativeLength { field: "ClientId", length: -2 };
    assert_eq!(check_header(&frame(0, 8, &[0xff, 0xfe])), Err(negative));
    assert!(
        matches!(check_header(&frame(0, 9, &[0xff, 0xff])), Err(GuardError::Truncated { .. })),
        "no tags"
    );
}

#[test]
fn an_api_versions_request_from_the_future_can_be_answered() {
    let future = frame(18, 99, &[0, 1, b'c', 0, 0xff]);
    let header =
        FrameHeader { key: 18, version: 99, correlation_id: 77, client_id: Some("c"), body_start: 12 };
    assert_eq!(check_header(&future), Ok(header));
    let unsupported = GuardError::UnsupportedVersion { key: 18, version: 99, correlation_id: None };
    assert_eq!(check_body(18, 99, &future[12..]), Err(unsupported));
    assert!(matches!(check_header(&frame(18, 99, &[0, 9, b'c'])), Err(GuardError::Truncated { .. })));
}

/// A valid body with a few bytes overwritten: gets deeper than random bytes do.
fn damaged() -> impl Strategy<Value = (i16, i16, Vec<u8>)> {
    let versions: Vec<_> = crate_versions().map(|(api, version)| (api.key, version)).collect();
    let hits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
    (prop::sample::select(versions), hits).prop_map(|((key, version), hits)| {
        let mut body = sample::encode(layout::api(key).unwrap(), version, Sample::FULL);
        for (index, byte) in hits.iter().filter(|_| !body.is_empty()).collect::<Vec<_>>() {
            let at = index.index(body.len());
            body[at] = *byte;
        }
        (key, version, body)
    })
}

fn accepted_means_decodable(key: i16, version: i16, body: Vec<u8>) -> Result<(), TestCaseError> {
    let left = match check_body(key, version, &body) {
        Ok(()) => 0,
        Err(GuardError::TrailingBytes(left)) => left,
        Err(_) => return Ok(()),
    };
    if let Some(decoded) = oracle::decode(key, version, Bytes::from(body)) {
        match decoded {
            Ok(unread) => prop_assert_eq!(unread, left),
            // The crate alone refuses a tag its own schema has in another version only.
            Err(error) => prop_assert!(error.to_string().contains("is not valid for version"), "{}", error),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn what_passes_is_decoded_by_the_crate_to_the_same_byte(
        key in 0_i16..93, version in 0_i16..19, body in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        if oracle::versions(key).is_some_and(|range| layout::holds(range, version)) {
            accepted_means_decodable(key, version, body)?;
        }
    }

    #[test]
    fn damaged_requests_that_pass_are_decoded_to_the_same_byte((key, version, body) in damaged()) {
        accepted_means_decodable(key, version, body)?;
    }

    #[test]
    fn random_frames_never_panic(frame in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(header) = check_header(&frame) {
            prop_assert!(header.body_start <= frame.len());
        }
    }
}
