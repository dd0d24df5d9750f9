//! How large a request is when its size is limited.
//!
//! The limit of `--max-request-bytes` is on what etcd writes into its log: the request, and a header
//! with the number of the request. Our own log has another form, yet a value that just fits there
//! must just fit here:
//!
//! ```text
//! tag, length, 0x08, number of the request    2 + 1 + 1 + 9 bytes, with most member ids
//! tag, length, the request as it came         1 + 3 + …     bytes, for one of a megabyte
//! ```
//!
//! For example a put of one key of one byte under the default limit of 1572864 bytes: a value of
//! 1572840 bytes is taken, one of 1572841 is not. The number of a request begins with the lowest 16
//! bits of the member's id, so that the last byte depends on the member.
//!
//! What it does not count yet: name and revision of an authenticated user, which belong to the
//! header as well.

use prost::encoding::encoded_len_varint;
use state::MemberId;

/// The bits of a request's number below those of the member. Alone they take seven bytes, for most
/// of the time.
const NUMBER_BITS: u32 = 48;

/// Bytes of a request of `request_bytes` in etcd's log, if `member` takes it.
pub(super) fn logged_bytes(request_bytes: usize, member: MemberId) -> usize {
    let number = (member.0 & 0xffff) << NUMBER_BITS | 1 << (NUMBER_BITS - 1);
    let header_bytes = 1 + encoded_len_varint(number);
    // The header's tag is beyond 15 and takes two bytes.
    let header = 2 + encoded_len_varint(header_bytes as u64) + header_bytes;
    header + 1 + encoded_len_varint(request_bytes as u64) + request_bytes
}

#[cfg(test)]
mod tests {
    use metastore_proto::etcdserverpb::PutRequest;
    use prost::Message;

    use super::*;

    #[test]
    fn the_largest_value_is_the_one_that_etcd_takes() {
        // Found by trying: etcd 3.7.3 as these members, key "a", a limit of 1572864 bytes.
        for (member, largest) in [
            (0xb71f_7532_0dc0_6a6c, 1_572_840),
            (0x9b47_2c70_96ce_5b18, 1_572_840),
            (0xbcea_aebc_079d_5de4, 1_572_840),
            (0xec66_8238_fcf9_9ed8, 1_572_839),
        ] {
            let put = |bytes| PutRequest {
                key: "a".into(),
                value: vec![0; bytes].into(),
                ..PutRequest::default()
            };
            let logged = |bytes| logged_bytes(put(bytes).encoded_len(), MemberId(member));
            assert_eq!(logged(largest), 1_572_864, "{member:x}");
            assert_eq!(logged(largest + 1), 1_572_865, "{member:x}");
        }
    }
}
