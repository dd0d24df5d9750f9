//! `--auto-compaction-mode` and `--auto-compaction-retention`.

use crate::member::{Member, get, put};

#[tokio::test]
async fn history_older_than_the_period_is_dropped_without_being_asked() {
    let member = Member::start(&["--auto-compaction-retention=1s"]);
    let mut kv = member.kv().await;
    for value in ["1", "2", "3"] {
        kv.put(put("a", value)).await.unwrap();
    }
    assert_eq!(kv.range(get("a", 2)).await.unwrap().into_inner().kvs[0].value, "1");
    member.log_line(&["completed auto periodic compaction", "\"revision\":4"]);
    let refused = kv.range(get("a", 3)).await.unwrap_err();
    assert_eq!(
        refused.message(),
        "etcdserver: mvcc: required revision has been compacted",
        "{refused:?}"
    );
    assert_eq!(kv.range(get("a", 4)).await.unwrap().into_inner().kvs[0].value, "3");
}
