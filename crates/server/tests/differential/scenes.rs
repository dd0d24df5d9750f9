//! What takes its time or its place is compared in scenes: signs of progress, leases that run out, a full
//! member, slow watchers, a stop.

use compat::scene::Scene;

use super::{block_on, pair};

macro_rules! scenes {
    ($($name:ident: $scene:ident)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn on_the_memory_engine() {
                alike(Scene::$scene, "memory");
            }

            #[test]
            fn on_rocksdb() {
                alike(Scene::$scene, "rocksdb");
            }

            #[test]
            fn a_planted_difference_is_found() {
                must_be_found(Scene::$scene);
            }
        }
    )*};
}

scenes! {
    signs_of_progress: Progress
    leases_that_run_out: Expiry
    a_full_member: Quota
    a_slow_watcher: SlowWatcher
    a_stop: Stop
}

fn alike(scene: Scene, engine: &str) {
    let Some(pair) = pair(engine) else { return };
    let found = block_on(scene.play(&pair, None)).expect("both servers play");
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{scene} on {engine}\n{}", lines.join("\n"));
}

fn must_be_found(scene: Scene) {
    let Some(pair) = pair("memory") else { return };
    let fault = scene.fault();
    let found = block_on(scene.play(&pair, Some(fault))).expect("both servers play");
    assert!(!found.is_empty(), "{fault:?} went unnoticed in {scene}");
}
