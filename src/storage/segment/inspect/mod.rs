//! Looking through a log that nobody has open: every byte that matters, without changing any; and repairing what is found.
//!
//! ```text
//! partition  one log: its segments in order, and the files beside them; parts has what needs nothing of it
//! walk       from batch to batch, also behind damage          bytes    a file read at explicit positions
//! indexes    do offset and time index lead where they say     aborted  what the markers say, and the .txnindex files
//! finding    what was found and what a repair does            repair   does it, durably
//! ```
//!
//! Memory is bounded by a batch, whatever the size of a log. A sound batch is never given up.

mod aborted;
mod bytes;
mod finding;
mod indexes;
mod partition;
mod parts;
mod repair;
mod walk;

#[cfg(test)]
mod tests;

pub use finding::{Action, Edit, Finding, Severity};
pub use partition::{Facts, Inspected, inspect};
pub use repair::repair;
