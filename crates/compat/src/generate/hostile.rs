//! What no client library sends: bytes that are no request, headers that make no sense, methods
//! that do not exist.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use metastore_proto::etcdserverpb as pb;
use prost::Message as _;

use super::{Generator, choose};
use crate::explained::{DEPTH_MAX, KEEP_ALIVE, RANGE_STREAM, WRONG_TYPE};
use crate::step::call;
use crate::wire::Call;

/// A header of gRPC and values that it may not have, or may.
const HEADERS: [(&str, &[u8]); 36] = [
    ("client-api-version", b"3.7"),
    ("client-api-version", b"\xff\xfe"),
    ("hasleader", b"true"),
    // Bytes in base64.
    ("x-bin", b"AAEC"),
    ("x-bin", b"\"\xff"),
    ("grpc-trace-bin", b"AA=A"),
    ("hasleader", b"false"),
    // Nobody has to show who he is.
    ("token", b"nobody.1"),
    ("token", b""),
    ("authorization", b"Bearer nobody.1"),
    (":method", b"GET"),
    (":method", b"PUT"),
    ("user-agent", b"\xff"),
    ("grpc-accept-encoding", b"gzip"),
    ("grpc-timeout", b"0S"),
    ("grpc-encoding", b""),
    ("grpc-encoding", b"identity"),
    ("grpc-encoding", b"gzip"),
    ("grpc-encoding", b"snappy"),
    ("content-type", b"application/grpc"),
    ("content-type", b"application/grpc+proto"),
    ("content-type", b"application/grpc;charset=utf-8"),
    ("content-type", b"application/grpc+json"),
    ("content-type", b"application/grpcx"),
    ("content-type", b"application/json"),
    ("content-type", b"text/plain"),
    ("content-type", b""),
    ("grpc-timeout", b"30S"),
    ("grpc-timeout", b"99999999H"),
    ("grpc-timeout", b"1000000000S"),
    ("grpc-timeout", b"soon"),
    ("grpc-timeout", b""),
    ("grpc-timeout", b"5"),
    ("grpc-timeout", b"S"),
    ("grpc-timeout", b"-1S"),
    ("grpc-timeout", b"5x"),
];

/// A message as gRPC frames it, with a flag and a length that may be wrong.
fn frame(flag: u8, length: usize, message: &[u8]) -> Bytes {
    let length = u32::try_from(length).expect("a small message").to_be_bytes();
    Bytes::from([&[flag][..], &length, message].concat())
}

fn gzip(message: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(message).expect("memory takes all");
    encoder.finish().expect("memory takes all").into()
}

impl Generator {
    pub(super) fn hostile(&mut self) -> Call {
        choose! { self.rng;
            4 => self.with_header(),
            1 => self.with_bytes_in_header(),
            2 => self.nobodys_method(),
            4 => self.with_body(),
            1 => self.compressed(),
        }
    }

    /// A request that is compressed, or only says so, or only in part.
    fn compressed(&mut self) -> Call {
        let request = self.harmless();
        let message = request.requests[0].clone();
        let (flag, bytes): (u8, Bytes) = choose! { self.rng;
            3 => (1, gzip(&message)),
            1 => (0, message),
            1 => (1, message),
            1 => (1, gzip(&message).slice(..10)),
            1 => (1, gzip(&vec![0; self.profile.request_bytes_max + (1 << 20)])),
        };
        let headers = vec![("grpc-encoding".to_owned(), Bytes::from_static(b"gzip"))];
        Call { headers, body: Some(frame(flag, bytes.len(), &bytes)), ..request }
    }

    fn with_header(&mut self) -> Call {
        let (name, value) = HEADERS[self.rng.usize(..HEADERS.len())];
        let headers = vec![(name.to_owned(), Bytes::from_static(value))];
        Call { headers, ..self.harmless() }
    }

    /// A header that may hold bytes: base64 or nearly so.
    fn with_bytes_in_header(&mut self) -> Call {
        const SOME: &[u8] = b"AZaz09+/===_!";
        let length = self.rng.usize(..10);
        let value: Vec<u8> = (0..length).map(|_| SOME[self.rng.usize(..SOME.len())]).collect();
        let headers = vec![("x-bin".to_owned(), value.into())];
        Call { headers, ..self.harmless() }
    }

    /// A read of the key that is always asked for.
    fn harmless(&mut self) -> Call {
        let request = pb::RangeRequest { key: self.key(), ..pb::RangeRequest::default() };
        call("/etcdserverpb.KV/Range", &request)
    }

