//! ConsumerGroupHeartbeat: join, report, be told (`GroupMetadataManager.consumerGroupHeartbeat` in Kafka 4.3).
//!
//! ```text
//!   refuse ─▶ take in what the member says ─▶ new epoch? ─▶ new target? ─▶ next step of the member ─▶ answer
//! ```
//!
//! Everything that can refuse a request comes first: a refused request changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use regex::Regex;

use super::super::assign::{Assignor, Partitions};
use super::super::effects::{Effects, Notice, Now, RowKey};
use super::super::error::GroupError;
use super::super::limits::ConsumerLimits;
use super::super::request::{ConsumerHeartbeat, ConsumerHeartbeatAnswer};
use super::super::topics_view::TopicsView;
use super::group::ConsumerGroup;
use super::member::{Member, StoredMember};
use super::statics::Found;
use super::{reconcile, topic_regex};

/// What a member says of itself. `None` means "as before".
pub(super) struct Update {
    pub(super) instance_id: Option<String>,
    pub(super) rack_id: Option<String>,
    pub(super) rebalance_timeout_ms: Option<i32>,
    pub(super) topics: Option<Vec<String>>,
    /// Empty ends the subscription by expression.
    pub(super) topic_regex: Option<String>,
    pub(super) assignor: Option<Assignor>,
}

/// What a member's update meant for the group.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Changes {
    /// Its subscription is another one, by name or by expression.
    pub(super) subscription: bool,
    /// Something that is stored of it is.
    pub(super) stored: bool,
}

impl ConsumerGroup {
    /// A member joins, reports, leaves, or asks what to own. The request was found [valid](super::validate()).
    ///
    /// # Errors
    /// In Kafka's order: [`GroupError::GroupMaxSizeReached`]; [`GroupError::UnknownMemberId`],
    /// [`GroupError::FencedInstanceId`] and [`GroupError::UnreleasedInstanceId`]; [`GroupError::FencedMemberEpoch`];
    /// [`GroupError::InvalidRegularExpression`]. A refused request changes nothing.
    pub fn heartbeat(
        &mut self,
        request: ConsumerHeartbeat,
        topics: &dyn TopicsView,
        limits: &ConsumerLimits,
        now: Now,
        effects: &mut Effects,
    ) -> Result<ConsumerHeartbeatAnswer, GroupError> {
        if request.member_epoch < 0 {
            return self.leave_by_heartbeat(request, topics, now, effects);
        }
        self.check_room(&request.member_id, limits)?;
        let found = self.find(&request)?;
        let regex = self.check_regex(request.topic_regex.as_deref())?;
        let is_full = is_full(&request);
        if matches!(found, Found::Known) && self.is_settled(&request, topics, limits, now) {
            return Ok(self.answer_settled(request, is_full, limits, now));
        }
        let id: Arc<str> = match request.member_id.as_str() {
            "" => request.new_member_id.as_str().into(),
            id => id.into(),
        };
        self.admit(&id, found, limits, now, effects);
        let became_consumer = self.end_classic(&id);
        let update = Update {
            instance_id: request.instance_id,
            rack_id: request.rack_id,
            rebalance_timeout_ms: (request.rebalance_timeout_ms != -1)
                .then_some(request.rebalance_timeout_ms),
            topics: request.topics,
            topic_regex: request.topic_regex,
            assignor: request.assignor.as_deref().and_then(Assignor::by_name),
        };
        let mut changes = self.update(&id, update, regex.as_ref(), topics, now);
        changes.stored |= self.update_client(&id, request.client) | became_consumer;
        if changes.stored {
            effects.changed(RowKey::Member(Arc::clone(&id)));
        }
        let has_changed = self.settle(&id, changes, request.owned.as_ref(), topics, limits, now, effects);
        self.start_session(&id, limits, now);
        let member = &self.members[&id];
        let assigned = &member.stored.standing.assigned;
        Ok(ConsumerHeartbeatAnswer {
            member_id: Some(id.as_ref().to_owned()),
            member_epoch: member.epoch(),
            heartbeat_interval_ms: limits.heartbeat_interval_ms,
            assignment: (is_full || has_changed).then(|| assigned.partitions()),
        })
    }

    /// Whether a member's heartbeat brings nothing new, and there is nothing new to tell it. This is what nearly all
    /// heartbeats are, so it looks and does not copy.
    fn is_settled(
        &self,
        request: &ConsumerHeartbeat,
        topics: &dyn TopicsView,
        limits: &ConsumerLimits,
        now: Now,
    ) -> bool {
        let Some(member) = self.members.get(request.member_id.as_str()) else { return false };
        self.group_epoch == self.assignment_epoch
            && self.topics_version == Some(topics.version())
            && member.stored.standing.is_reconciled_to(self.assignment_epoch)
            && says_nothing_new(member, request)
            && !self.regexes_are_due(topics, limits, now)
    }

