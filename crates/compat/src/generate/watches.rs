//! Requests of the `Watch` service, on a handful of streams.

use bytes::Bytes;
use metastore_proto::etcdserverpb as pb;
use metastore_proto::etcdserverpb::watch_request::RequestUnion;

use super::{Generator, choose};
use crate::step::{Step, WatchAction};
use crate::world::World;

/// Streams that are open at once.
pub const STREAMS_COUNT: usize = 4;
/// Watchers of one stream. etcd remembers few responses for each stream and parts them otherwise
/// when there are more.
const WATCHERS_MAX: usize = 6;

/// What a request has beside its value.
const HEADROOM_BYTES: usize = 300;

impl Generator {
    pub(super) fn watches(&mut self, world: &World) -> Step {
        let slot = self.rng.usize(..STREAMS_COUNT);
        let none = Vec::new();
        let ids = world.watchers.get(&slot).unwrap_or(&none);
        let is_full = ids.len() >= WATCHERS_MAX;
        let send = |request_union| WatchAction::Send(pb::WatchRequest { request_union });
        let action = choose! { self.rng;
            12 => send(if is_full { self.watch_cancel(ids) } else { self.watch_create(world, ids) }),
            4 => send(self.watch_cancel(ids)),
            3 => send(Some(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))),
            1 => send(None),
            1 => WatchAction::HalfClose,
            1 => WatchAction::Drop,
        };
        // A stream whose requests have ended takes no more of them.
        let is_closed = world.half_closed.contains(&slot);
        Step::Watch { slot, action: if is_closed { WatchAction::Drop } else { action } }
    }

    /// A watcher that is told of more at once than one response may hold.
    pub(super) fn plan_of_fragments(&mut self) -> Vec<Step> {
        let (slot, limit) = (self.rng.usize(..STREAMS_COUNT), self.profile.request_bytes_max);
        let value_bytes = limit - HEADROOM_BYTES;
        // What a response may hold beyond a request, and one more.
        let count = (limit + (512 << 10)).div_ceil(value_bytes) + 1;
        let (key, range_end) = (Bytes::from("L"), Bytes::from("M"));
        let create = pb::WatchCreateRequest {
            key: key.clone(),
            range_end: range_end.clone(),
            prev_kv: true,
            fragment: self.rng.u32(0..4) > 0,
            ..pb::WatchCreateRequest::default()
        };
        let request_union = Some(RequestUnion::CreateRequest(create));
        let action = WatchAction::Send(pb::WatchRequest { request_union });
        let mut steps = vec![
            // The stream may be one whose requests have ended.
            Step::Watch { slot, action: WatchAction::Drop },
            Step::Watch { slot, action },
        ];
        steps.extend((0..count).map(|number| {
            let (key, value) = (format!("L{number}").into(), vec![b'x'; value_bytes].into());
            let put = pb::PutRequest { key, value, ..pb::PutRequest::default() };
            Step::call("/etcdserverpb.KV/Put", &put)
        }));
        let delete = pb::DeleteRangeRequest { key, range_end, prev_kv: self.rng.bool() };
        steps.push(Step::call("/etcdserverpb.KV/DeleteRange", &delete));
        steps.push(Step::Settle);
        steps
    }

    fn watch_create(&mut self, world: &World, ids: &[i64]) -> Option<RequestUnion> {
        let key = self.key();
        let range_end = choose! { self.rng;
            3 => self.range_end(&key),
            3 => "\0".into(),
        };
        let filters = choose! { self.rng;
            6 => Vec::new(),
            1 => vec![0],
            1 => vec![1],
            1 => vec![0, 1],
            1 => vec![7, -1],
        };
        Some(RequestUnion::CreateRequest(pb::WatchCreateRequest {
            start_revision: choose! { self.rng;
                6 => 0,
                2 => world.revision + self.rng.i64(1..20),
                2 => self.revision(world),
            },
            progress_notify: self.rng.bool(),
            filters,
            prev_kv: self.rng.bool(),
            watch_id: choose! { self.rng;
                6 => 0,
                1 => self.rng.i64(1..4),
                1 => self.known_id(ids),
                1 => -self.rng.i64(2..4),
                1 => i64::MAX - self.rng.i64(0..9),
            },
            fragment: self.rng.bool(),
            key,
            range_end,
        }))
    }

    fn watch_cancel(&mut self, ids: &[i64]) -> Option<RequestUnion> {
        let watch_id = choose! { self.rng;
            6 => self.known_id(ids),
            1 => self.rng.i64(-2..9),
        };
        Some(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id }))
    }

    fn known_id(&mut self, ids: &[i64]) -> i64 {
        if ids.is_empty() { 0 } else { ids[self.rng.usize(..ids.len())] }
    }
}
