//! How many partitions of each topic each subscriber has: all that balancing needs to know.
//!
//! Partitions of a topic are alike, so balancing decides about numbers only. Which partitions those are is settled
//! at the end, when everybody first keeps what was theirs.

/// The members of a group, their subscriptions, and how many partitions of which topic each is to have.
///
/// Members and topics are numbers from 0. A slot is a subscriber's place in its topic's list.
pub(super) struct Loads {
    /// By topic number.
    pub(super) topics: Vec<Topic>,
    /// By member: topic and slot of each of its subscriptions.
    pub(super) subscriptions: Vec<Vec<(u32, u32)>>,
    /// By member: partitions over all topics.
    pub(super) load: Vec<u32>,
}

/// One topic's subscribers and their shares.
#[derive(Default)]
pub(super) struct Topic {
    pub(super) partitions: u32,
    /// Ascending.
    pub(super) subscribers: Vec<u32>,
    /// By slot: partitions that the subscriber could keep of its present target.
    pub(super) kept: Vec<u32>,
    /// By slot: partitions that it is to have.
    pub(super) share: Vec<u32>,
    /// Partitions that nobody has.
    pub(super) free: u32,
}

impl Topic {
    /// The slot of a member that subscribes.
    pub(super) fn slot(&self, member: usize) -> Option<usize> {
        self.subscribers.binary_search(&(member as u32)).ok()
    }

    /// Whether a partition taken from this slot is one that was not its own before: taking it moves nothing.
    pub(super) fn gained(&self, slot: usize) -> bool {
        self.share[slot] > self.kept[slot]
    }

    /// Whether a partition given to this slot is one that was its own before: giving it undoes a move.
    pub(super) fn lost(&self, slot: usize) -> bool {
        self.share[slot] < self.kept[slot]
    }
}

impl Loads {
    /// Gives a free partition of `topic` to the member in `slot`.
    pub(super) fn place(&mut self, topic: usize, slot: usize) {
        let row = &mut self.topics[topic];
        row.free -= 1;
        row.share[slot] += 1;
        self.load[row.subscribers[slot] as usize] += 1;
    }

    /// Moves a partition of `topic` between two of its slots.
    pub(super) fn shift(&mut self, topic: usize, from: usize, to: usize) {
        let row = &mut self.topics[topic];
        row.share[from] -= 1;
        row.share[to] += 1;
        self.load[row.subscribers[from] as usize] -= 1;
        self.load[row.subscribers[to] as usize] += 1;
    }
}