    fn answer_settled(
        &mut self,
        request: ConsumerHeartbeat,
        is_full: bool,
        limits: &ConsumerLimits,
        now: Now,
    ) -> ConsumerHeartbeatAnswer {
        self.start_session(&request.member_id, limits, now);
        let standing = self.members.get(request.member_id.as_str()).map(|member| &member.stored.standing);
        ConsumerHeartbeatAnswer {
            member_id: Some(request.member_id),
            member_epoch: self.assignment_epoch,
            heartbeat_interval_ms: limits.heartbeat_interval_ms,
            assignment: standing.filter(|_| is_full).map(|standing| standing.assigned.partitions()),
        }
    }

    /// `group.consumer.max.size`. As in Kafka it comes before anything else that is wrong with who asks.
    pub(super) fn check_room(&self, member_id: &str, limits: &ConsumerLimits) -> Result<(), GroupError> {
        if self.members.len() < limits.members_max || self.members.contains_key(member_id) {
            Ok(())
        } else {
            Err(GroupError::GroupMaxSizeReached)
        }
    }

    /// Compiles an expression that no member uses yet; one that is in use was found good before.
    fn check_regex(&self, pattern: Option<&str>) -> Result<Option<Regex>, GroupError> {
        match pattern {
            None | Some("") => Ok(None),
            Some(pattern) if self.subscriptions.resolved(pattern).is_some() => Ok(None),
            Some(pattern) => topic_regex::compile(pattern).map(Some),
        }
    }

    /// Lets a new member in, or one in the place of another.
    pub(super) fn admit(
        &mut self,
        id: &Arc<str>,
        found: Found,
        limits: &ConsumerLimits,
        now: Now,
        effects: &mut Effects,
    ) {
        match found {
            Found::Known => return,
            Found::New => self.insert(Arc::clone(id), StoredMember::new(), limits, now),
            Found::Replaces(old_id) => self.replace(&old_id, id, limits, now, effects),
        }
        effects.changed(RowKey::Member(Arc::clone(id)));
        // A group that has just been made has no row either.
        effects.changed(RowKey::Head);
        effects.notice(Notice::MemberJoined(Arc::clone(id)));
    }

    /// Takes in what a member says of itself.
    pub(super) fn update(
        &mut self,
        id: &str,
        update: Update,
        compiled: Option<&Regex>,
        topics: &dyn TopicsView,
        now: Now,
    ) -> Changes {
        let mut changes = Changes::default();
        if let Some(instance_id) = update.instance_id {
            changes.stored |= self.set_instance_id(id, &instance_id);
        }
        changes.subscription |= update.topics.is_some_and(|names| self.set_topics(id, names));
        changes.subscription |=
            update.topic_regex.is_some_and(|pattern| self.set_regex(id, &pattern, compiled, topics, now));
        let Some(member) = self.members.get_mut(id) else { return changes };
        let stored = &mut member.stored;
        if let Some(rack_id) = update.rack_id
            && stored.rack_id.as_deref() != Some(&rack_id)
        {
            stored.rack_id = Some(rack_id.into());
            changes.stored = true;
        }
        if let Some(timeout_ms) = update.rebalance_timeout_ms {
            changes.stored |= std::mem::replace(&mut stored.rebalance_timeout_ms, timeout_ms) != timeout_ms;
        }
        if update.assignor.is_some() {
            changes.stored |= std::mem::replace(&mut stored.assignor, update.assignor) != update.assignor;
        }
        changes.stored |= changes.subscription;
        changes
    }

    /// Sets who the member is. Says whether that is something new.
    pub(super) fn update_client(&mut self, id: &str, client: super::super::request::Client) -> bool {
        let Some(member) = self.members.get_mut(id) else { return false };
        let has_changed = member.stored.client != client;
        member.stored.client = client;
        has_changed
    }

    fn set_topics(&mut self, id: &str, names: Vec<String>) -> bool {
        let Some(member) = self.members.get_mut(id) else { return false };
        if are_same(&member.stored.topics, &names) {
            return false;
        }
        let names: BTreeSet<Arc<str>> = names.iter().map(|name| self.subscriptions.share(name)).collect();
        self.subscriptions.add_names(&names);
        let before = std::mem::replace(&mut member.stored.topics, names);
        self.subscriptions.remove_names(&before);
        true
    }

    /// Sets the expression; an empty one is none. A new one is resolved at once.
    fn set_regex(
        &mut self,
        id: &str,
        pattern: &str,
        compiled: Option<&Regex>,
        topics: &dyn TopicsView,
        now: Now,
    ) -> bool {
        let Some(member) = self.members.get_mut(id) else { return false };
        if member.stored.topic_regex.as_deref().unwrap_or_default() == pattern {
            return false;
        }
        let pattern: Option<Arc<str>> = (!pattern.is_empty()).then(|| pattern.into());
        let before = std::mem::replace(&mut member.stored.topic_regex, pattern.clone());
        if let Some(pattern) = pattern
            && self.subscriptions.add_regex(&pattern)
        {
            // It was compiled when the request was checked, unless its last user was this member's id's former owner.
            let resolved = match compiled {
                Some(compiled) => topic_regex::resolve(compiled, topics),
                None => topic_regex::compile(&pattern)
                    .map_or_else(|_| BTreeSet::new(), |compiled| topic_regex::resolve(&compiled, topics)),
            };
            self.subscriptions.set_resolved(&pattern, resolved);
            if self.subscriptions.regexes().len() == 1 {
                self.note_refreshed(topics, now);
            }
        }
        if let Some(before) = before {
            self.subscriptions.remove_regex(&before);
        }
        true
    }

