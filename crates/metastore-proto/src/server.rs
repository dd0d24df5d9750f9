//! What a server needs: the services, and the messages that carry bytes it has prepared.
//!
//! A `KeyValue` is encoded once, when it is written, and sent ever after as it is. In the messages
//! here the embedded `KeyValue` fields are therefore `bytes`, which protobuf writes in the same way
//! as an embedded message; an absent one is the empty string of bytes, because a stored key is
//! never empty. A [`WatchResponse`](crate::etcdserverpb::WatchResponse) is prepared as a whole: to
//! the server it is [`Prepared`].

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType, skip_field};
use prost::{DecodeError, Message};

/// A whole message, encoded already.
///
/// ```
/// use metastore_proto::etcdserverpb::WatchResponse;
/// use metastore_proto::server::Prepared;
/// use prost::Message;
///
/// let response = WatchResponse { watch_id: 7, created: true, ..Default::default() };
/// let prepared = Prepared(response.encode_to_vec().into());
/// assert_eq!(prepared.encode_to_vec(), response.encode_to_vec());
/// ```
///
/// It is made to be sent; decoding one skips over what arrives and stays empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared(pub Bytes);

impl Message for Prepared {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        skip_field(wire_type, tag, buf, context)
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// The services that clients of the store use.
#[allow(missing_docs, clippy::all, reason = "generated")]
pub mod etcdserverpb {
    generated!("/server/etcdserverpb.rs");
}

/// A lock as a service.
#[allow(missing_docs, clippy::all, reason = "generated")]
pub mod v3lockpb {
    generated!("/server/v3lockpb.rs");
}

/// An election as a service.
#[allow(missing_docs, clippy::all, reason = "generated")]
pub mod v3electionpb {
    generated!("/server/v3electionpb.rs");
}
