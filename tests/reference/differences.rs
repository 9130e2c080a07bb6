//! Where Tidelog means to answer otherwise than Apache Kafka.

/// A step in which the answers differ, and why they should.
#[derive(Debug, Clone, Copy)]
pub struct Difference {
    /// The script's name.
    pub script: &'static str,
    /// The step's title.
    pub step: &'static str,
    /// The reason, as a user is told it in COMPAT.md.
    pub why: &'static str,
}

/// All of them. One that does not occur any more fails its script.
pub const MEANT: &[Difference] = &[];

/// A name that no script has would excuse nothing and never fail.
#[test]
fn every_meant_difference_is_of_a_script() {
    for difference in MEANT {
        assert!(super::transcript::path(difference.script).exists(), "{difference:?}");
    }
}
