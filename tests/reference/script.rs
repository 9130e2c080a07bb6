//! What a script can do: ask over named connections, wait for answers, and tell its steps apart.

use std::any::type_name;
use std::collections::HashMap;
use std::fmt::Debug;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, CreateTopicsRequest, DeleteGroupsRequest, DescribeGroupsRequest,
    FindCoordinatorRequest,
};
use kafka_protocol::protocol::Request;
use uuid::Uuid;

use super::mask::Mask;
use super::requests::{self, text};
use super::support::client::{decode, frame};
use super::transaction_requests;
use super::transcript::{REMARK, Step};
use super::value::Value;

/// After so long a request counts as never answered. Scripts say what comes, not how fast.
const ANSWER_GUARD: Duration = Duration::from_secs(10);
/// A request that is to wait has this long to show that it does, and to take its place before what is sent next.
const PARKED: Duration = Duration::from_millis(200);
/// Pause between two looks at something that a script waits for.
const POLL: Duration = Duration::from_millis(20);

/// A connection, and the request on it that has no answer yet.
struct Connection {
    stream: TcpStream,
    next_correlation_id: i32,
}

/// Why there is no answer.
enum NoAnswer {
    Closed,
    Late,
}

/// A script while it is played.
pub struct Script {
    address: SocketAddr,
    mask: Mask,
    steps: Vec<Step>,
    connections: HashMap<String, Connection>,
    /// By connection: the version of a request that waits, or the answer that came while it should have waited.
    parked: HashMap<String, (i16, Option<Vec<u8>>)>,
    topics: HashMap<String, Uuid>,
}

impl Script {
    /// A script that has not begun.
    pub fn new(name: &str, address: SocketAddr) -> Script {
        let run = Uuid::new_v4().simple().to_string();
        Script {
            address,
            mask: Mask::new(name, &run[..6]),
            steps: Vec::new(),
            connections: HashMap::new(),
            parked: HashMap::new(),
            topics: HashMap::new(),
        }
    }

    /// Waits until the broker coordinates groups and transactions, which is not part of any script.
    pub fn find_coordinators(&mut self) {
        for key_type in [0, 1] {
            let request = FindCoordinatorRequest::default()
                .with_key_type(key_type)
                .with_coordinator_keys(vec![text("any")]);
            let deadline = Instant::now() + ANSWER_GUARD;
            while Instant::now() < deadline {
                let found = self.quiet(4, &request);
                if found.coordinators.first().is_some_and(|coordinator| coordinator.error_code == 0) {
                    break;
                }
                std::thread::sleep(POLL);
            }
        }
        // Looked up is not loaded yet.
        let request = DescribeGroupsRequest::default().with_groups(vec![requests::group(&self.name("none"))]);
        let deadline = Instant::now() + ANSWER_GUARD;
        while Instant::now() < deadline {
            let described = self.quiet(5, &request);
            if described.groups.first().is_some_and(|group| group.error_code == 0) {
                break;
            }
            std::thread::sleep(POLL);
        }
        // The one group whose name scripts share: another one may have left offsets there.
        self.quiet(2, &DeleteGroupsRequest::default().with_groups_names(requests::groups(&[""])));
    }

    /// The steps as they were played.
    pub fn finished(mut self) -> Vec<Step> {
        std::mem::take(&mut self.steps)
    }

    /// What a group or a topic of the script is called on the broker.
    pub fn name(&self, name: &str) -> String {
        self.mask.real_name(name)
    }

    /// Creates a topic, unrecorded, and returns its name on the broker.
    pub fn topic(&mut self, name: &str, partitions: i32) -> String {
        let real = self.name(name);
        let topic = super::support::request::new_topic(&real, partitions, &[]);
        let request: CreateTopicsRequest = super::support::request::create_topics(vec![topic]);
        let created = self.quiet(7, &request);
        let id = created.topics.first().filter(|topic| topic.error_code == 0).map(|topic| topic.topic_id);
        let id = id.unwrap_or_else(|| panic!("{name} was not created: {created:?}"));
        self.mask.know_topic(id, name);
        self.topics.insert(real.clone(), id);
        self.until_coordinated(&real);
        real
    }

