//! The comparison proves itself: what is spoiled on purpose is noticed, each kind of it.

use std::collections::BTreeSet;

use compat::driver::Driver;
use compat::fault::Fault;
use compat::generate::{self, Generator, Profile};
use compat::step::{Step, WatchAction};

use super::{block_on, pair};

/// Steps in which every fault meets something to spoil.
const STEPS_MAX: usize = 20_000;

#[test]
fn every_planted_difference_is_found() {
    let Some(pair) = pair("memory") else { return };
    block_on(async {
        let profile = Profile::of(0);
        let mut driver = pair.start(&profile).await.expect("both servers start");
        let mut generator = Generator::new(3, profile);
        let mut places = BTreeSet::new();
        for fault in Fault::ALL {
            places.insert(find(&mut driver, &mut generator, fault).await);
        }
        // Different kinds: they are noticed at different places.
        assert!(places.len() >= 10, "{places:?}");
    });
}

/// Plants a fault and goes on until it has struck; tells where it was noticed.
async fn find(driver: &mut Driver, generator: &mut Generator, fault: Fault) -> String {
    driver.plant(Some(fault));
    for _ in 0..STEPS_MAX {
        // Restarts only take time here.
        let step = match generator.step(&driver.world) {
            Step::Restart(_) => Step::Settle,
            step => step,
        };
        driver.step(&step).await.expect("both servers go on");
        if driver.has_spoiled() {
            // A watch is compared at the next quiet point.
            driver.step(&Step::Settle).await.expect("both servers go on");
            break;
        }
        assert!(driver.found.is_empty(), "{fault:?} is not planted yet: {}", driver.found[0]);
    }
    assert!(driver.has_spoiled(), "{fault:?} has met nothing to spoil");
    let found = std::mem::take(&mut driver.found);
    driver.plant(None);
    // A stream with one response too many goes on to differ.
    for slot in 0..generate::STREAMS_COUNT {
        let step = Step::Watch { slot, action: WatchAction::Drop };
        driver.step(&step).await.expect("both servers go on");
    }
    driver.found.clear();
    let Some(first) = found.first() else { panic!("{fault:?} went unnoticed") };
    first.difference.place.chars().filter(|c| !c.is_ascii_digit()).collect()
}
