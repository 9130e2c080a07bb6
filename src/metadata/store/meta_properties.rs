//! `meta.properties` in a log directory, as Kafka 3.x and 4.x write it (`MetaProperties`, version 1).
//!
//! It lets Kafka's own tools recognise the directory, and lets us recognise one that Kafka filled. It is
//! the one persisted kind that is a file of its own, because Kafka says so.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::cluster_id::{parse_uuid_text, uuid_text};

/// The file's name within a log directory.
pub const FILE_NAME: &str = "meta.properties";
const TEMPORARY_NAME: &str = "meta.properties.tmp";
const VERSION: &str = "1";
/// An honest file is some 150 bytes.
const BYTES_MAX: u64 = 16 * 1024;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaProperties {
    /// `cluster.id`.
    pub cluster_id: String,
    /// `node.id`.
    pub node_id: i32,
    /// `directory.id` (KIP-858); absent in directories from before Kafka 3.7.
    pub directory_id: Option<Uuid>,
}

/// Why the file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum MetaPropertiesError {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory concerned.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The content is not what version 1 prescribes.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Reads `dir`'s file; `None` when there is none. Blocks.
pub fn read(dir: &Path) -> Result<Option<MetaProperties>, MetaPropertiesError> {
    let path = dir.join(FILE_NAME);
    let failed = |source| MetaPropertiesError::Io { path: path.clone(), source };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    match parse(&text) {
        Ok(found) => Ok(Some(found)),
        Err(reason) => Err(MetaPropertiesError::Content { path, reason }),
    }
}

/// Writes `dir`'s file so that a crash leaves the former or the new one, durably. Blocks.
pub fn write(dir: &Path, properties: &MetaProperties) -> Result<(), MetaPropertiesError> {
    let temporary = dir.join(TEMPORARY_NAME);
    let target = dir.join(FILE_NAME);
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| MetaPropertiesError::Io { path, source }
    };
    let mut file = File::create(&temporary).map_err(at(&temporary))?;
    file.write_all(render(properties).as_bytes()).map_err(at(&temporary))?;
    file.sync_all().map_err(at(&temporary))?;
    fs::rename(&temporary, &target).map_err(at(&target))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
}

fn render(properties: &MetaProperties) -> String {
    let mut text = format!("#\ncluster.id={}\n", properties.cluster_id);
    if let Some(id) = properties.directory_id {
        text.push_str(&format!("directory.id={}\n", uuid_text(id)));
    }
    text.push_str(&format!("node.id={}\nversion={VERSION}\n", properties.node_id));
    text
}

fn parse(text: &str) -> Result<MetaProperties, String> {
    let value_of = |wanted: &str| {
        text.lines()
            .map(str::trim)
            .filter(|line| !line.starts_with(['#', '!']))
            .filter_map(|line| line.split_once('='))
            // As in Java's Properties, the last of several wins.
            .filter(|(key, _)| key.trim() == wanted)
            .map(|(_, value)| value.trim())
            .next_back()
            .filter(|value| !value.is_empty())
    };
    let required = |key: &str| value_of(key).ok_or_else(|| format!("{key} is missing"));
    let version = required("version")?;
    if version != VERSION {
        return Err(format!("version is {version}; only version {VERSION} is understood"));
    }
    let node_id = required("node.id")?;
    let directory_id = match value_of("directory.id") {
        None => None,
        Some(id) => Some(parse_uuid_text(id).ok_or_else(|| format!("directory.id is {id}, which is no id"))?),
    };
    Ok(MetaProperties {
        cluster_id: required("cluster.id")?.to_owned(),
        node_id: node_id.parse().map_err(|_| format!("node.id is {node_id}, which is no node id"))?,
        directory_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kafkas_own_file_is_read() {
        let text = "#\n#Tue Mar 03 10:11:12 UTC 2026\ncluster.id=MkU3OEVBNTcwNTJENDM2Qk\n\
                    directory.id=AAAAAAAAAAAAAAAAAAABLA\nnode.id=1\nversion=1\n";
        let expected = MetaProperties {
            cluster_id: "MkU3OEVBNTcwNTJENDM2Qk".into(),
            node_id: 1,
            directory_id: Some(Uuid::from_u128(300)),
        };
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn what_is_missing_or_newer_is_named() {
        let whole = "cluster.id=c\nnode.id=1\nversion=1\n";
        assert!(parse(whole).is_ok());
        for key in ["cluster.id", "node.id", "version"] {
            let text: String =
                whole.lines().filter(|line| !line.starts_with(key)).map(|l| format!("{l}\n")).collect();
            assert!(parse(&text).expect_err("incomplete").contains(key));
        }
        assert!(parse("cluster.id=c\nbroker.id=1\nversion=0\n").is_err());
        assert!(parse("cluster.id=c\nnode.id=1\nversion=2\n").is_err());
        assert!(parse("cluster.id=c\nnode.id=x\nversion=1\n").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn round_trip(cluster_id in "[a-zA-Z0-9_-]{1,22}", node_id: i32, id: Option<u128>) {
            let dir = tempfile::tempdir().expect("a temporary directory");
            prop_assert!(matches!(read(dir.path()), Ok(None)));
            let directory_id = id.map(Uuid::from_u128);
            let wanted = MetaProperties { cluster_id, node_id, directory_id };
            for _ in 0..2 {
                write(dir.path(), &wanted).expect("write");
                let found = read(dir.path()).expect("read");
                prop_assert_eq!(found.as_ref(), Some(&wanted));
            }
            prop_assert!(!dir.path().join(TEMPORARY_NAME).exists());
        }
    }
}
