//! Who hears of which change.