    /// A topic is created before the coordinator knows it. Waits until a consumer, of a group that no script sees, is
    /// given its partitions.
    fn until_coordinated(&mut self, topic: &str) {
        let deadline = Instant::now() + ANSWER_GUARD;
        while Instant::now() < deadline {
            let request = requests::enter(&format!("probe.{topic}"), "probe", &[topic]);
            let answer = self.quiet(0, &request);
            let is_given = answer.assignment.is_some_and(|given| !given.topic_partitions.is_empty());
            if is_given || answer.member_id.is_none() {
                break;
            }
            std::thread::sleep(POLL);
        }
        self.quiet(0, &requests::beat(&format!("probe.{topic}"), "probe", -1));
        // Other groups' part of the coordinator is told at about the same time.
        std::thread::sleep(POLL);
    }

    /// From now on this id reads as the topic.
    pub fn know_topic(&mut self, id: Uuid, name: &str) {
        self.mask.know_topic(id, name);
    }

    /// The id of a topic of this script, by its name on the broker.
    pub fn topic_id(&self, real: &str) -> Uuid {
        self.topics[real]
    }

    /// From here on is another step. Titles are unique.
    pub fn step(&mut self, title: &str) {
        assert!(!self.steps.iter().any(|step| step.title == title), "two steps are called {title:?}");
        self.steps.push(Step { title: title.to_owned(), lines: Vec::new() });
    }

    /// Sends a request and records the answer. Without one the response is the default one, so that the script goes on.
    pub fn call<Q>(&mut self, connection: &str, version: i16, request: &Q) -> Q::Response
    where
        Q: Request + Debug + Default,
        Q::Response: Debug + Default,
    {
        self.record_request(connection, version, request);
        let answer = self.send(connection, version, request, ANSWER_GUARD);
        self.record_answer::<Q>(connection, version, answer)
    }

    /// Sends a request, on a connection of its own, without recording anything.
    pub fn quiet<Q>(&mut self, version: i16, request: &Q) -> Q::Response
    where
        Q: Request,
        Q::Response: Default,
    {
        match self.send("(quiet)", version, request, ANSWER_GUARD) {
            Ok(answer) => decode::<Q>(version, answer).1,
            Err(_) => Q::Response::default(),
        }
    }

    /// Sends a request that is answered only after other steps. [`Script::finish`] takes the answer.
    pub fn park<Q>(&mut self, connection: &str, version: i16, request: &Q)
    where
        Q: Request + Debug + Default,
        Q::Response: Debug + Default,
    {
        self.record_request(connection, version, request);
        match self.send(connection, version, request, PARKED) {
            Err(NoAnswer::Late) => {
                self.line(format!("{connection} . (waits)"));
                self.parked.insert(connection.to_owned(), (version, None));
            }
            Err(NoAnswer::Closed) => {
                self.record_answer::<Q>(connection, version, Err(NoAnswer::Closed));
            }
            Ok(answer) => {
                self.record_answer::<Q>(connection, version, Ok(answer.clone()));
                self.parked.insert(connection.to_owned(), (version, Some(answer)));
            }
        }
    }

    /// Records that a request still waits.
    pub fn still_waits(&mut self, connection: &str) {
        let waits = self.parked.get(connection).is_some_and(|(_, answer)| answer.is_none());
        let waits = waits && {
            let stream = &self.connections[connection].stream;
            set_timeout(stream, PARKED);
            matches!(stream.peek(&mut [0]), Err(error) if is_late(error.kind()))
        };
        self.line(format!("{connection} . ({})", if waits { "still waits" } else { "does not wait" }));
    }

    /// Takes the answer to a request that waited and records nothing: the script says what is to be noted of it.
    pub fn finish_unrecorded<Q>(&mut self, connection: &str) -> Q::Response
    where
        Q: Request,
        Q::Response: Default,
    {
        let Some((version, early)) = self.parked.remove(connection) else { return Q::Response::default() };
        let late = || self.connections.get_mut(connection).and_then(|open| open.read().ok());
        early.or_else(late).map_or_else(Q::Response::default, |answer| decode::<Q>(version, answer).1)
    }

    /// Records what a script has found out of answers that are not recorded themselves.
    pub fn note(&mut self, text: &str) {
        self.line(format!("! {text}"));
    }

