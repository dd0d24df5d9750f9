//! A small state for commands to work on.

use bytes::Bytes;
use prost::Message;
use state::alarms::Quota;
use state::apply::{Answer, Entry};
use state::checkpoint::{CheckpointHeader, CheckpointWriter};
use state::command::{
    Command, Compact, LeaseGrant, Operation, Put, Range, begin_batch, push_command,
};
use state::engine::memory::MemoryEngine;
use state::mvcc::range::{ReadError, range};
use state::outcome::RangeOutcome;
use state::{ClusterId, ClusterTime, LogIndex, State, Term};

/// Keys, a lease, a compaction: something of everything that a command can meet.
pub struct Store {
    state: State,
}

const TERM: Term = Term(1);
const CLUSTER: ClusterId = ClusterId(7);
const KEYS: [&[u8]; 4] = [b"a", b"b", b"b\0", b"c"];

impl Store {
    /// A state that has seen something.
    pub fn with_history() -> Store {
        let engine = Box::new(MemoryEngine::new());
        let state = State::open(engine, Quota(None)).expect("an empty engine opens");
        let mut store = Store { state };
        store.run(Operation::LeaseGrant(LeaseGrant { id: 7, ttl_s: 60, ttl_min_s: 2 }));
        for round in 0..2 {
            for key in KEYS {
                let (key, value) = (Bytes::from_static(key), Bytes::from_static(b"value"));
                let lease = if round == 0 { 0 } else { 7 };
                store.run(Operation::Put(Put { key, value, lease, ..Put::default() }));
            }
        }
        store.run(Operation::Compact(Compact { revision: 4 }));
        store
    }

    fn run(&mut self, operation: Operation) {
        self.apply_command(&Command { operation: Some(operation), ..Command::default() });
    }

    /// Applies one command, in a batch of its own.
    pub fn apply_command(&mut self, command: &Command) -> Vec<Answer> {
        let mut batch = begin_batch(ClusterTime(1000));
        push_command(&mut batch, &command.encode_to_vec());
        self.apply(batch.freeze())
    }

    /// Applies a batch that can be read, and makes it visible.
    pub fn apply(&mut self, batch: Bytes) -> Vec<Answer> {
        let index = LogIndex(self.state.applied().0.0 + 1);
        let answers = self.state.apply_entry(index, TERM, Entry::Batch(batch));
        let answers = answers.expect("the batch can be read and memory does not fail");
        self.state.publish();
        self.state.sweep().expect("memory does not fail");
        answers
    }

    /// Reads as the server does.
    ///
    /// # Errors
    /// The revision cannot be read.
    pub fn read(&self, query: &Range) -> Result<RangeOutcome, ReadError> {
        range(self.state.reader(), query)
    }

    /// What was written is a state that opens again and stands where this one does.
    pub fn reopen(self) {
        let (stream, header) = written(&self.state, CLUSTER);
        let mut pieces = stream.chunks(4096);
        let mut next = || -> Result<Option<Bytes>, std::io::Error> {
            Ok(pieces.next().map(Bytes::copy_from_slice))
        };
        let mut engine = MemoryEngine::new();
        let restored = state::checkpoint::restore(&mut next, &mut engine);
        assert_eq!(restored.expect("what we wrote can be read"), header);
        let again = State::open(Box::new(engine), Quota(None));
        let again = again.expect("what we wrote can be opened");
        assert_eq!(again.revision(), self.state.revision());
        assert_eq!(again.applied(), self.state.applied());
        assert_eq!(again.leases().len(), self.state.leases().len());
        assert!(written(&again, CLUSTER).0 == stream, "it writes another stream");
    }
}

/// The checkpoint of a store.
pub fn written_by(store: &Store) -> Vec<u8> {
    written(&store.state, CLUSTER).0
}

/// The checkpoint of a state.
pub fn written(state: &State, cluster: ClusterId) -> (Vec<u8>, CheckpointHeader) {
    let view = state.reader().engine_view();
    let mut writer = CheckpointWriter::new(view, cluster).expect("memory does not fail");
    let header = *writer.header();
    let mut stream = Vec::new();
    while let Some(chunk) = writer.next_chunk().expect("memory does not fail") {
        stream.extend_from_slice(&chunk);
    }
    (stream, header)
}
