//! Incremental fetch sessions (KIP-227): a client names its partitions once, later requests name what changed, and the
//! answers hold only partitions with news. The rules are those of Kafka's `FetchManager.newContext`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

/// Session id of a request without a session.
pub const NO_SESSION: i32 = 0;
/// Epoch that asks for a new session.
const INITIAL_EPOCH: i32 = 0;
/// Epoch that closes the session and asks for a full fetch.
const FINAL_EPOCH: i32 = -1;
/// A session not used for so long may be replaced when the cache is full (`FetchSession` eviction, 2 minutes).
const EVICTABLE_AFTER: std::time::Duration = std::time::Duration::from_secs(120);

/// Partitions in all sessions together: about forty megabytes. Clients that ask for more are served without sessions.
const PARTITIONS_MAX: usize = 200_000;

/// Which partition a session fetches. Clients below version 13 name topics, others give ids.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Topic name; empty when the client gives ids.
    pub topic: Arc<str>,
    /// Topic id; nil when the client gives names.
    pub topic_id: Uuid,
    /// Partition number.
    pub partition: i32,
}

/// What a client asked of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// First offset wanted.
    pub offset: i64,
    /// Most bytes.
    pub max_bytes: i32,
    /// Leader epoch that the client knows, or -1.
    pub current_leader_epoch: i32,
    /// Epoch of the record before, or -1.
    pub last_fetched_epoch: i32,
}

/// A partition of a session: the wish, and what the client was last told.
#[derive(Debug, Clone, Copy)]
struct Cached {
    wish: Wish,
    high_watermark: i64,
    log_start_offset: i64,
    error: i16,
}

/// One client's session.
#[derive(Debug)]
struct Session {
    epoch: i32,
    uses_ids: bool,
    order: Vec<Key>,
    partitions: HashMap<Key, Cached>,
    last_used: Instant,
}

/// How a request is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Every partition, no session.
    Sessionless,
    /// Every partition, and the session now exists.
    Full { id: i32 },
    /// Only partitions with news.
    Incremental { id: i32 },
}

impl Mode {
    /// Session id that the answer carries.
    pub fn session_id(self) -> i32 {
        match self {
            Mode::Sessionless => NO_SESSION,
            Mode::Full { id } | Mode::Incremental { id } => id,
        }
    }
}

/// Why a session request is refused; the client falls back to a full fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionError {
    /// FETCH_SESSION_ID_NOT_FOUND
    NotFound,
    /// INVALID_FETCH_SESSION_EPOCH
    InvalidEpoch,
    /// FETCH_SESSION_TOPIC_ID_ERROR: the session began with names and the request has ids, or the other way round.
    TopicIds,
}

/// What a partition's answer says, for the decision whether it is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// High watermark.
    pub high_watermark: i64,
    /// Log start offset.
    pub log_start_offset: i64,
    /// Error code.
    pub error: i16,
    /// Whether there are records or a diverging epoch, which are always news.
    pub has_content: bool,
}

/// The sessions of all clients, bounded by `max.incremental.fetch.session.cache.slots`.
#[derive(Debug)]
pub struct FetchSessions {
    slots: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<i32, Session>,
    /// Partitions of all sessions.
    partitions: usize,
    next_id: i32,
}

impl FetchSessions {
    /// A cache of at most `slots` sessions.
    pub fn new(slots: usize) -> FetchSessions {
        FetchSessions { slots, state: Mutex::default() }
    }

