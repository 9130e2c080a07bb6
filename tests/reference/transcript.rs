//! What was asked and answered, step by step, as text; and the comparison of two such texts.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use super::differences::{Difference, MEANT};

/// One step of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Unique within its script.
    pub title: String,
    /// Requests, answers and remarks.
    pub lines: Vec<String>,
}

/// A remark is text that says why; only its presence counts, which the answer itself shows.
pub const REMARK: &str = "    # ";

/// Makes the steps the recording, or compares them with it. Fails the test with every difference.
pub fn check(script: &str, steps: &[Step], is_reference: bool) {
    let file = path(script);
    if env::var("TIDELOG_GOLDEN").is_ok_and(|mode| mode == "write") {
        assert!(
            is_reference,
            "recordings are Kafka's answers: TIDELOG_REFERENCE=host:port says where it runs"
        );
        fs::create_dir_all(file.parent().expect("a folder")).expect("the folder of recordings");
        return fs::write(&file, to_text(script, steps)).expect("the recording is written");
    }
    let recorded = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    // Kafka must repeat its own answers whatever is meant of ours.
    let meant: Vec<&Difference> =
        MEANT.iter().filter(|difference| !is_reference && difference.script == script).collect();
    let report = compare(&from_text(&recorded), steps, &meant);
    print!("{}", report.meant);
    assert!(report.failed == 0, "{script}: {} steps differ\n{}", report.failed, report.unexplained);
}

/// Where a script's recording is.
pub fn path(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/reference").join(format!("{script}.txt"))
}

/// What a comparison found.
#[derive(Debug, Default)]
struct Report {
    /// Differences of the table, as they are.
    meant: String,
    /// All others, and table entries without a difference.
    unexplained: String,
    /// The number of those.
    failed: usize,
}

fn compare(recorded: &[Step], played: &[Step], meant: &[&Difference]) -> Report {
    let mut report = Report::default();
    let titles = |steps: &[Step]| steps.iter().map(|step| step.title.clone()).collect::<Vec<_>>();
    if titles(recorded) != titles(played) {
        let diff = diff(&titles(recorded), &titles(played));
        report.fail(&format!("the script has other steps than its recording; record it anew\n{diff}"));
    }
    for expected in recorded {
        let actual = played.iter().find(|step| step.title == expected.title);
        let actual = actual.map_or(&[][..], |step| &step.lines);
        let entry = meant.iter().find(|difference| difference.step == expected.title);
        match (is_same(&expected.lines, actual), entry) {
            (true, None) => {}
            (true, Some(_)) => report.fail(&format!(
                "@@ {} @@\nthe table of differences names this step, but there is none any more\n",
                expected.title
            )),
            (false, None) => {
                report.fail(&format!("@@ {} @@\n{}", expected.title, diff(&expected.lines, actual)));
            }
            (false, Some(entry)) => {
                let diff = diff(&expected.lines, actual);
                // Writing to a String cannot fail.
                let _ = write!(report.meant, "@@ {} @@ meant: {}\n{diff}", expected.title, entry.why);
            }
        }
    }
    for entry in meant {
        if !recorded.iter().any(|step| step.title == entry.step) {
            report.fail(&format!("the table of differences names {:?}, which is no step\n", entry.step));
        }
    }
    report
}

impl Report {
    fn fail(&mut self, text: &str) {
        self.failed += 1;
        self.unexplained.push_str(text);
    }
}

fn compared(lines: &[String]) -> impl Iterator<Item = &String> {
    lines.iter().filter(|line| !line.starts_with(REMARK))
}

fn is_same(expected: &[String], actual: &[String]) -> bool {
    compared(expected).eq(compared(actual))
}

/// The lines of both, in the style of `diff -u` with everything as context. Remarks that differ are not marked.
fn diff(expected: &[String], actual: &[String]) -> String {
    let actual: Vec<&String> = compared(actual).collect();
    // lengths[i][j]: the longest common subsequence of what follows from there.
    let mut lengths = vec![vec![0_usize; actual.len() + 1]; expected.len() + 1];
    for i in (0..expected.len()).rev() {
        for j in (0..actual.len()).rev() {
            lengths[i][j] = match expected[i] == *actual[j] {
                true => lengths[i + 1][j + 1] + 1,
                false => lengths[i + 1][j].max(lengths[i][j + 1]),
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut out = String::new();
    while i < expected.len() || j < actual.len() {
        let (mark, line) = if i < expected.len() && expected[i].starts_with(REMARK) {
            i += 1;
            (' ', &expected[i - 1])
        } else if i < expected.len() && j < actual.len() && expected[i] == *actual[j] {
            i += 1;
            j += 1;
            (' ', &expected[i - 1])
        } else if i < expected.len() && (j == actual.len() || lengths[i + 1][j] >= lengths[i][j + 1]) {
            i += 1;
            ('-', &expected[i - 1])
        } else {
            j += 1;
            ('+', actual[j - 1])
        };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{mark}{line}");
    }
    out
}

fn to_text(script: &str, steps: &[Step]) -> String {
    let mut text = format!("# {script}: what Apache Kafka 4.3.1 answers\n");
    for step in steps {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n## {}\n", step.title);
        step.lines.iter().for_each(|line| {
            let _ = writeln!(text, "{line}");
        });
    }
    text
}

fn from_text(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            steps.push(Step { title: title.to_owned(), lines: Vec::new() });
        } else if let Some(step) = steps.last_mut().filter(|_| !line.is_empty()) {
            step.lines.push(line.to_owned());
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(title: &str, lines: &[&str]) -> Step {
        Step { title: title.to_owned(), lines: lines.iter().map(|line| line.to_string()).collect() }
    }

    #[test]
    fn a_transcript_is_read_back_as_it_was_written() {
        let steps = [step("one", &["a > X", "a < {y: 1}", "    # why"]), step("two", &[])];
        assert_eq!(from_text(&to_text("s", &steps)), steps);
    }

    #[test]
    fn every_difference_is_reported_and_remarks_make_none() {
        let recorded =
            [step("one", &["a", "b", "c"]), step("two", &["a", "    # why"]), step("three", &["x"])];
        let played = [step("one", &["a", "c", "d"]), step("two", &["a", "    # other"]), step("three", &[])];
        let report = compare(&recorded, &played, &[]);
        assert_eq!(report.failed, 2);
        assert_eq!(report.unexplained, "@@ one @@\n a\n-b\n c\n+d\n@@ three @@\n-x\n");
    }

    #[test]
    fn a_difference_that_is_meant_is_shown_and_one_that_is_gone_fails() {
        let meant = Difference { script: "s", step: "one", why: "it is better so" };
        let recorded = [step("one", &["a"])];
        let report = compare(&recorded, &[step("one", &["b"])], &[&meant]);
        assert_eq!((report.failed, report.meant.as_str()), (0, "@@ one @@ meant: it is better so\n-a\n+b\n"));
        assert_eq!(compare(&recorded, &recorded, &[&meant]).failed, 1);
        let nowhere = Difference { step: "none", ..meant };
        assert_eq!(compare(&recorded, &recorded, &[&nowhere]).failed, 1);
    }

    #[test]
    fn a_script_with_other_steps_than_its_recording_fails() {
        let report = compare(&[step("one", &[])], &[step("one", &[]), step("two", &["a"])], &[]);
        assert_eq!(report.failed, 1);
    }
}
