//! Each session of `compat/session`, against etcd and against the subject with each of its engines: once
//! through the etcdctl of etcd's own version and once through 3.4, which Debian ships and many scripts
//! still call. What the older program shows differently it shows differently of both.

use crate::binaries::{self, Binaries, checkout};
use crate::runner::play;
use crate::script::{Step, parse};
use crate::transcript::difference;

/// Two tests for each session file, and a test that none is forgotten.
macro_rules! sessions {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                if let Some(binaries) = binaries::find() {
                    compare(binaries, &read(stringify!($name)));
                }
            }
        )*

        mod through_etcdctl_3_4 {
            $(
                #[test]
                fn $name() {
                    if let Some(binaries) = super::binaries::find_with_older_etcdctl() {
                        super::compare(&binaries, &super::read(stringify!($name)));
                    }
                }
            )*
        }

        #[test]
        fn every_session_file_has_its_test() {
            let folder = checkout().join("compat/session");
            let mut files: Vec<String> = std::fs::read_dir(folder)
                .expect("the folder of sessions")
                .map(|entry| entry.expect("a session").file_name().into_string().expect("a name"))
                .collect();
            files.sort();
            let mut tests = vec![$(concat!(stringify!($name), ".session")),*];
            tests.sort_unstable();
            assert_eq!(files, tests);
        }
    };
}

sessions! {
    alarm
    compaction
    durability
    errors
    formats
    get
    lease
    lease_expiry
    maintenance
    put_and_del
    recipes
    txn
    watch
}

fn read(name: &str) -> Vec<Step> {
    let path = checkout().join("compat/session").join(format!("{name}.session"));
    let text = std::fs::read_to_string(path).expect("the session file");
    parse(&text).unwrap_or_else(|error| panic!("{name}.session, {error}"))
}

fn compare(binaries: &Binaries, steps: &[Step]) {
    let (reference, subjects) = std::thread::scope(|scope| {
        let reference = scope.spawn(|| play(binaries, &binaries.etcd, &[], steps));
        let subjects = binaries.engines();
        let subjects: Vec<_> = subjects
            .map(|flags| (flags, play(binaries, &binaries.subject, flags, steps)))
            .collect();
        (reference.join().expect("etcd plays the session"), subjects)
    });
    if std::env::var_os("METASTORE_SESSION_SHOW").is_some() {
        eprintln!("{}", reference.join("\n"));
    }
    for (flags, subject) in subjects {
        if let Some(difference) = difference(&reference, &subject) {
            panic!("the servers differ, ours with {flags:?}\n{difference}");
        }
    }
}

#[test]
fn a_server_that_differs_is_found_out() {
    let Some(binaries) = binaries::find() else { return };
    let steps = parse("put a 1\ntxn\n|\n| put a 1\n| put b 2\n|\n|\nget a").expect("well formed");
    let reference = play(binaries, &binaries.etcd, &[], &steps);
    let planted = play(binaries, &binaries.etcd, &["--max-txn-ops=1".to_owned()], &steps);
    let difference = difference(&reference, &planted).expect("one accepts what the other refuses");
    assert!(difference.contains("  etcd    SUCCESS"), "{difference}");
    assert!(difference.contains("too many operations in txn request"), "{difference}");
}
