//! `docs/compat.md` says what is compared: here it is held to that.

use bytes::Bytes;
use compat::coverage::Coverage;
use compat::generate::Profile;
use compat::wire::Call;
use compat::{schema, surface};

use super::{block_on, pair};

/// gRPC's code for what a server does not have.
const UNIMPLEMENTED: Option<i32> = Some(12);

/// Every field of every message that is said to be compared was seen with a value, and none of
/// those of which it is said that they cannot be.
pub(super) fn must_be_covered(coverage: &Coverage) {
    let claimed = surface::fields_to_see();
    let missing: Vec<&String> = claimed.difference(&coverage.fields).collect();
    assert!(missing.is_empty(), "never seen with a value: {missing:?}");
    let stale: Vec<&str> =
        surface::fields_elsewhere().filter(|field| coverage.fields.contains(*field)).collect();
    assert!(stale.is_empty(), "compared after all: {stale:?}");
}

#[test]
fn what_is_said_to_come_later_is_unimplemented_and_the_rest_is_not() {
    let Some(pair) = pair("memory") else { return };
    block_on(async {
        let driver = pair.start(&Profile::of(0)).await.expect("both servers start");
        for method in schema::methods() {
            let path = schema::path(&method);
            // Streams without an end are ended by their time.
            let headers = vec![("grpc-timeout".to_owned(), Bytes::from_static(b"300m"))];
            let requests = vec![Bytes::new()];
            let call = Call { path: path.clone(), requests, headers, ..Call::default() };
            let answer = driver.ask_subject(&call).await;
            let is_later = answer.code == UNIMPLEMENTED;
            assert_eq!(is_later, surface::is_later(&path), "{path}: {:?}", answer.text);
            assert!(answer.broken.is_none(), "{path}: {:?}", answer.broken);
        }
    });
}
