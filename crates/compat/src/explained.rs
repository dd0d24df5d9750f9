//! The differences that have a reason: each is one entry here and one line in `docs/compat.md`.

use metastore_proto::etcdserverpb as pb;
use prost::Message as _;

use crate::answer::Difference;
use crate::wire::Call;
use crate::world::World;

/// Why this difference is none, if there is a reason.
#[must_use]
pub fn explanation(world: &World, call: &Call, difference: &Difference) -> Option<&'static str> {
    TABLE.iter().find(|entry| (entry.applies)(world, call, difference)).map(|entry| entry.name)
}

/// A reason and where it holds.
#[derive(Clone, Copy, Debug)]
pub struct Explained {
    /// How the line in `docs/compat.md` begins.
    pub name: &'static str,
    applies: fn(&World, &Call, &Difference) -> bool,
}

/// All reasons.
pub const TABLE: &[Explained] = &[
    Explained {
        name: "`Maintenance.Hash`",
        applies: |_, _, difference| difference.place == "HashResponse.hash",
    },
    Explained {
        name: "`Maintenance.HashKV` at a compacted revision",
        applies: |world, call, difference| {
            let asked = pb::HashKvRequest::decode(call.requests.first().map_or(&b""[..], |r| r));
            let asked = asked.map_or(0, |request| request.revision);
            let asked = if asked == 0 { world.revision } else { asked };
            call.path.ends_with("/HashKV")
                && world.compactions.contains(&asked)
                && !difference.place.starts_with("messages[0].header")
        },
    },
    Explained {
        name: "Lease expiry after a restart",
        applies: |world, _, difference| {
            let seconds = |text: &str| text.parse::<i64>().unwrap_or(0);
            let (etcd, subject) = (seconds(&difference.etcd), seconds(&difference.subject));
            world.restarts_s > 0
                && difference.place == "LeaseTimeToLiveResponse.TTL"
                && etcd > subject
                && subject > 0
        },
    },
    Explained {
        name: "`KV.RangeStream` with a target and no order",
        applies: |_, call, _| {
            let asked = pb::RangeRequest::decode(call.requests.first().map_or(&b""[..], |r| r));
            call.path.ends_with("/RangeStream")
                && asked.is_ok_and(|asked| asked.sort_order == 0 && asked.sort_target != 0)
        },
    },
];
