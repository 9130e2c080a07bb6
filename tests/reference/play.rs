//! One script from start to verdict.

use super::script::Script;
use super::target::Target;
use super::transcript;

/// Plays a script to the broker that the environment asks for, and compares or records what it answered.
pub fn play(name: &str, script: impl FnOnce(&mut Script)) {
    let target = Target::start();
    let mut playing = Script::new(name, target.address());
    playing.find_coordinators();
    script(&mut playing);
    transcript::check(name, &playing.finished(), target.is_reference());
}