    /// Finds out how a request is to be answered, and which partitions it covers, in the order of the session.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn begin(
        &self,
        id: i32,
        epoch: i32,
        uses_ids: bool,
        named: Vec<(Key, Wish)>,
        forgotten: &[Key],
        now: Instant,
    ) -> Result<(Mode, Vec<(Key, Wish)>), SessionError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
            if id != NO_SESSION {
                state.remove(id);
            }
            if epoch == FINAL_EPOCH || named.is_empty() {
                return Ok((Mode::Sessionless, named));
            }
            let mode = match state.open(self.slots, uses_ids, &named, now) {
                Some(id) => Mode::Full { id },
                None => Mode::Sessionless,
            };
            return Ok((mode, named));
        }
        let session = state.sessions.get_mut(&id).ok_or(SessionError::NotFound)?;
        if session.epoch != epoch {
            return Err(SessionError::InvalidEpoch);
        }
        if session.uses_ids != uses_ids {
            return Err(SessionError::TopicIds);
        }
        state.partitions -= session.partitions.len();
        session.update(named, forgotten);
        state.partitions += session.partitions.len();
        if state.partitions > PARTITIONS_MAX {
            // The client begins anew and is then served without a session.
            state.remove(id);
            return Err(SessionError::NotFound);
        }
        session.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        session.last_used = now;
        let wishes =
            session.order.iter().filter_map(|key| Some((key.clone(), session.partitions.get(key)?.wish)));
        Ok((Mode::Incremental { id }, wishes.collect()))
    }

    /// Which partitions belong into the answer, in the order given; notes what the client is told.
    pub fn news<'a>(&self, mode: Mode, told: impl Iterator<Item = (&'a Key, Told)>) -> Vec<bool> {
        let id = match mode {
            Mode::Sessionless => return told.map(|_| true).collect(),
            Mode::Full { id } | Mode::Incremental { id } => id,
        };
        let mut state = self.state.lock();
        // A session that was replaced meanwhile: the client hears everything and, next time, that it is gone.
        let Some(session) = state.sessions.get_mut(&id) else {
            return told.map(|_| true).collect();
        };
        let all = matches!(mode, Mode::Full { .. });
        let mut served = HashSet::new();
        let news = told.map(|(key, told)| {
            if told.has_content {
                served.insert(key);
            }
            session.partitions.get_mut(key).is_none_or(|cached| cached.is_news(told)) || all
        });
        let news = news.collect();
        // Who got records goes to the end: with a byte limit the others come first next time.
        if !served.is_empty() && served.len() < session.order.len() {
            let (served, others) = session.order.drain(..).partition(|key| served.contains(key));
            session.order = others;
            session.order.extend::<Vec<Key>>(served);
        }
        news
    }

    /// Sessions now.
    pub fn len(&self) -> usize {
        self.state.lock().sessions.len()
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Cached {
    /// Whether the client does not know this yet; it does afterwards.
    fn is_news(&mut self, told: Told) -> bool {
        let news = told.has_content
            || told.error != 0
            || self.error != told.error
            || self.high_watermark != told.high_watermark
            || self.log_start_offset != told.log_start_offset;
        self.high_watermark = told.high_watermark;
        self.log_start_offset = told.log_start_offset;
        self.error = told.error;
        news
    }
}

impl State {
    fn open(&mut self, slots: usize, uses_ids: bool, named: &[(Key, Wish)], now: Instant) -> Option<i32> {
        while self.sessions.len() >= slots || self.partitions + named.len() > PARTITIONS_MAX {
            let oldest =
                self.sessions.iter().min_by_key(|(_, session)| session.last_used).map(|(id, _)| *id)?;
            if now.duration_since(self.sessions[&oldest].last_used) < EVICTABLE_AFTER {
                return None;
            }
            self.remove(oldest);
        }
        loop {
            self.next_id = if self.next_id == i32::MAX { 1 } else { self.next_id + 1 };
            if !self.sessions.contains_key(&self.next_id) {
                break;
            }
        }
        let mut session =
            Session { epoch: 1, uses_ids, order: Vec::new(), partitions: HashMap::new(), last_used: now };
        session.update(named.to_vec(), &[]);
        self.partitions += session.partitions.len();
        self.sessions.insert(self.next_id, session);
        Some(self.next_id)
    }

    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.partitions -= session.partitions.len();
        }
    }
}

