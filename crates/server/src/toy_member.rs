//! A member without a log, for tests of the shell: the state machine alone, on a thread.
//!
//! It answers as a sole voter does, with the real data, leases and watches. What it does not have
//! is durability, peers and elections.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use node::applier::{Applier, ApplierShell, Garbage};
use node::messages::{ApplierInput, ApplierOutput, Committed, Membership, Payload, Standing};
use prost::Message;
use state::alarms::Quota;
use state::command::{ClusterVersion, Command, Operation, begin_batch, push_command};
use state::engine::memory::MemoryEngine;
use state::members::Member;
use state::watch::{StreamId, StreamInput};
use state::{ClusterId, ClusterTime, LogIndex, MemberId, RequestId, State, Term};

use crate::core::{CoreInput, CoreReceiver};
use crate::grpc::Services;
use crate::handle::{Beacon, HandleParts, NodeHandle, Settings};
use crate::listen::{
    Bound, Door, Frontend, ListenAddress, ListenSettings, Serves, Shutdown, SocketOptions,
};
use crate::waiters::Waiters;
use crate::watch_queue::WatchQueues;

pub(crate) const MEMBER: MemberId = MemberId(0x8e9e_05c5_2164_694d);
const CLUSTER: ClusterId = ClusterId(0xcdf8_181e_3227_0b4f);
const TERM: Term = Term(2);

/// A running member.
pub(crate) struct ToyMember {
    pub(crate) handle: NodeHandle,
    pub(crate) shutdown: Shutdown,
    pub(crate) port: u16,
    pub(crate) frontend: Option<Frontend>,
    beacon: Arc<Beacon>,
    core: Option<JoinHandle<()>>,
    watch_streams: Arc<AtomicUsize>,
}

/// Small numbers, so that limits are met soon.
pub(crate) fn settings() -> Settings {
    Settings {
        max_txn_ops: 128,
        max_request_bytes: 1_572_864,
        request_timeout: Duration::from_secs(7),
        progress_interval: Duration::from_secs(600),
        lease_ttl_min_s: 2,
        max_concurrent_streams: u32::MAX,
        quota_setting: 0,
        quota: Quota(Some(64 << 20)),
        slow_read: Duration::from_secs(1),
        slow_request: Duration::from_secs(1),
        unread_view: Duration::from_secs(600),
    }
}

impl ToyMember {
    pub(crate) fn start() -> ToyMember {
        ToyMember::with(settings())
    }

    pub(crate) fn with(settings: Settings) -> ToyMember {
        let state = State::open(Box::new(MemoryEngine::new()), settings.quota);
        let state = state.expect("an empty engine can be opened");
        let reader = state.reader().clone();
        let (core, inbox) = mpsc::channel();
        let running = Core::new(Applier::new(state, MEMBER));
        let watch_streams = Arc::clone(&running.shell.watch_streams);
        let thread = std::thread::spawn(move || running.run(&inbox));
        let beacon = Arc::new(Beacon::default());
        beacon.set(&standing());
        let handle = NodeHandle::new(HandleParts {
            core,
            reader,
            beacon: Arc::clone(&beacon),
            settings: settings.clone(),
            cluster: CLUSTER,
            member: MEMBER,
            started_ms: 1,
        });
        let any = ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
        let bound = Bound::bind(&any, SocketOptions::default());
        let bound = bound.expect("a free port");
        let port = bound.port().expect("it has a port");
        let shutdown = Shutdown::default();
        let grpc = Some(Services::new(handle.clone(), shutdown.clone()));
        let serves =
            Serves { grpc, http: crate::http::router(handle.clone(), crate::http::Origins::all()) };
        let listen = ListenSettings {
            threads: 2,
            ..ListenSettings::new(Duration::from_secs(5), settings.max_concurrent_streams)
        };
        let frontend = Frontend::start(vec![Door { bound, serves }], &shutdown, &listen);
        let frontend = Some(frontend.expect("threads can be started"));
        let core = Some(thread);
        ToyMember { handle, shutdown, port, frontend, beacon, core, watch_streams }
    }

    /// Those that have come and not left.
    pub(crate) fn watch_streams(&self) -> usize {
        self.watch_streams.load(Ordering::Relaxed)
    }

    /// From now on nobody leads.
    pub(crate) fn lose_leader(&self) {
        self.beacon.set(&Standing::default());
    }

    pub(crate) async fn propose(&self, operation: Operation) {
        let answer = self.handle.propose(operation).await.expect("served");
        answer.applied.expect("not refused");
    }

    pub(crate) async fn channel(&self) -> tonic::transport::Channel {
        let endpoint =
            tonic::transport::Endpoint::from_shared(format!("http://127.0.0.1:{}", self.port));
        endpoint.expect("a URL").connect().await.expect("the member listens")
    }
}

