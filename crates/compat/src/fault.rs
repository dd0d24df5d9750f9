//! Planted differences: what the subject answers is spoiled on its way to the comparison, to show
//! that the comparison notices.

use metastore_proto::etcdserverpb as pb;
use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};

use crate::answer::Answer;

/// One way of being wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A value has other bytes.
    WrongValue,
    /// A count is one too high.
    WrongCount,
    /// The header's revision is that before.
    WrongRevision,
    /// `more` is turned round.
    WrongMore,
    /// A key is missing from a list.
    LostKey,
    /// Two keys of a list have changed places.
    SwappedKeys,
    /// `prev_kv` is missing.
    LostPrevKv,
    /// A transaction has taken the other branch.
    WrongBranch,
    /// A key has lost its lease.
    LostLease,
    /// A failure with another text.
    WrongText,
    /// A failure with another code.
    WrongCode,
    /// A success instead of a failure.
    NoFailure,
    /// A lease with another time to live.
    WrongTtl,
    /// A hash that is off by one bit.
    WrongHash,
    /// A watch response is missing.
    LostEvents,
    /// A watch response comes twice.
    DoubledEvents,
    /// Two events of one response have changed places.
    SwappedEvents,
    /// An event without the value before.
    EventWithoutPrevKv,
    /// An event of the other type.
    WrongEventType,
    /// Events in a response whose header is of a revision before them.
    WrongWatchRevision,
    /// A response that is parted where it may not be.
    PartedRevision,
    /// A cancel without its reason.
    LostReason,
    /// A cancel for a compaction to another revision.
    WrongCompactRevision,
    /// A sign of progress for a revision that has not come.
    WrongProgressRevision,
    /// A field that etcd does not have.
    UnknownField,
    /// A stream that ends in another way when the server stops.
    OtherEnd,
}

impl Fault {
    /// Every one that randomized requests can meet.
    pub const ALL: [Fault; 25] = [
        Fault::WrongValue,
        Fault::WrongCount,
        Fault::WrongRevision,
        Fault::WrongMore,
        Fault::LostKey,
        Fault::SwappedKeys,
        Fault::LostPrevKv,
        Fault::WrongBranch,
        Fault::LostLease,
        Fault::WrongText,
        Fault::WrongCode,
        Fault::NoFailure,
        Fault::WrongTtl,
        Fault::WrongHash,
        Fault::LostEvents,
        Fault::DoubledEvents,
        Fault::SwappedEvents,
        Fault::EventWithoutPrevKv,
        Fault::WrongEventType,
        Fault::WrongWatchRevision,
        Fault::PartedRevision,
        Fault::LostReason,
        Fault::WrongCompactRevision,
        Fault::WrongProgressRevision,
        Fault::UnknownField,
    ];

    /// Spoils an answer if it has what the fault is about; tells whether it had.
    pub fn spoil(self, answer: &mut Answer) -> bool {
        match self {
            Fault::WrongText if !answer.text.is_empty() => answer.text.push('.'),
            Fault::WrongCode if answer.code.is_some_and(|code| code != 0) => answer.code = Some(13),
            Fault::NoFailure if answer.code.is_some_and(|code| code != 0) => answer.code = Some(0),
            _ => {
                let Some(message) = answer.messages.last_mut() else { return false };
                return self.spoil_message(message);
            }
        }
        true
    }

    fn spoil_message(self, message: &mut DynamicMessage) -> bool {
        match self {
            Fault::WrongValue => change(message, "KeyValue", "value", |value| {
                let Value::Bytes(bytes) = value else { return false };
                *bytes = [&bytes[..], b"!"].concat().into();
                true
            }),
            Fault::WrongCount => change(message, "RangeResponse", "count", add_one),
            Fault::WrongRevision => change(message, "ResponseHeader", "revision", |value| {
                let Value::I64(revision) = value else { return false };
                *revision -= 1;
                true
            }),
            Fault::WrongMore => change(message, "RangeResponse", "more", turn),
            Fault::LostKey => change(message, "RangeResponse", "kvs", |value| {
                value.as_list_mut().is_some_and(|list| list.pop().is_some())
            }),
            Fault::SwappedKeys => change(message, "RangeResponse", "kvs", |value| {
                let Some(list) = value.as_list_mut() else { return false };
                if list.len() > 1 {
                    list.swap(0, 1);
                }
                list.len() > 1
            }),
            Fault::LostPrevKv => clear(message, "PutResponse", "prev_kv"),
            Fault::WrongBranch => change(message, "TxnResponse", "succeeded", turn),
            Fault::LostLease => clear(message, "KeyValue", "lease"),
            Fault::WrongTtl => change(message, "LeaseGrantResponse", "TTL", add_one),
            Fault::WrongHash => change(message, "HashKVResponse", "hash", |value| {
                let Value::U32(hash) = value else { return false };
                *hash ^= 1;
                true
            }),
            Fault::UnknownField => {
                let with_field =
                    [&prost::Message::encode_to_vec(message)[..], &[0xf8, 0x07, 1]].concat();
                let descriptor = message.descriptor();
                *message =
                    crate::schema::decode(descriptor, &with_field).expect("a field appended");
                true
            }
            _ => false,
        }
    }

