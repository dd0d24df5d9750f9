//! Any log: it is refused, or it opens and says the same when read twice.
#![no_main]

use fuzz::log::{CLUSTER, Log, MEMBER};
use libfuzzer_sys::fuzz_target;
use node::consensus::{Config, Consensus, Holds};
use node::wal::replay;
use state::Term;

fuzz_target!(|input: &[u8]| {
    let log = Log::parse(input);
    let Ok(Some(recovered)) = replay(&log, CLUSTER, MEMBER, log.applied) else { return };
    assert!(recovered.covered <= recovered.through);
    let again = replay(&log, CLUSTER, MEMBER, log.applied).expect("it was read a moment ago");
    assert_eq!(again.as_ref(), Some(&recovered));
    // What the engine says of the entry it has applied last: what the log says, so that they agree.
    let at = log.applied.0.checked_sub(recovered.first_index);
    let logged = at.and_then(|at| recovered.entries.get(usize::try_from(at).ok()?));
    let holds = Holds {
        index: log.applied,
        term: logged.map_or(Term(1), |entry| Term(entry.term)),
        conf_state: recovered
            .snapshot
            .as_ref()
            .map(|mark| mark.conf_state.clone())
            .unwrap_or_default(),
        ..Holds::default()
    };
    let _ = Consensus::open(Config::new(CLUSTER, MEMBER, 7), recovered, &holds);
});