impl Session {
    fn update(&mut self, named: Vec<(Key, Wish)>, forgotten: &[Key]) {
        for key in forgotten {
            self.partitions.remove(key);
        }
        if self.order.len() > self.partitions.len() {
            // One pass for all of them: a client may forget as many as it named.
            self.order.retain(|key| self.partitions.contains_key(key));
        }
        for (key, wish) in named {
            if let Some(cached) = self.partitions.get_mut(&key) {
                cached.wish = wish;
            } else {
                self.order.push(key.clone());
                self.partitions
                    .insert(key, Cached { wish, high_watermark: -1, log_start_offset: -1, error: 0 });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn key(partition: i32) -> Key {
        Key { topic: "t".into(), topic_id: Uuid::nil(), partition }
    }

    fn wish(offset: i64) -> Wish {
        Wish { offset, max_bytes: 1, current_leader_epoch: -1, last_fetched_epoch: -1 }
    }

    fn told(high_watermark: i64, has_content: bool) -> Told {
        Told { high_watermark, log_start_offset: 0, error: 0, has_content }
    }

    #[test]
    fn a_session_remembers_partitions_and_tells_only_news() {
        let sessions = FetchSessions::new(10);
        let now = Instant::now();
        let named = vec![(key(0), wish(0)), (key(1), wish(0))];
        let (mode, all) = sessions.begin(0, 0, false, named, &[], now).unwrap();
        let Mode::Full { id } = mode else { panic!("a session is opened, not {mode:?}") };
        assert_eq!(all.len(), 2);
        let both = [(&key(0), told(5, true)), (&key(1), told(0, false))];
        assert_eq!(
            sessions.news(mode, both.into_iter()),
            [true, true],
            "a full answer names every partition"
        );

        let (mode, all) = sessions.begin(id, 1, false, vec![(key(0), wish(5))], &[], now).unwrap();
        assert_eq!(mode, Mode::Incremental { id });
        assert_eq!(all, vec![(key(1), wish(0)), (key(0), wish(5))], "who got records comes last");
        let both = [(&key(1), told(0, false)), (&key(0), told(6, false))];
        assert_eq!(sessions.news(mode, both.into_iter()), [false, true], "a moved high watermark is news");

        assert_eq!(sessions.begin(id, 1, false, vec![], &[], now), Err(SessionError::InvalidEpoch));
        assert_eq!(sessions.begin(id, 2, true, vec![], &[], now), Err(SessionError::TopicIds));
        assert_eq!(sessions.begin(id + 1, 1, false, vec![], &[], now), Err(SessionError::NotFound));
        let (_, all) = sessions.begin(id, 2, false, vec![], &[key(1)], now).unwrap();
        assert_eq!(all, vec![(key(0), wish(5))]);
        sessions.begin(id, -1, false, vec![], &[], now).unwrap();
        assert!(sessions.is_empty());
    }

    #[test]
    fn partitions_are_bounded_over_all_sessions() {
        let sessions = FetchSessions::new(10);
        let now = Instant::now();
        let many = |count: usize| (0..count as i32).map(|index| (key(index), wish(0))).collect::<Vec<_>>();
        let open = |count, now| sessions.begin(0, 0, false, many(count), &[], now).unwrap().0;
        let Mode::Full { id } = open(PARTITIONS_MAX - 1, now) else { panic!("it fits") };
        assert_eq!(open(2, now), Mode::Sessionless);
        let grown = sessions.begin(id, 1, false, many(PARTITIONS_MAX + 1), &[], now);
        assert_eq!(grown, Err(SessionError::NotFound), "a session that outgrows the bound is closed");
        assert!(matches!(open(PARTITIONS_MAX, now), Mode::Full { .. }), "its partitions no longer count");
        assert!(matches!(open(2, now + EVICTABLE_AFTER), Mode::Full { .. }));
        assert_eq!((sessions.len(), sessions.state.lock().partitions), (1, 2));
    }

    #[test]
    fn a_full_cache_replaces_only_what_is_long_unused() {
        let sessions = FetchSessions::new(1);
        let now = Instant::now();
        let open = |now| sessions.begin(0, 0, false, vec![(key(0), wish(0))], &[], now).unwrap().0;
        assert!(matches!(open(now), Mode::Full { .. }));
        assert_eq!(open(now + Duration::from_secs(1)), Mode::Sessionless);
        assert!(matches!(open(now + Duration::from_secs(121)), Mode::Full { .. }));
        assert_eq!(sessions.len(), 1);
    }
}
