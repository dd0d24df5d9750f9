//! `--watch-progress-notify-interval`.

use std::time::{Duration, Instant};

use metastore_proto::etcdserverpb::watch_client::WatchClient;
use metastore_proto::etcdserverpb::watch_request::RequestUnion;
use metastore_proto::etcdserverpb::{WatchCreateRequest, WatchRequest};

use child::PATIENCE;

use crate::member::{Member, put};

#[tokio::test]
async fn an_idle_watcher_hears_of_progress_at_the_interval_and_at_the_right_revision() {
    // Less than the least: 100 ms it is.
    let member = Member::start(&["--watch-progress-notify-interval=20ms"]);
    let channel = member.channel().await;
    let mut kv = member.kv().await;
    let create = WatchCreateRequest {
        key: "watched".into(),
        progress_notify: true,
        ..WatchCreateRequest::default()
    };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let requests = tokio_stream::StreamExt::chain(
        tokio_stream::once(request),
        tokio_stream::pending::<WatchRequest>(),
    );
    let mut watch = WatchClient::new(channel).watch(requests).await.unwrap().into_inner();
    let created = watch.message().await.unwrap().unwrap();
    assert!(created.created);
    let begun = Instant::now();
    for round in 1..=5u32 {
        // Writes that the watcher does not see; progress says that it has not missed any.
        let written = kv.put(put("other", "1")).await.unwrap().into_inner();
        let least = written.header.unwrap().revision;
        let heard = loop {
            let message = tokio::time::timeout(PATIENCE, watch.message()).await;
            let message = message.expect("in time").unwrap().unwrap();
            assert!(message.events.is_empty());
            // One that was under way before the write may come first.
            if message.header.unwrap().revision >= least {
                break message;
            }
        };
        assert_eq!(heard.watch_id, created.watch_id);
        assert_eq!(heard.header.unwrap().revision, least, "nothing was written since");
        let elapsed = begun.elapsed() + Duration::from_millis(20);
        assert!(elapsed >= round * Duration::from_millis(100), "{round} in {elapsed:?}");
    }
}
