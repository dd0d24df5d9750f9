//! Whether a sync that is alone in flight gets a second one beside it.
//!
//! Some virtual machines complete a lone request to an idle disk only with the next tick of the clock,
//! 4 ms later, and two at once in a tenth of a millisecond. On every other disk the second is in vain and
//! takes half as long again as the first alone. It is a matter of the host and of the hour, so it is
//! found out again and again:
//!
//! ```text
//!   alone ──three in a row are late──▶ in company, 16 syncs ──a look alone: late again──▶ 1,000 syncs
//!     ▲ ▲                               │                          │ quick          ▲          │
//!     │ └── it does not make them half ─┘                          │                └─ late ── a look
//!     └────────────────────────────────────────────────────────────┴──────────────── quick ──┘
//! ```
//!
//! A disk that was merely busy for a while is quick at the first look. Three looks of a thousand are too few
//! for the 99th percentile to notice.

use std::time::Duration;

/// Whether a sync that would be alone in flight gets a second one of the same segment beside it, on
/// an idle lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Companion {
    /// It does not.
    #[default]
    Never,
    /// As long as that makes late ones quicker.
    WhileLate,
    /// It does: to measure what that costs.
    Always,
}

/// A lone sync that takes longer waits for something else than its bytes: a disk with a cache that
/// survives power cuts needs a tenth, and one without is late in company, too.
pub(super) const LATE: Duration = Duration::from_millis(1);
/// So many in a row are no accident.
const IN_A_ROW: u32 = 3;
/// Syncs in company until the first look whether they would be late without.
const TRIAL: u32 = 16;
/// Syncs until company that helped, or did not, is looked at again.
const PATIENCE: u32 = 1_000;

/// What is known of the syncs that were alone.
#[derive(Debug, Default)]
pub(super) struct Company {
    /// Late ones in a row without company, or in company that did not help.
    in_a_row: u32,
    /// The quickest of the late ones in this row.
    alone: Duration,
    /// So many more get company.
    accompanied: u32,
    /// It helped, and no lone one has been quick since.
    is_proven: bool,
    /// So many more are left alone, late or not.
    left_alone: u32,
}

impl Company {
    /// Whether the next lone sync gets company.
    pub(super) fn is_wanted(&self, companion: Companion) -> bool {
        match companion {
            Companion::Never => false,
            Companion::WhileLate => self.accompanied > 0,
            Companion::Always => true,
        }
    }

    /// Learns from a sync beside which nothing else was written.
    pub(super) fn took(&mut self, was_accompanied: bool, time: Duration) {
        if was_accompanied {
            if self.has_row(time > self.alone / 2) {
                *self = Company { left_alone: PATIENCE, ..Company::default() };
                return;
            }
            self.accompanied = self.accompanied.saturating_sub(1);
            if self.accompanied == 0 {
                (self.in_a_row, self.is_proven) = (0, true);
            }
        } else if self.left_alone > 0 {
            self.left_alone -= 1;
        } else {
            let is_late = time >= LATE;
            self.is_proven &= is_late;
            self.alone = if self.in_a_row == 0 { time } else { self.alone.min(time) };
            if self.has_row(is_late) {
                self.accompanied = if self.is_proven { PATIENCE } else { TRIAL };
            }
        }
    }

    /// Whether that makes a whole row; if so the next one begins.
    fn has_row(&mut self, once_more: bool) -> bool {
        self.in_a_row = if once_more { self.in_a_row + 1 } else { 0 };
        let whole = self.in_a_row == IN_A_ROW;
        if whole {
            self.in_a_row = 0;
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(4);
    const QUICK: Duration = Duration::from_micros(100);

    /// Syncs on a disk that takes so long alone and so long in company; how many were alone, and how
    /// many of those late.
    fn syncs(
        company: &mut Company,
        count: u32,
        alone: Duration,
        in_company: Duration,
    ) -> (u32, u32) {
        let (mut lone, mut late) = (0, 0);
        for _ in 0..count {
            let accompanied = company.is_wanted(Companion::WhileLate);
            let time = if accompanied { in_company } else { alone };
            company.took(accompanied, time);
            lone += u32::from(!accompanied);
            late += u32::from(!accompanied && time >= LATE);
        }
        (lone, late)
    }

    #[test]
    fn a_disk_that_is_quick_alone_gets_no_company() {
        let mut company = Company::default();
        assert_eq!(syncs(&mut company, 10_000, QUICK, 2 * QUICK), (10_000, 0));
    }

    #[test]
    fn one_late_sync_now_and_then_is_an_accident() {
        let mut company = Company::default();
        for _ in 0..1_000 {
            company.took(false, TICK);
            company.took(false, TICK);
            company.took(false, QUICK);
            assert!(!company.is_wanted(Companion::WhileLate));
        }
    }

    #[test]
    fn a_disk_that_answers_with_the_tick_gets_company_for_all_but_a_few() {
        let mut company = Company::default();
        let looks = 11 * IN_A_ROW;
        let (lone, late) = syncs(&mut company, TRIAL + 10 * PATIENCE + looks, TICK, QUICK);
        assert_eq!((lone, late), (looks, looks));
    }

    #[test]
    fn company_that_does_not_help_is_not_asked_for_again_for_long() {
        let mut company = Company::default();
        let (lone, _) = syncs(&mut company, 10_060, TICK, TICK);
        assert_eq!(lone, 10_060 - 10 * IN_A_ROW);
    }

    #[test]
    fn a_disk_that_was_busy_for_a_while_is_left_alone_soon() {
        let mut company = Company::default();
        syncs(&mut company, IN_A_ROW + 1, TICK, QUICK);
        assert!(company.is_wanted(Companion::WhileLate));
        assert_eq!(syncs(&mut company, 5_000, QUICK, QUICK), (5_000 - (TRIAL - 1), 0));
    }

    #[test]
    fn a_disk_that_answered_with_the_tick_and_has_become_quick_is_left_alone_again() {
        let mut company = Company::default();
        syncs(&mut company, 2 * IN_A_ROW + TRIAL + 1, TICK, QUICK);
        assert_eq!(syncs(&mut company, PATIENCE, QUICK, QUICK), (1, 0));
        assert_eq!(syncs(&mut company, 5_000, QUICK, QUICK), (5_000, 0));
    }
}
