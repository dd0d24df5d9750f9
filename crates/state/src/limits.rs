//! Bounds of the state machine, each with its unit and its reason.