    /// Brings the epochs, the target assignment and the member up to date, in this order. Says whether the member's
    /// assignment changed.
    #[expect(clippy::too_many_arguments, reason = "one step of two requests, with all they came with")]
    pub(super) fn settle(
        &mut self,
        id: &Arc<str>,
        changes: Changes,
        reported: Option<&Partitions>,
        topics: &dyn TopicsView,
        limits: &ConsumerLimits,
        now: Now,
        effects: &mut Effects,
    ) -> bool {
        self.update_epoch(id, changes, topics, limits, now, effects);
        self.update_target(topics, limits, effects);
        let has_changed = self.reconcile(id, changes, reported, topics, now, effects);
        self.note_progress(now, effects);
        has_changed
    }

    /// Begins a new group epoch when what the members subscribe to has changed.
    pub(super) fn update_epoch(
        &mut self,
        id: &Arc<str>,
        changes: Changes,
        topics: &dyn TopicsView,
        limits: &ConsumerLimits,
        now: Now,
        effects: &mut Effects,
    ) {
        let mut reason = changes.subscription.then(|| format!("member {id} changed its subscription"));
        if self.regexes_are_due(topics, limits, now) && self.refresh_regexes(topics, now, effects) {
            reason.get_or_insert_with(|| "an expression matches other topics than before".to_owned());
        }
        if reason.is_some() || self.topics_version != Some(topics.version()) {
            let hash = self.subscriptions.metadata_hash(topics);
            if hash != self.metadata_hash {
                self.metadata_hash = hash;
                reason.get_or_insert_with(|| "topics that the group subscribes to changed".to_owned());
            }
            self.topics_version = Some(topics.version());
        }
        if let Some(reason) = reason {
            self.bump_epoch(reason, now, effects);
        }
    }

    /// Takes a member one step towards its target. Says whether its assignment changed.
    pub(super) fn reconcile(
        &mut self,
        id: &Arc<str>,
        changes: Changes,
        reported: Option<&Partitions>,
        topics: &dyn TopicsView,
        now: Now,
        effects: &mut Effects,
    ) -> bool {
        let Some(member) = self.members.get(id) else { return false };
        let standing = &member.stored.standing;
        let is_subscribed = |topic| {
            let topic = topics.by_id(topic);
            topic.is_some_and(|topic| self.subscriptions.of(member).any(|name| *name == topic.name))
        };
        let step = reconcile::next(
            standing,
            &reconcile::Situation {
                target_epoch: self.assignment_epoch,
                target: &member.stored.target,
                reported,
                is_held_by_another: &|topic, partition| self.is_held_by_another(standing, topic, partition),
                new_subscription: changes.subscription.then_some(&is_subscribed),
            },
        );
        let Some(step) = step else { return false };
        let has_changed = step.assigned != standing.assigned;
        self.set_standing(id, step, effects);
        self.time_revocation(id, now);
        has_changed
    }
}

/// Whether a request says all that a member can say: then it is told all, since it may have lost what it was told before.
fn is_full(request: &ConsumerHeartbeat) -> bool {
    let has_subscription = request.topics.is_some() || request.topic_regex.is_some();
    request.member_epoch == 0
        || (request.rebalance_timeout_ms != -1 && has_subscription && request.owned.is_some())
}

fn says_nothing_new(member: &Member, request: &ConsumerHeartbeat) -> bool {
    let stored = &member.stored;
    let is_as_before = |said: &Option<String>, known: Option<&str>| {
        said.as_deref().is_none_or(|said| said == known.unwrap_or_default())
    };
    !member.is_classic()
        && stored.client == request.client
        && is_as_before(&request.instance_id, stored.instance_id.as_deref())
        && is_as_before(&request.rack_id, stored.rack_id.as_deref())
        && is_as_before(&request.topic_regex, stored.topic_regex.as_deref())
        && is_as_before(&request.assignor, stored.assignor.map(Assignor::name))
        && (request.rebalance_timeout_ms == -1 || request.rebalance_timeout_ms == stored.rebalance_timeout_ms)
        && request.topics.as_ref().is_none_or(|names| are_same(&stored.topics, names))
}

fn are_same(known: &BTreeSet<Arc<str>>, said: &[String]) -> bool {
    let said: BTreeSet<&str> = said.iter().map(String::as_str).collect();
    known.len() == said.len() && known.iter().zip(said).all(|(known, said)| **known == *said)
}
