//! The topics that the members of a consumer group subscribe to, as far as their metadata tells.

use std::collections::HashSet;

use super::group::ClassicGroup;

impl ClassicGroup {
    /// Whether a member may be reading this topic. A group of consumers whose metadata cannot be read may be reading any;
    /// groups of other protocol types read none that the broker knows of.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    /// The topics of all members; None when the broker cannot know.
    pub(super) fn compute_subscribed(&self) -> Option<HashSet<Box<str>>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        let mut topics = HashSet::new();
        if self.members.is_empty() {
            return Some(topics);
        }
        let protocol = self.protocol_name.as_deref()?;
        for member in self.members.values() {
            read_topics(&member.metadata(protocol), &mut topics)?;
        }
        Some(topics)
    }
}

/// Reads the topics of a `ConsumerProtocolSubscription`. Every version begins as version 0 does: topics, then user data;
/// what a later version adds is not looked at, so that any assignor's metadata of that form can be read. It is read here
/// in place, because the lengths are a client's and nothing may be allocated for them before they are checked.
fn read_topics(metadata: &[u8], topics: &mut HashSet<Box<str>>) -> Option<()> {
    let mut rest = metadata;
    let version = i16::from_be_bytes(take(&mut rest)?);
    if version < 0 {
        return None;
    }
    let count = i32::from_be_bytes(take(&mut rest)?);
    for _ in 0..u32::try_from(count).ok()? {
        let length = usize::try_from(i16::from_be_bytes(take(&mut rest)?)).ok()?;
        let (name, after) = rest.split_at_checked(length)?;
        rest = after;
        let name = std::str::from_utf8(name).ok()?;
        if !topics.contains(name) {
            topics.insert(name.into());
        }
    }
    let user_data = i32::from_be_bytes(take(&mut rest)?);
    // -1: none.
    if user_data == -1 || usize::try_from(user_data).is_ok_and(|length| length <= rest.len()) {
        Some(())
    } else {
        None
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*head)
}
