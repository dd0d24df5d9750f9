use super::*;
use crate::engine::Write;
use crate::engine::forgetful::{ForgetfulEngine, Values};
use crate::engine::memory::MemoryEngine;
use crate::engine::samples::{batches, dump, put};
use crate::types::Revision;
use proptest::prelude::*;

const END: Version = Version { main: Revision::MAX, sub: u32::MAX };

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn two_engines_agree_on_every_read_whatever_is_committed(batches in batches()) {
        let mut mirror =
            Mirror::new(MemoryEngine::new(), ForgetfulEngine::new(Values::OnDisk));
        let mut views = Vec::new();
        for batch in batches {
            mirror.commit(batch).expect("memory");
            mirror.second_mut().flush_oldest(1);
            let view = mirror.view();
            views.push((dump(&*view), view));
        }
        for (shown, view) in &views {
            prop_assert_eq!(shown, &dump(&**view));
        }
        let (first, second) = mirror.into_parts();
        prop_assert_eq!(first.size(), second.size());
        prop_assert_eq!(dump(&*second.crash().view()), dump(&*first.view()));
    }
}

/// A mirror whose engines differ in one record and one row.
fn cracked() -> Mirror<MemoryEngine, MemoryEngine> {
    let mut mirror = Mirror::new(MemoryEngine::new(), MemoryEngine::new());
    let shared = vec![Write::Append(put(2, 0, "a", "1")), Write::Append(put(3, 0, "b", "1"))];
    mirror.commit(Batch { writes: shared }).expect("memory");
    let planted =
        vec![Write::Append(put(4, 0, "c", "1")), Write::Put(Table::User, "ada".into(), "1".into())];
    mirror.second_mut().commit(Batch { writes: planted }).expect("memory");
    mirror
}

/// Whether the read panics.
fn finds_the_crack(read: impl FnOnce(&dyn EngineView) + std::panic::UnwindSafe) -> bool {
    std::panic::catch_unwind(|| read(&*cracked().view())).is_err()
}

#[test]
fn a_planted_difference_is_found_by_every_kind_of_read() {
    let version = Version::first_of(Revision(4));
    assert!(finds_the_crack(|view| drop(view.record(version))));
    assert!(finds_the_crack(|view| drop(view.get(Table::User, b"ada"))));
    assert!(finds_the_crack(|view| {
        drop(view.scan(Table::User, b"", &mut |_, _| ControlFlow::Continue(())));
    }));
    assert!(finds_the_crack(|view| {
        drop(view.scan_history(version, END, &mut |_| ControlFlow::Continue(())));
    }));
    assert!(finds_the_crack(|view| {
        view.content_size();
    }));
}

#[test]
fn a_scan_that_stops_before_the_difference_passes() {
    let visit = &mut |record: &Record| match record.revision() {
        Revision(3) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    cracked().view().scan_history(Version::default(), END, visit).expect("memory");
    cracked()
        .view()
        .scan_history(Version::default(), Version::first_of(Revision(4)), &mut |_| {
            ControlFlow::Continue(())
        })
        .expect("memory");
}
