//! The consumers' encoding, as other clients write it.

use proptest::prelude::*;

use super::*;

/// What kafka-clients writes for topics `a` and `b`, user data of one byte, partition 1 of `a` owned, generation 7, rack `r`.
const SUBSCRIPTION_3: &[u8] = &[
    0, 3, 0, 0, 0, 2, 0, 1, b'a', 0, 1, b'b', 0, 0, 0, 1, 9, 0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 1, 0, 0, 0, 1,
    0, 0, 0, 7, 0, 1, b'r',
];

#[test]
fn every_version_is_read() {
    let read = read_subscription(SUBSCRIPTION_3).expect("it is good");
    assert_eq!(read.topics, ["a", "b"]);
    assert_eq!(read.owned, [("a", vec![1])]);
    assert_eq!(read.rack_id, Some("r"));
    let of_version = |version: u8| [&[0, version], &SUBSCRIPTION_3[2..]].concat();
    let expected = [(0, 0, None), (1, 1, None), (2, 1, None), (3, 1, Some("r")), (9, 1, Some("r"))];
    for (version, owned, rack_id) in expected {
        let bytes = of_version(version);
        let read = read_subscription(&bytes).expect("it is good");
        assert_eq!((read.owned.len(), read.rack_id), (owned, rack_id), "version {version}");
    }
}

#[test]
fn user_data_may_be_none() {
    let bytes = [0, 0, 0, 0, 0, 0, 255, 255, 255, 255];
    assert_eq!(read_subscription(&bytes).map(|read| read.topics.len()), Ok(0));
    assert_eq!(read_assignment(&bytes).map(|read| read.has_user_data), Ok(false));
    let empty = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(read_assignment(&empty).map(|read| read.has_user_data), Ok(false));
    let some = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 5];
    assert_eq!(read_assignment(&some).map(|read| read.has_user_data), Ok(true));
}

#[test]
fn damage_is_noticed() {
    for length in 0..SUBSCRIPTION_3.len() {
        assert_eq!(read_subscription(&SUBSCRIPTION_3[..length]), Err(Malformed), "{length}");
    }
    assert_eq!(version(&[255, 255]), Err(Malformed));
    // A number of topics, and of partitions, that there is no room for.
    assert_eq!(read_subscription(&[0, 0, 127, 255, 255, 255]), Err(Malformed));
    assert_eq!(read_assignment(&[0, 0, 0, 0, 0, 1, 0, 1, b'a', 127, 255, 255, 255]), Err(Malformed));
}

#[test]
fn assignment_bytes() {
    let written = write_assignment(1, [("a", &[1, 2][..])].into_iter());
    let expected = [0, 1, 0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 255, 255, 255, 255];
    assert_eq!(written[..], expected);
    // No later version than there is.
    assert_eq!(write_assignment(7, std::iter::empty())[..2], [0, 3]);
}

proptest! {
    #[test]
    fn round_trip(version in 0..5_i16, topics in proptest::collection::btree_map("[a-z]{1,8}", any::<Vec<i32>>(), 0..5)) {
        let bytes = write_assignment(version, topics.iter().map(|(name, numbers)| (name.as_str(), &numbers[..])));
        let read = read_assignment(&bytes).expect("what was written");
        let expected: Vec<_> = topics.iter().map(|(name, numbers)| (name.as_str(), numbers.clone())).collect();
        prop_assert_eq!(read.partitions, expected);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
        let _ = (read_subscription(&bytes), read_assignment(&bytes), version(&bytes));
    }
}
