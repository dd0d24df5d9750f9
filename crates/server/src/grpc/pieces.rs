//! A large list in pieces.
//!
//! The answer to a unary read is one message, a gigabyte of it if that is what was asked for. Encoded at
//! once it would take its memory a second time, and the thread of its connection for as long as that
//! takes. Here it leaves in pieces that are put together when the connection has room for them; what has
//! left is dropped, and between two pieces others have their turn.
//!
//! ```text
//! DATA | 0 length header kv kv … | DATA | kv kv kv … | DATA | kv kv more count |  ─▶ trailers
//! ```
//!
//! To the client it is the same message: protobuf joins messages by joining their bytes.
//!
//! The gRPC library knows no such messages. So the handler answers with an empty one, to which the list is
//! attached, and [`unfold`] puts the body in its place.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec::IntoIter;

use bytes::{BufMut, Bytes, BytesMut};
use metastore_proto::server::etcdserverpb::RangeResponse;
use prost::Message;
use tokio_stream::Stream;
use tonic::body::Body;
use tonic::{Response, Status};

use super::framed;
use super::in_turns::InTurns;
use super::limits::{PIECE_BYTES, WHOLE_RESPONSE_BYTES};

/// A compression flag and the length of the message.
const PREFIX_BYTES: usize = 5;
/// No client takes a larger message, and etcd sends none.
const MESSAGE_BYTES_MAX: usize = i32::MAX as usize;

/// A list on its way to where the body of its response is made.
#[derive(Clone)]
struct Attached(Arc<RangeResponse>);

/// The answer with this list, whole if it is small.
pub(super) fn response(list: RangeResponse) -> Result<Response<RangeResponse>, Status> {
    if list.kvs.iter().map(Bytes::len).sum::<usize>() <= WHOLE_RESPONSE_BYTES {
        return Ok(Response::new(list));
    }
    let bytes = list.encoded_len();
    if bytes > MESSAGE_BYTES_MAX {
        return Err(Status::resource_exhausted(format!(
            "grpc: trying to send message larger than max ({bytes} vs. {MESSAGE_BYTES_MAX})"
        )));
    }
    let mut response = Response::new(RangeResponse::default());
    response.extensions_mut().insert(Attached(Arc::new(list)));
    Ok(response)
}

/// The response with its body in pieces, if a list is attached to it.
pub(super) fn unfold(mut response: http::Response<Body>) -> http::Response<Body> {
    let Some(Attached(list)) = response.extensions_mut().remove() else { return response };
    let list = Arc::into_inner(list).expect("it goes from hand to hand");
    framed::response(InTurns::new(Pieces::of(list)))
}

/// The bytes of one message.
struct Pieces {
    /// What comes before the keys and behind them.
    head: BytesMut,
    kvs: IntoIter<Bytes>,
    tail: RangeResponse,
    is_over: bool,
}

impl Pieces {
    fn of(list: RangeResponse) -> Pieces {
        let length = u32::try_from(list.encoded_len()).expect("at most MESSAGE_BYTES_MAX");
        let RangeResponse { header, kvs, more, count } = list;
        let head_message = RangeResponse { header, ..RangeResponse::default() };
        let mut head = BytesMut::with_capacity(PREFIX_BYTES + head_message.encoded_len());
        head.put_u8(0);
        head.put_u32(length);
        head_message.encode(&mut head).expect("it grows");
        let tail = RangeResponse { more, count, ..RangeResponse::default() };
        Pieces { head, kvs: kvs.into_iter(), tail, is_over: false }
    }

    fn piece(&mut self) -> Bytes {
        let mut part = RangeResponse::default();
        let mut bytes = 0;
        while bytes < PIECE_BYTES {
            let Some(kv) = self.kvs.next() else {
                part = RangeResponse { kvs: part.kvs, ..std::mem::take(&mut self.tail) };
                self.is_over = true;
                break;
            };
            bytes += kv.len();
            part.kvs.push(kv);
        }
        let mut piece = std::mem::take(&mut self.head);
        piece.reserve(part.encoded_len());
        part.encode(&mut piece).expect("there is room for all of it");
        piece.freeze()
    }
}

impl Stream for Pieces {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // The status of a body that is framed ends it, also when all went well.
        Poll::Ready(Some(if self.is_over { Err(Status::ok("")) } else { Ok(self.piece()) }))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use metastore_proto::etcdserverpb::ResponseHeader;

    use super::*;

    fn list(kv_bytes: usize, count: usize) -> RangeResponse {
        let kv =
            |number: usize| Bytes::from(vec![u8::try_from(number % 251).expect("small"); kv_bytes]);
        RangeResponse {
            header: Some(ResponseHeader { revision: 7, ..ResponseHeader::default() }),
            kvs: (0..count).map(kv).collect(),
            more: true,
            count: 123_456,
        }
    }

    fn whole(list: &RangeResponse) -> Vec<u8> {
        let length = u32::try_from(list.encoded_len()).expect("small").to_be_bytes();
        [&[0], &length[..], &list.encode_to_vec()].concat()
    }

    #[test]
    fn pieces_join_to_the_message() {
        for (kv_bytes, count) in
            [(100, 0), (10, 3), (1000, 1000), (PIECE_BYTES, 5), (PIECE_BYTES + 1, 2)]
        {
            let list = list(kv_bytes, count);
            let mut pieces = Pieces::of(list.clone());
            let mut joined = Vec::new();
            while !pieces.is_over {
                let piece = pieces.piece();
                assert!(piece.len() < 2 * PIECE_BYTES + 100, "a piece of {} bytes", piece.len());
                joined.extend_from_slice(&piece);
            }
            assert_eq!(joined, whole(&list), "{count} of {kv_bytes} bytes");
        }
    }

    #[tokio::test]
    async fn a_large_list_is_answered_in_several_pieces_and_succeeds() {
        let list = list(1000, 2 * WHOLE_RESPONSE_BYTES / 1000);
        let answer = response(list.clone()).expect("not too large");
        assert_eq!(*answer.get_ref(), RangeResponse::default());
        // As the library does with what a handler answers.
        let mut encoded = http::Response::new(Body::empty());
        *encoded.extensions_mut() = answer.into_parts().2;
        let mut answer = unfold(encoded);
        let (mut joined, mut pieces_count) = (Vec::new(), 0);
        let trailers = loop {
            let frame = answer.body_mut().frame().await.expect("no end yet").expect("no failure");
            match frame.into_data() {
                Ok(piece) => joined.extend_from_slice(&piece),
                Err(frame) => break frame.into_trailers().expect("trailers"),
            }
            pieces_count += 1;
        };
        assert!(pieces_count > 10, "{pieces_count} pieces");
        assert_eq!(joined, whole(&list));
        assert_eq!(Status::from_header_map(&trailers).expect("a status").code(), tonic::Code::Ok);
    }

    #[test]
    fn a_small_list_is_left_to_the_library() {
        let list = list(10, 3);
        let answer = response(list.clone()).expect("small");
        assert_eq!(*answer.get_ref(), list);
        assert!(answer.extensions().get::<Attached>().is_none());
    }

    #[test]
    fn a_message_that_no_client_takes_is_refused_as_by_every_grpc_server() {
        // The same bytes over and over: so that the test is small and its list is not.
        let kv = Bytes::from(vec![0; 64 << 20]);
        let list = RangeResponse { kvs: vec![kv; 33], ..RangeResponse::default() };
        let status = response(list).expect_err("it is refused");
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        let text = "grpc: trying to send message larger than max (2214592677 vs. 2147483647)";
        assert_eq!(status.message(), text);
    }
}