    /// Records the answer to a request that waited.
    pub fn finish<Q>(&mut self, connection: &str) -> Q::Response
    where
        Q: Request + Debug + Default,
        Q::Response: Debug + Default,
    {
        match self.parked.remove(connection) {
            Some((version, Some(answer))) => decode::<Q>(version, answer).1,
            Some((version, None)) => {
                let answer =
                    self.connections.get_mut(connection).map_or(Err(NoAnswer::Closed), Connection::read);
                self.record_answer::<Q>(connection, version, answer)
            }
            None => {
                self.line(format!("{connection} . (nothing waits)"));
                Q::Response::default()
            }
        }
    }

    /// Repeats a request until its answer is as wanted, and records the last one.
    pub fn repeat<Q>(
        &mut self,
        connection: &str,
        version: i16,
        request: &Q,
        wanted: impl Fn(&Q::Response) -> bool,
    ) -> Q::Response
    where
        Q: Request + Debug + Default,
        Q::Response: Debug + Default,
    {
        self.record_request(connection, version, request);
        let deadline = Instant::now() + ANSWER_GUARD;
        loop {
            let answer = self.send(connection, version, request, ANSWER_GUARD);
            let is_last = Instant::now() > deadline
                || answer.as_ref().is_ok_and(|answer| wanted(&decode::<Q>(version, answer.clone()).1));
            if is_last {
                return self.record_answer::<Q>(connection, version, answer);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits, unrecorded, until a classic group is in this state.
    pub fn until_classic(&mut self, group: &str, state: &str) {
        let request = DescribeGroupsRequest::default().with_groups(vec![requests::group(group)]);
        self.until(group, state, |script| {
            let described = script.quiet(5, &request);
            described.groups.first().map_or(String::new(), |group| group.group_state.to_string())
        });
    }

    /// Waits, unrecorded, until a consumer group has so many members.
    pub fn until_members(&mut self, group: &str, members: usize) {
        let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![requests::group(group)]);
        self.until(group, &members.to_string(), |script| {
            let described = script.quiet(0, &request);
            described.groups.first().map_or(String::new(), |group| group.members.len().to_string())
        });
    }

    /// From now on this producer id has a name.
    pub fn know_producer(&mut self, id: i64) {
        self.mask.know_producer(id);
    }

    /// Asks, unrecorded, until the error is none: what a transaction did before may be under way still.
    pub fn until_done(&mut self, mut ask: impl FnMut(&mut Script) -> i16) {
        let deadline = Instant::now() + ANSWER_GUARD;
        let mut error = ask(self);
        while error != 0 && Instant::now() < deadline {
            std::thread::sleep(POLL);
            error = ask(self);
        }
        if error != 0 {
            self.line(format!("! what should be done fails with {error}"));
        }
    }

    /// Waits, unrecorded, until a transactional id is in this state: until markers are written, for one that is complete.
    pub fn until_transaction(&mut self, id: &str, state: &str) {
        let request = transaction_requests::describe(&[id]);
        self.until(id, state, |script| {
            let described = script.quiet(0, &request);
            described.transaction_states.first().map_or(String::new(), |of| of.transaction_state.to_string())
        });
    }

    fn until(&mut self, group: &str, wanted: &str, look: impl Fn(&mut Script) -> String) {
        let deadline = Instant::now() + ANSWER_GUARD;
        loop {
            let found = look(self);
            if found == wanted {
                return;
            }
            if Instant::now() > deadline {
                return self.line(format!("! {} is {found:?}, not {wanted:?}", self.shown(group)));
            }
            std::thread::sleep(POLL);
        }
    }

    fn shown(&self, name: &str) -> String {
        name.split("--").next().unwrap_or_default().to_owned()
    }

    fn send<Q: Request>(
        &mut self,
        connection: &str,
        version: i16,
        request: &Q,
        guard: Duration,
    ) -> Result<Vec<u8>, NoAnswer> {
        let address = self.address;
        let open = self.connections.entry(connection.to_owned()).or_insert_with(|| Connection::open(address));
        let answer = open.ask(version, request, guard);
        let is_of_no_use = match answer {
            Err(NoAnswer::Closed) => true,
            // The answer that comes too late must not be taken for the next one's.
            Err(NoAnswer::Late) => guard == ANSWER_GUARD,
            Ok(_) => false,
        };
        if is_of_no_use {
            self.connections.remove(connection);
        }
        answer
    }

    fn record_request<Q: Request + Debug + Default>(&mut self, connection: &str, version: i16, request: &Q) {
        let api = type_name::<Q>().rsplit("::").next().unwrap_or_default();
        let api = api.strip_suffix("Request").unwrap_or(api);
        let (given, default) = (Value::of(request), Value::of(&Q::default()));
        // A timeout that is not shown is the usual one.
        let usual_timeout = Value::Word(requests::LONG_MS.to_string());
        let is_shown = |name: &str, value: &Value| {
            let is_default = default.field(name) == Some(value);
            *value != usual_timeout && (!is_default || (api == "JoinGroup" && name.ends_with("timeout_ms")))
        };
        let said = match given {
            Value::Struct(fields) => {
                Value::Struct(fields.into_iter().filter(|(name, value)| is_shown(name, value)).collect())
            }
            other => other,
        };
        let said = self.mask.message(said, false, &mut Vec::new());
        self.record(&format!("{connection} > {api} v{version} "), &said);
    }

    fn record_answer<Q>(
        &mut self,
        connection: &str,
        version: i16,
        answer: Result<Vec<u8>, NoAnswer>,
    ) -> Q::Response
    where
        Q: Request,
        Q::Response: Debug + Default,
    {
        match answer {
            Ok(answer) => {
                let (_, response) = decode::<Q>(version, answer);
                let mut messages = Vec::new();
                let shown = self.mask.message(Value::of(&response), true, &mut messages);
                self.record(&format!("{connection} < "), &shown);
                messages.iter().for_each(|message| self.line(format!("{REMARK}{message:?}")));
                response
            }
            Err(NoAnswer::Closed) => {
                self.line(format!("{connection} < (closed)"));
                Q::Response::default()
            }
            Err(NoAnswer::Late) => {
                self.line(format!("{connection} < (no answer)"));
                Q::Response::default()
            }
        }
    }

    fn record(&mut self, head: &str, value: &Value) {
        for (at, line) in value.lines().into_iter().enumerate() {
            self.line(if at == 0 { format!("{head}{line}") } else { format!("    {line}") });
        }
    }

    fn line(&mut self, line: String) {
        self.steps.last_mut().expect("a script begins with a step").lines.push(line);
    }
}

impl Drop for Script {
    /// Shows how far a script came that could not go on.
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(step) = self.steps.last()
        {
            println!("it ended in {:?}:\n{}", step.title, step.lines.join("\n"));
        }
    }
}

impl Connection {
    fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).expect("the broker accepts connections");
        stream.set_nodelay(true).expect("a socket option");
        Connection { stream, next_correlation_id: 1 }
    }

    fn ask<Q: Request>(&mut self, version: i16, request: &Q, guard: Duration) -> Result<Vec<u8>, NoAnswer> {
        let frame = frame(self.next_correlation_id, version, request);
        self.next_correlation_id += 1;
        self.stream.write_all(&frame).map_err(|_| NoAnswer::Closed)?;
        set_timeout(&self.stream, guard);
        match self.stream.peek(&mut [0]) {
            Ok(0) => Err(NoAnswer::Closed),
            Ok(_) => self.read(),
            Err(error) if is_late(error.kind()) => Err(NoAnswer::Late),
            Err(_) => Err(NoAnswer::Closed),
        }
    }

    /// The next response frame, without its length prefix.
    fn read(&mut self) -> Result<Vec<u8>, NoAnswer> {
        set_timeout(&self.stream, ANSWER_GUARD);
        let missing = |error: std::io::Error| match is_late(error.kind()) {
            true => NoAnswer::Late,
            false => NoAnswer::Closed,
        };
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix).map_err(missing)?;
        let len = usize::try_from(i32::from_be_bytes(prefix)).expect("a length that is not negative");
        let mut content = vec![0; len];
        self.stream.read_exact(&mut content).map_err(missing)?;
        Ok(content)
    }
}

fn set_timeout(stream: &TcpStream, timeout: Duration) {
    stream.set_read_timeout(Some(timeout)).expect("a socket option");
}

fn is_late(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
