//! Chains of handovers: `a` gives `b` a partition of a topic both subscribe to, `b` gives `c` one of another, and so
//! on; only the ends' loads change. While the first has two more than the last, a chain improves the balance, and when
//! there is none the balance is the best possible (Harvey, Ladner, Lovász, Tamir: Semi-matchings for bipartite graphs
//! and load balancing, 2003).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::loads::Loads;

/// Most subscriptions looked at in one assignment: some tenths of a second at most.
pub(super) const BUDGET: u64 = 1 << 25;

/// Resolves chains, each a shortest one from the most loaded member, until there is none or `budget` is used up. Each
/// resolved chain leaves the loads valid and better, so it can stop at any time.
pub(super) fn resolve(loads: &mut Loads, mut budget: u64) {
    let mut search = Search::new(loads);
    let mut by_load: BinaryHeap<(u32, Reverse<usize>)> =
        loads.load.iter().enumerate().map(|(member, load)| (*load, Reverse(member))).collect();
    while let Some((load, Reverse(start))) = by_load.pop() {
        if search.settled[start] || loads.load[start] != load {
            continue;
        }
        match search.from(start, loads, &mut budget) {
            Found::Chain(end) => {
                search.hand_over(start, end, loads);
                for member in [start, end] {
                    by_load.push((loads.load[member], Reverse(member)));
                }
            }
            // No chain leads out of what was reached, and nothing in it has a load below the greatest less one: no
            // later chain can end in it or lead through it.
            Found::Nothing => search.settle_reached(),
            Found::OverBudget => return,
        }
    }
}

enum Found {
    /// The member at the end of the best chain.
    Chain(usize),
    Nothing,
    OverBudget,
}

/// A breadth-first search over members and topics, and what it learned for good.
struct Search {
    /// Members that no improving chain can touch.
    settled: Vec<bool>,
    /// By member: topic and slot through which this search came to it.
    member_from: Vec<Option<(usize, usize)>>,
    /// By topic: slot of the owner through whom this search came to it.
    topic_from: Vec<Option<usize>>,
    /// Members and topics that this search came to, in that order.
    members: Vec<usize>,
    topics: Vec<usize>,
}

impl Search {
    fn new(loads: &Loads) -> Self {
        Self {
            settled: vec![false; loads.load.len()],
            member_from: vec![None; loads.load.len()],
            topic_from: vec![None; loads.topics.len()],
            members: Vec::new(),
            topics: Vec::new(),
        }
    }

    /// Looks for the least loaded among the nearest members that have at least two less than `start`.
    fn from(&mut self, start: usize, loads: &Loads, budget: &mut u64) -> Found {
        for member in self.members.drain(..) {
            self.member_from[member] = None;
        }
        for topic in self.topics.drain(..) {
            self.topic_from[topic] = None;
        }
        self.members.push(start);
        let mut distance = 0..1;
        while !distance.is_empty() {
            let mut best: Option<(u32, usize)> = None;
            for index in distance.clone() {
                for &(topic, slot) in &loads.subscriptions[self.members[index]] {
                    let (topic, slot) = (topic as usize, slot as usize);
                    let row = &loads.topics[topic];
                    let reach = row.share[slot] > 0 && self.topic_from[topic].is_none();
                    let steps = 1 + if reach { row.subscribers.len() as u64 } else { 0 };
                    let Some(rest) = budget.checked_sub(steps) else { return Found::OverBudget };
                    *budget = rest;
                    if !reach {
                        continue;
                    }
                    self.topic_from[topic] = Some(slot);
                    self.topics.push(topic);
                    for (slot, &member) in row.subscribers.iter().enumerate() {
                        let member = member as usize;
                        if member == start || self.settled[member] || self.member_from[member].is_some() {
                            continue;
                        }
                        self.member_from[member] = Some((topic, slot));
                        self.members.push(member);
                        if loads.load[member] + 2 <= loads.load[start] {
                            best = best
                                .min(Some((loads.load[member], member)))
                                .or(Some((loads.load[member], member)));
                        }
                    }
                }
            }
            if let Some((_, end)) = best {
                return Found::Chain(end);
            }
            distance = distance.end..self.members.len();
        }
        Found::Nothing
    }

    /// Moves one partition along each step of the chain that the search found.
    fn hand_over(&self, start: usize, end: usize, loads: &mut Loads) {
        let mut member = end;
        while member != start {
            let Some((topic, to)) = self.member_from[member] else { return };
            let Some(from) = self.topic_from[topic] else { return };
            loads.shift(topic, from, to);
            member = loads.topics[topic].subscribers[from] as usize;
        }
    }

    fn settle_reached(&mut self) {
        for &member in &self.members {
            self.settled[member] = true;
        }
    }
}