    fn nobodys_method(&mut self) -> Call {
        const PATHS: [&str; 8] = [
            "/etcdserverpb.KV/Nothing",
            "/etcdserverpb.Nobody/Range",
            "/etcdserverpb.Watch/Nothing",
            "/etcdserverpb.KV/",
            "/etcdserverpb.KV",
            "/",
            "/range",
            "/a/b/c",
        ];
        Call { path: PATHS[self.rng.usize(..PATHS.len())].to_owned(), ..self.harmless() }
    }

    /// The body of a call with something wrong with it.
    fn with_body(&mut self) -> Call {
        let request = choose! { self.rng;
            2 => self.harmless(),
            // What takes a stream, and what gives one, tells its errors in other words.
            1 => Call { path: RANGE_STREAM.to_owned(), ..self.harmless() },
            1 => call(KEEP_ALIVE, &pb::LeaseKeepAliveRequest { id: 5 }),
        };
        let message = request.requests[0].clone();
        let framed = frame(0, message.len(), &message);
        let body = choose! { self.rng;
            // No request, two, half a one.
            1 => Bytes::new(),
            1 => [&framed[..], &framed].concat().into(),
            1 => framed.slice(..framed.len() - 1),
            1 => framed.slice(..3),
            // Compressed, or so it says.
            1 => frame(1, message.len(), &message),
            1 => frame(2, message.len(), &message),
            // Bytes that are no message: a field cut off, a field of the wrong type, number 0.
            1 => frame(0, 2, &[0x0a, 0x05]),
            1 => Bytes::from_static(WRONG_TYPE),
            1 => frame(0, 2, &[0x00, 0x00]),
            1 => frame(0, 1, &[0xff]),
            // An unknown field is no fault.
            1 => frame(0, message.len() + 3, &[&message[..], &[0xf8, 0x07, 1]].concat()),
        };
        Call { body: Some(body), ..request }
    }

    /// A transaction at the limit of how deep they may be nested; each level has one operation less
    /// to give away.
    pub(super) fn deep(&mut self) -> Call {
        let levels = choose! { self.rng;
            1 => self.profile.txn_ops_max - 1,
            1 => self.profile.txn_ops_max,
            1 => self.profile.txn_ops_max + 1,
            1 => DEPTH_MAX,
            1 => DEPTH_MAX + 1,
            1 => 300,
        };
        // Where the subject refuses what etcd does, nothing may be done.
        let mut operation = super::op(if levels > DEPTH_MAX {
            pb::request_op::Request::RequestRange(pb::RangeRequest {
                key: "a".into(),
                ..pb::RangeRequest::default()
            })
        } else {
            pb::request_op::Request::RequestPut(pb::PutRequest {
                key: self.key(),
                value: self.value(),
                ..pb::PutRequest::default()
            })
        });
        for _ in 1..levels {
            let txn = pb::TxnRequest { success: vec![operation], ..pb::TxnRequest::default() };
            operation = super::op(pb::request_op::Request::RequestTxn(txn));
        }
        let request = pb::TxnRequest { success: vec![operation], ..pb::TxnRequest::default() };
        call("/etcdserverpb.KV/Txn", &request)
    }

    /// A request at the limit of what is taken.
    pub(super) fn large(&mut self) -> Call {
        if self.rng.u32(0..12) == 0 {
            // All of them at once: more than a watch response may hold.
            let (key, range_end) = ("L".into(), "M".into());
            let request = pb::DeleteRangeRequest { key, range_end, prev_kv: self.rng.bool() };
            return call("/etcdserverpb.KV/DeleteRange", &request);
        }
        let limit = self.profile.request_bytes_max;
        let near = self.rng.usize(limit - 100..limit + 20);
        let value_bytes = choose! { self.rng;
            4 => limit - 300,
            // Around what the log takes,
            2 => near,
            // and around what gRPC takes.
            1 => limit + (512 << 10) + self.rng.usize(0..40) - 20,
        };
        let key = format!("L{}", self.rng.u32(0..12)).into();
        let request = pb::PutRequest {
            value: vec![b'x'; value_bytes].into(),
            key,
            ..pb::PutRequest::default()
        };
        let near = self.rng.bool();
        if near {
            return call("/etcdserverpb.KV/Put", &request);
        }
        let put = pb::request_op::Request::RequestPut(request);
        let request = pb::TxnRequest { success: vec![super::op(put)], ..pb::TxnRequest::default() };
        debug_assert!(request.encoded_len() > value_bytes, "it holds the value");
        call("/etcdserverpb.KV/Txn", &request)
    }
}
