//! Expected bytes in files: compared, or written anew when `TIDELOG_GOLDEN=write` is set.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Bytes in a row of the dump.
const ROW: usize = 16;

/// Whether the files are being written instead of compared with.
pub fn is_writing() -> bool {
    env::var("TIDELOG_GOLDEN").is_ok_and(|mode| mode == "write")
}

/// Compares with `tests/golden/<path>`.
pub fn check(path: &str, actual: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path);
    if is_writing() {
        fs::create_dir_all(file.parent().expect("a folder")).expect("the folder of golden files");
        fs::write(&file, actual).expect("the golden file is written");
        return;
    }
    let expected = fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{path}: {error}; TIDELOG_GOLDEN=write makes it"));
    let mut section = "";
    for (number, pair) in expected.lines().zip(actual.lines()).enumerate() {
        if pair.0.starts_with('#') {
            section = pair.0;
        }
        assert_eq!(
            pair.0,
            pair.1,
            "{path}:{} ({section}) differs; if the change is meant, TIDELOG_GOLDEN=write and review the diff",
            number + 1
        );
    }
    assert_eq!(expected.lines().count(), actual.lines().count(), "{path} has another number of lines");
}

/// Offsets, hexadecimal bytes and their ASCII characters.
pub fn dump(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (at, row) in bytes.chunks(ROW).enumerate() {
        let hex: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown = |byte: &u8| {
            if byte.is_ascii_graphic() { *byte as char } else { '.' }
        };
        let ascii: String = row.iter().map(shown).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{:04x}  {:47}  {ascii}", at * ROW, hex.join(" "));
    }
    out
}

/// Puts `to` wherever `from` stands, and says how often. Both have the same length, so that no length field changes.
pub fn mask(bytes: &mut [u8], from: &[u8], to: &[u8]) -> usize {
    assert_eq!(from.len(), to.len());
    let mut masked = 0;
    for at in 0..bytes.len().saturating_sub(from.len() - 1) {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
            masked += 1;
        }
    }
    masked
}
