//! Rows: what is written is read, and nothing else is.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn name() -> impl Strategy<Value = Arc<str>> {
    "[a-z.]{1,6}".prop_map(Arc::from)
}

fn names() -> impl Strategy<Value = BTreeSet<Arc<str>>> {
    proptest::collection::btree_set(name(), 0..4)
}

fn owned() -> impl Strategy<Value = Owned> {
    proptest::collection::vec((0..3_u128, any::<i32>(), any::<i32>()), 0..8)
        .prop_map(|all| all.into_iter().map(|(id, at, epoch)| (Uuid::from_u128(id), at, epoch)).collect())
}

fn standing() -> impl Strategy<Value = Standing> {
    let state = prop_oneof![
        Just(MemberState::Stable),
        Just(MemberState::UnrevokedPartitions),
        Just(MemberState::UnreleasedPartitions)
    ];
    (state, any::<i32>(), any::<i32>(), owned(), owned()).prop_map(
        |(state, epoch, previous_epoch, assigned, pending_revocation)| Standing {
            state,
            epoch,
            previous_epoch,
            assigned,
            pending_revocation,
        },
    )
}

fn classic() -> impl Strategy<Value = ClassicSide> {
    let protocol = (".{0,5}", any::<Vec<u8>>())
        .prop_map(|(name, metadata)| Protocol { name, metadata: metadata.into() });
    (any::<i32>(), proptest::collection::vec(protocol, 1..4))
        .prop_map(|(session_timeout_ms, protocols)| ClassicSide { session_timeout_ms, protocols })
}

fn member() -> impl Strategy<Value = StoredMember> {
    let who = (proptest::option::of(name()), proptest::option::of(name()), ".{0,9}", ".{0,9}", any::<i32>());
    let what = (
        names(),
        proptest::option::of(name()),
        proptest::option::of(proptest::sample::select(&Assignor::ALL[..])),
    );
    (who, what, standing(), owned(), proptest::option::of(classic())).prop_map(
        |(who, what, standing, target, classic)| {
            let (instance_id, rack_id, id, host, rebalance_timeout_ms) = who;
            let (topics, topic_regex, assignor) = what;
            StoredMember {
                instance_id,
                rack_id,
                client: Client { id, host },
                rebalance_timeout_ms,
                topics,
                topic_regex,
                assignor,
                standing,
                target: target.partitions(),
                classic,
            }
        },
    )
}

fn head() -> impl Strategy<Value = StoredHead> {
    (0..i32::MAX, 0..5, any::<u64>(), proptest::collection::btree_map(name(), names(), 0..3)).prop_map(
        |(assignment_epoch, ahead, metadata_hash, regexes)| StoredHead {
            group_epoch: assignment_epoch.saturating_add(ahead),
            assignment_epoch,
            metadata_hash,
            regexes,
        },
    )
}

proptest! {
    #[test]
    fn member_round_trip(member in member()) {
        let bytes = encode_member(&member);
        prop_assert_eq!(decode_member(&bytes), Ok(member));
        prop_assert!(decode_member(&bytes[..bytes.len() - 1]).is_err());
        prop_assert!(decode_member(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn head_round_trip(head in head()) {
        let bytes = encode_head(&head);
        prop_assert_eq!(decode_head(&bytes), Ok(head));
        prop_assert!(decode_head(&bytes[..bytes.len() - 1]).is_err());
        prop_assert!(decode_head(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
        for bytes in [bytes.clone(), [&[VERSION], &bytes[..]].concat()] {
            let _ = (decode_head(&bytes), decode_member(&bytes));
        }
    }

    #[test]
    fn one_wrong_byte_is_refused_or_read_as_another_member(member in member(), at: prop::sample::Index, to: u8) {
        let mut bytes = encode_member(&member);
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(read) = decode_member(&bytes) {
            let again = encode_member(&read);
            prop_assert_eq!(decode_member(&again), Ok(read));
        }
    }
}

#[test]
fn head_bytes_on_disk() {
    let head = StoredHead {
        group_epoch: 5,
        assignment_epoch: 4,
        metadata_hash: 0x0102,
        regexes: [("a.*".into(), ["ab".into()].into())].into(),
    };
    let expected = [
        &[1, 0, 0, 0, 5, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 1, 2][..],
        &[0, 0, 0, 1, 0, 0, 0, 3, b'a', b'.', b'*', 0, 0, 0, 1, 0, 0, 0, 2, b'a', b'b'],
    ];
    assert_eq!(encode_head(&head), expected.concat());
}

#[test]
fn member_bytes_on_disk() {
    let topic = Uuid::from_u128(0x0a);
    let member = StoredMember {
        instance_id: Some("i".into()),
        rack_id: None,
        client: Client { id: "c".to_owned(), host: "/h".to_owned() },
        rebalance_timeout_ms: 300,
        topics: ["t".into()].into(),
        topic_regex: None,
        assignor: Some(Assignor::Range),
        standing: Standing {
            state: MemberState::UnrevokedPartitions,
            epoch: 4,
            previous_epoch: 3,
            assigned: [(topic, 0, 2)].into_iter().collect(),
            pending_revocation: Owned::default(),
        },
        target: [(topic, 0), (topic, 1)].into_iter().collect(),
        classic: Some(ClassicSide {
            session_timeout_ms: 9,
            protocols: vec![Protocol { name: "p".to_owned(), metadata: Bytes::from_static(&[7]) }],
        }),
    };
    let id = topic.as_bytes();
    let expected = [
        // Instance, rack, client, rebalance timeout.
        &[1, 1, 0, 0, 0, 1, b'i', 0, 0, 0, 0, 1, b'c', 0, 0, 0, 2, b'/', b'h', 0, 0, 1, 44][..],
        // Topics, expression, assignor.
        &[0, 0, 0, 1, 0, 0, 0, 1, b't', 0, 1, 0, 0, 0, 5, b'r', b'a', b'n', b'g', b'e'],
        // State and epochs.
        &[1, 0, 0, 0, 4, 0, 0, 0, 3],
        // Assigned, pending revocation, target.
        &[0, 0, 0, 1],
        id,
        &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1],
        id,
        &[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1],
        // The classic side.
        &[1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 1, b'p', 0, 0, 0, 1, 7],
    ];
    assert_eq!(encode_member(&member), expected.concat());
}

#[test]
fn contradictions_are_refused() {
    let head = StoredHead { group_epoch: 3, assignment_epoch: 4, metadata_hash: 0, regexes: BTreeMap::new() };
    assert!(decode_head(&encode_head(&head)).is_err());
    // Lengths that there are no bytes for.
    let huge = [&[VERSION, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &[255; 4]].concat();
    assert!(decode_head(&huge).is_err());
}
