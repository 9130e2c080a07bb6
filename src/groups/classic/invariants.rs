//! What is true of a group at every moment.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::super::effects::{Answer, Effects};
use super::super::request::Joined;
use super::group::JoinWait;
use super::testing::*;
use super::{ClassicGroup, State};
use crate::groups::store::classic_group::{decode, encode};

/// All that the group counts and keeps in order agrees with its members.
pub(super) fn check_structure(group: &ClassicGroup) {
    let waiting = group.members().filter(|member| member.waiting_join.is_some()).count();
    assert_eq!(group.waiting_joins, waiting);
    assert_eq!(group.leader.is_none(), group.members.is_empty());
    assert!(group.leader.as_ref().is_none_or(|leader| group.members.contains_key(leader)));
    let instances: HashMap<Arc<str>, Arc<str>> = group
        .members()
        .filter_map(|member| Some((Arc::clone(member.instance_id()?), Arc::clone(member.id()))))
        .collect();
    assert_eq!(group.instances, instances);
    let statics = group.members().filter(|member| member.instance_id().is_some()).count();
    assert_eq!(statics, instances.len(), "two members share an instance id");
    let mut support: HashMap<String, usize> = HashMap::new();
    for protocol in group.members().flat_map(|member| member.protocols()) {
        *support.entry(protocol.name.clone()).or_default() += 1;
    }
    assert_eq!(group.support, support);
    let timers: BTreeSet<(u64, Arc<str>)> = group
        .members()
        .filter_map(|member| Some((member.timer?, Arc::clone(member.id()))))
        .chain(group.pending.iter().map(|(id, at)| (*at, Arc::clone(id))))
        .collect();
    assert_eq!(group.timers, timers);
    for (id, member) in &group.members {
        assert_eq!(id, member.id());
        assert!(!group.is_pending(id));
        assert_eq!(member.timer.is_some(), member.session_ends.is_some());
        assert!(member.timer <= member.session_ends, "the timer is too late");
        assert!(member.session_ends.is_some() || member.is_excused(), "nothing ends its session");
        assert!(member.waiting_join.is_none() || group.state() == State::PreparingRebalance);
        assert!(member.waiting_sync.is_none() || group.state() == State::CompletingRebalance);
        if matches!(group.state(), State::Stable | State::CompletingRebalance) {
            let protocol = group.protocol_name().expect("a protocol");
            assert!(member.protocols().iter().any(|supported| supported.name == protocol));
        }
    }
    assert!(group.unsynced.iter().all(|id| group.members.contains_key(id)));
    assert_eq!(group.join_wait.is_some(), group.state() == State::PreparingRebalance);
    assert!(group.sync_ends.is_some() || group.state() != State::CompletingRebalance);
    match group.state() {
        State::Empty => assert!(group.members.is_empty()),
        State::PreparingRebalance => {
            // A rebalance without members waits for its delay, or for those who have an id.
            let is_initial = matches!(group.join_wait, Some(JoinWait::Initial { .. }));
            assert!(!group.members.is_empty() || is_initial || !group.pending.is_empty());
        }
        _ => assert!(!group.members.is_empty()),
    }
}

/// Left alone, the group is done waiting for members to join within these milliseconds.
pub(super) fn check_rebalance_ends(tested: &Tested, millis: u64) {
    let mut group = tested.group.clone();
    let mut now = tested.now();
    let latest = now.ticks_ms + millis;
    while group.state() == State::PreparingRebalance {
        now.ticks_ms = now.ticks_ms.max(group.deadline().expect("something ends the rebalance"));
        assert!(now.ticks_ms <= latest, "the rebalance goes on");
        let mut effects = Effects::default();
        group.tick(&tested.limits, now, &mut effects);
        let joined = effects.answers.iter().filter_map(|(_, answer)| match answer {
            Answer::Join(answer) => answer.result.as_ref().ok(),
            Answer::Sync(_) => None,
        });
        check_one_leader(&joined.collect::<Vec<_>>());
    }
}

fn check_one_leader(joined: &[&Joined]) {
    let leaders: BTreeSet<&str> = joined.iter().map(|joined| joined.leader.as_str()).collect();
    assert!(leaders.len() <= 1, "{leaders:?}");
    for joined in joined {
        assert_eq!(joined.members.is_empty(), joined.leader != joined.member_id);
    }
}

/// A group that is read from its row is the one that was written.
pub(super) fn check_store(tested: &Tested) {
    let group = &tested.group;
    let stored = decode(&encode(group)).expect("what was written can be read");
    let shown = |group: &ClassicGroup| {
        let members: Vec<_> = group
            .members()
            .map(|member| {
                let metadata = member.metadata(group.protocol_name().unwrap_or_default());
                let timeouts = (member.rebalance_timeout_ms(), member.session_timeout_ms());
                (
                    member.id().clone(),
                    member.instance_id().cloned(),
                    member.client().clone(),
                    timeouts,
                    metadata,
                )
            })
            .collect();
        let protocols = (group.protocol_type().map(str::to_owned), group.protocol_name().map(str::to_owned));
        let leader = group.leader().map(str::to_owned);
        let subscribed: Option<BTreeSet<_>> =
            group.subscribed.clone().map(|topics| topics.into_iter().collect());
        (group.state(), group.state_since_ms(), group.generation(), protocols, leader, members, subscribed)
    };
    assert_eq!(stored.generation, group.generation());
    let mut effects = Effects::default();
    let again = ClassicGroup::restored("g".into(), stored, &tested.limits, tested.now(), &mut effects);
    assert_eq!(group.len() > tested.limits.members_max, again.state() == State::PreparingRebalance);
    if group.generation() > 0 && group.len() <= tested.limits.members_max {
        assert_eq!(shown(&again), shown(group));
        assert_eq!(again.describe(), group.describe());
        assert_eq!(encode(&again), encode(group));
        assert!(again.members().all(|member| member.session_ends.is_some()));
        check_structure(&again);
    }
}