    /// What becomes of a watch response: usually itself.
    pub fn spoil_watch(
        &mut self,
        response: pb::WatchResponse,
        has_spoiled: &mut bool,
    ) -> Vec<pb::WatchResponse> {
        if *has_spoiled {
            return vec![response];
        }
        let is_control = response.created || response.canceled;
        let mut spoiled = response.clone();
        let events = &mut spoiled.events;
        let result = match self {
            Fault::LostEvents if !events.is_empty() => Some(Vec::new()),
            Fault::DoubledEvents if !events.is_empty() => Some(vec![spoiled.clone(), spoiled]),
            Fault::SwappedEvents if events.len() > 1 => {
                events.swap(0, 1);
                Some(vec![spoiled])
            }
            Fault::PartedRevision if events.len() > 1 => {
                let rest = pb::WatchResponse { events: events.split_off(1), ..response.clone() };
                Some(vec![spoiled, rest])
            }
            Fault::EventWithoutPrevKv => {
                events.iter_mut().find_map(|event| event.prev_kv.take()).map(|_| vec![spoiled])
            }
            Fault::WrongEventType if !events.is_empty() => {
                events[0].r#type ^= 1;
                Some(vec![spoiled])
            }
            Fault::WrongWatchRevision => {
                let last = events.last().and_then(|event| event.kv.as_ref());
                let before = last.map(|kv| kv.mod_revision - 1);
                before.zip(spoiled.header.as_mut()).map(|(before, header)| header.revision = before)
            }
            .map(|()| vec![spoiled]),
            Fault::WrongCompactRevision if spoiled.compact_revision > 0 => {
                spoiled.compact_revision -= 1;
                Some(vec![spoiled])
            }
            Fault::WrongProgressRevision if !is_control && events.is_empty() => {
                spoiled.header.as_mut().map(|header| header.revision += 1).map(|()| vec![spoiled])
            }
            Fault::LostReason if !spoiled.cancel_reason.is_empty() => {
                spoiled.cancel_reason.clear();
                Some(vec![spoiled])
            }
            _ => None,
        };
        *has_spoiled = result.is_some();
        result.unwrap_or_else(|| vec![response])
    }
}

fn add_one(value: &mut Value) -> bool {
    let Value::I64(number) = value else { return false };
    *number += 1;
    true
}

fn turn(value: &mut Value) -> bool {
    let Value::Bool(flag) = value else { return false };
    *flag = !*flag;
    true
}

fn clear(message: &mut DynamicMessage, name: &str, field: &str) -> bool {
    first(message, name, &mut |found| {
        let had = found.has_field_by_name(field);
        found.clear_field_by_name(field);
        had
    })
}

/// Changes a field of the first message of this name that allows it.
fn change(
    message: &mut DynamicMessage,
    name: &str,
    field: &str,
    how: impl Fn(&mut Value) -> bool,
) -> bool {
    first(message, name, &mut |found| found.get_field_by_name_mut(field).is_some_and(&how))
}

/// Looks for messages of this name, outermost first, until one is changed.
fn first(
    message: &mut DynamicMessage,
    name: &str,
    how: &mut dyn FnMut(&mut DynamicMessage) -> bool,
) -> bool {
    if message.descriptor().name() == name && how(message) {
        return true;
    }
    let fields: Vec<_> =
        message.descriptor().fields().filter(|field| message.has_field(field)).collect();
    fields.iter().any(|field| match message.get_field_mut(field) {
        Value::Message(inner) => first(inner, name, how),
        Value::List(items) => items.iter_mut().any(|item| match item {
            Value::Message(inner) => first(inner, name, how),
            _ => false,
        }),
        _ => false,
    })
}