impl Drop for ToyMember {
    fn drop(&mut self) {
        self.shutdown.draining.cancel();
        self.shutdown.closed.cancel();
        let _ = self.handle.send(CoreInput::Stop);
        if let Some(frontend) = self.frontend.take() {
            frontend.join();
        }
        if let Some(core) = self.core.take() {
            core.join().expect("the core thread does not panic");
        }
    }
}

fn standing() -> Standing {
    Standing {
        term: TERM,
        leader: Some(MEMBER),
        is_leader: true,
        sole_voter: true,
        committed: LogIndex(0),
    }
}

struct Core {
    applier: Applier,
    inbox: VecDeque<ApplierInput>,
    shell: Shell,
    index: u64,
    started: Instant,
}

#[derive(Default)]
struct Shell {
    waiters: Waiters,
    streams: WatchQueues,
    watch_streams: Arc<AtomicUsize>,
    own: Vec<Bytes>,
}

impl Core {
    fn new(applier: Applier) -> Core {
        let inbox = VecDeque::from([ApplierInput::Standing(standing())]);
        let mut core =
            Core { applier, inbox, shell: Shell::default(), index: 0, started: Instant::now() };
        let member = Member {
            id: MEMBER.0,
            name: "default".to_owned(),
            peer_urls: vec!["http://localhost:2380".to_owned()],
            client_urls: vec!["http://localhost:2379".to_owned()],
            is_learner: false,
        };
        core.commit(Payload::Membership(Membership {
            member: MEMBER,
            context: member.encode_to_vec().into(),
            conf_state: Bytes::new(),
        }));
        let version = ClusterVersion { version: "3.7.0".to_owned() };
        let command = Command::new(RequestId(0), Operation::ClusterVersion(version));
        core.append(&command.encode_to_vec());
        core.turn();
        core
    }

    fn run(mut self, inbox: &CoreReceiver) {
        // Leases end without anybody asking.
        let tick = Duration::from_millis(50);
        loop {
            match inbox.recv_timeout(tick) {
                Ok(CoreInput::Propose { request, command, reply }) => {
                    self.shell.waiters.propose(request, reply);
                    self.append(&command);
                }
                // Nobody leads: a sole voter needs no round.
                Ok(CoreInput::ReadBarrier { reply }) => {
                    self.shell.waiters.read(reply);
                    self.shell.waiters.expire(Instant::now() + settings().request_timeout);
                }
                Ok(CoreInput::Query { request, query, reply }) => {
                    self.shell.waiters.query(request, reply);
                    self.inbox.push_back(ApplierInput::Query { request, query });
                }
                Ok(CoreInput::OpenWatch { stream, queue }) => {
                    self.shell.streams.open(stream, queue);
                }
                Ok(CoreInput::Watch(input)) => {
                    self.shell.streams.hear(&input);
                    self.inbox.push_back(ApplierInput::Watch(input));
                }
                Ok(CoreInput::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                #[allow(unreachable_patterns, reason = "the log disk has no part in this")]
                Ok(_) => {}
            }
            self.turn();
            self.shell.watch_streams.store(self.shell.streams.count(), Ordering::Relaxed);
        }
    }

    fn turn(&mut self) {
        loop {
            let time = self.time();
            let turn = self.applier.turn(time, &mut self.inbox, &mut self.shell);
            turn.expect("the memory engine does not fail");
            self.applier.sweep(&mut self.shell).expect("the memory engine does not fail");
            for command in std::mem::take(&mut self.shell.own) {
                self.append(&command);
            }
            if self.inbox.is_empty() && self.applier.garbage() != Garbage::Removable {
                self.shell.waiters.send_answers();
                return;
            }
        }
    }

    fn append(&mut self, command: &[u8]) {
        let mut batch = begin_batch(self.time());
        push_command(&mut batch, command);
        self.commit(Payload::Batch(batch.freeze()));
    }

    fn commit(&mut self, payload: Payload) {
        self.index += 1;
        let entry = Committed { index: LogIndex(self.index), term: TERM, payload };
        self.inbox.push_back(ApplierInput::Apply(vec![entry]));
    }

    fn time(&self) -> ClusterTime {
        ClusterTime(u64::try_from(self.started.elapsed().as_millis()).expect("a short test"))
    }
}

impl ApplierShell for Shell {
    fn emit(&mut self, output: ApplierOutput) {
        match output {
            ApplierOutput::Reply(answer, term) => self.waiters.applied(answer, term),
            ApplierOutput::Answer(request, answer) => self.waiters.answered(request, answer),
            ApplierOutput::Propose(_, command) => self.own.push(command),
            ApplierOutput::Applied(_) => {}
        }
    }

    fn deliver(&mut self, stream: StreamId, input: StreamInput) -> bool {
        self.streams.push(stream, input)
    }

    fn leave_word(&mut self, stream: StreamId, input: StreamInput) {
        self.streams.leave_word(stream, input);
    }
}
