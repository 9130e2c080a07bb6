use std::collections::BTreeSet;

use super::*;
use crate::partition::testing::Bench;

const DELETED: Uuid = Uuid::from_u128(11);
const UNKNOWN: Uuid = Uuid::from_u128(12);
const NOTHING: [Uuid; 0] = [];

fn names(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// A registry as the next start has it, over the directory of `bench`.
fn next_start(bench: &Bench) -> Registry {
    let disk = Arc::new(Disk::new(bench.dir.path(), Some(0)).unwrap());
    let flusher = bench.partition.flusher.clone();
    Registry::new(bench.dir.path(), FileCache::new(8), flusher, disk, false, [])
}

#[test]
fn what_was_deleted_is_removed_and_what_is_unknown_is_set_aside() {
    let bench = Bench::new(&[]);
    // As a kill between the record of a deletion and the renaming, or a power cut after it, leaves them.
    bench.registry.create("gone", DELETED, 0..2, &bench.config, 0).unwrap();
    bench.registry.create("found", UNKNOWN, 0..1, &bench.config, 0).unwrap();
    bench.registry.create("nameless", DELETED, 0..1, &bench.config, 0).unwrap();
    fs::remove_file(bench.registry.partition_dir("nameless", 0).join("partition.metadata")).unwrap();
    fs::create_dir(bench.dir.path().join("old-0.1-delete")).unwrap();

    let registry = next_start(&bench);
    registry.remove_leftovers(|name| name == "t-0", [DELETED].into()).unwrap();
    assert!(registry.partition_dir("t", 0).exists());
    assert!(!registry.partition_dir("gone", 0).exists(), "its name is free at once");
    assert_eq!(registry.empty_trash(), [DELETED]);
    assert_eq!(registry.empty_trash(), NOTHING);
    let left = names(bench.dir.path());
    assert!(!left.iter().any(|name| name.starts_with("gone") || name.ends_with("-delete")), "{left:?}");
    for kept in ["found-0.", "nameless-0."] {
        assert!(left.iter().any(|name| name.starts_with(kept) && name.ends_with("-stray")), "{left:?}");
    }
}

#[test]
fn a_deleted_topic_is_remembered_until_all_of_it_is_gone() {
    let bench = Bench::new(&[]);
    let create = |name: &str, id| bench.registry.create(name, id, 0..2, &bench.config, 0).unwrap();
    create("gone", DELETED);
    bench.registry.discard("gone", DELETED, 0..2);
    assert_eq!(bench.registry.empty_trash(), [DELETED]);
    assert_eq!(bench.registry.empty_trash(), NOTHING);

    // The partitions of a failed extension go, the topic stays.
    create("kept", UNKNOWN);
    bench.registry.discard("kept", UNKNOWN, 1..2);
    assert_eq!(bench.registry.empty_trash(), NOTHING);
    assert!(!bench.registry.partition_dir("kept", 1).exists());

    // Something is in the way of a removal: what has the name is no directory any more.
    bench.registry.discard("kept", UNKNOWN, 0..1);
    let renamed = names(bench.dir.path()).into_iter().find(|name| name.ends_with("-delete")).unwrap();
    let renamed = bench.dir.path().join(renamed);
    fs::remove_dir_all(&renamed).unwrap();
    fs::write(&renamed, b"").unwrap();
    assert_eq!(
        bench.registry.empty_trash(),
        NOTHING,
        "what could not be removed is looked for by the next start"
    );
}
