//! A real broker on a free port and a directory of its own, which can be stopped, damaged and started again.

use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tidelog::broker::Broker;
use tidelog::config::{BrokerConfig, Sources};
use tokio::runtime::{Builder, Runtime};

use super::Client;

/// The mark that an orderly stop leaves; without it the next start verifies every log.
const CLEAN_SHUTDOWN_FILE: &str = ".kafka_cleanshutdown";

/// A broker and everything it lives on. Dropping it stops it in order.
pub struct TestBroker {
    runtime: Runtime,
    settings: Vec<(String, String)>,
    running: Option<(Broker, SocketAddr)>,
    dir: TempDir,
}

impl TestBroker {
    /// A broker with the shipped settings.
    pub fn start() -> TestBroker {
        TestBroker::with(&[])
    }

    /// A broker with some settings of its own.
    pub fn with(settings: &[(&str, &str)]) -> TestBroker {
        TestBroker::prepared(settings, |_| ())
    }

    /// As [`TestBroker::with`], on a directory that `prepare` has put something into.
    pub fn prepared(settings: &[(&str, &str)], prepare: impl FnOnce(&Path)) -> TestBroker {
        let dir = tempfile::tempdir().expect("a temporary directory");
        prepare(dir.path());
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime for the broker");
        let settings = settings.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let mut broker = TestBroker { runtime, settings, running: None, dir };
        broker.begin();
        broker
    }

    /// The data directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The directory of a partition's log.
    pub fn partition_dir(&self, topic: &str, index: i32) -> PathBuf {
        self.path().join(format!("{topic}-{index}"))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.running.as_ref().expect("the broker runs").1
    }

    /// A new connection.
    pub fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// Fails the test unless a client that comes now can create a topic, write and read.
    pub fn assert_serves(&self) {
        let mut client = self.client();
        // Each call has a topic of its own, so that what is read can only be what was just written.
        let topic = format!("serves-{}", uuid::Uuid::new_v4().simple());
        client.create_topic(&topic, 1, &[]);
        let appended = client.produce(&topic, 0, super::batch::of(&["alive"]));
        assert_eq!((appended.error_code, appended.base_offset), (0, 0));
        assert_eq!(client.values(&topic, 0, 0), ["alive"]);
    }

    /// Stops in order and leaves the directory.
    pub fn stop(&mut self) {
        if let Some((broker, _)) = self.running.take() {
            self.runtime.block_on(broker.stop());
        }
    }

    /// Starts again on the same directory; the port is another one.
    pub fn begin(&mut self) {
        assert!(self.running.is_none(), "the broker runs already");
        let broker = self.try_start().expect("the broker starts");
        let address = broker.addresses()[0].1;
        self.running = Some((broker, address));
    }

    /// What a start on the directory leads to, whether a broker runs there or not.
    pub fn try_start(&self) -> anyhow::Result<Broker> {
        self.runtime.block_on(Broker::start(self.config()))
    }

    /// Another value of a setting, from the next start on.
    pub fn change_setting(&mut self, key: &str, value: &str) {
        self.settings.retain(|(known, _)| known != key);
        self.settings.push((key.to_owned(), value.to_owned()));
    }

    /// An orderly stop and a start.
    pub fn restart(&mut self) {
        self.stop();
        self.begin();
    }

    /// A stop that the next start takes for a crash: `damage` does to the files what a crash may have done.
    pub fn crash_and_restart(&mut self, damage: impl FnOnce(&Path)) {
        self.stop();
        std::fs::remove_file(self.path().join(CLEAN_SHUTDOWN_FILE)).expect("an orderly stop leaves its mark");
        damage(self.path());
        self.begin();
    }

    /// A second broker on a copy of the directory as it is now, changed by `damage`: what a crash would leave of this one while it
    /// has nothing to do, without any farewell.
    pub fn crash_image(&self, damage: impl FnOnce(&Path)) -> TestBroker {
        let settings: Vec<(&str, &str)> =
            self.settings.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let image = TestBroker::prepared(&settings, |to| {
            copy(self.path(), to);
            damage(to);
        });
        assert!(!self.path().join(CLEAN_SHUTDOWN_FILE).exists(), "the broker was to be running");
        image
    }

    /// A second broker with the same settings on a directory that is there, and stays.
    pub fn another_on(&self, dir: &Path) -> TestBroker {
        let settings: Vec<(&str, &str)> =
            self.settings.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        TestBroker::prepared(&settings, |to| {
            std::fs::remove_dir(to).expect("an empty directory");
            std::os::unix::fs::symlink(dir, to).expect("a link");
        })
    }

    fn config(&self) -> BrokerConfig {
        let own = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let mut overrides = vec![
            own("listeners", "PLAINTEXT://127.0.0.1:0"),
            own("log.dirs", self.path().to_str().expect("a directory with an ordinary name")),
            own("tidelog.metrics.listener", ""),
        ];
        overrides.extend(self.settings.iter().cloned());
        let sources = Sources { overrides, ..Sources::default() };
        BrokerConfig::load(&sources).expect("settings that are valid").config
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.stop();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("the data directory") {
        let entry = entry.expect("an entry");
        // A crash leaves the name of a socket, of which there is nothing to copy.
        if entry.file_type().expect("a kind of file").is_socket() {
            continue;
        }
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().expect("a kind of file").is_dir() {
            true => copy(&source, &target),
            false => drop(std::fs::copy(&source, &target).expect("a copy")),
        }
    }
}
