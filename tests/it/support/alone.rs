//! Tests that measure the process run in a process of their own: the others would be measured too.

use std::env;
use std::process::Command;

/// Says to a child which test it is to run.
const CHILD: &str = "TIDELOG_TEST_ALONE";

/// Runs `body` in a new process that runs nothing else. `test` is the full name of the calling test.
pub fn alone(test: &str, body: impl FnOnce()) {
    if env::var(CHILD).is_ok_and(|name| name == test) {
        return body();
    }
    let program = env::current_exe().expect("the path of this program");
    let output = Command::new(program)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        .output()
        .expect("this program starts once more");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    // A name that matches no test would pass without running anything.
    let ran = said.contains("1 passed");
    assert!(output.status.success() && ran, "{test} in a process of its own:\n{said}\n{complained}");
}

/// Resident memory of this process now, bytes.
pub fn resident_bytes() -> u64 {
    status_kib("VmRSS:") << 10
}

/// The most resident memory this process has had, bytes.
pub fn peak_resident_bytes() -> u64 {
    status_kib("VmHWM:") << 10
}

fn status_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel's account of this process");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field is there");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number")
}
