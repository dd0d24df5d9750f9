//! The differences that have a reason: each is one entry here and one line in `docs/compat.md`.

use crate::answer::Difference;
use crate::wire::Call;
use crate::world::World;

/// Why this difference is none, if there is a reason.
#[must_use]
pub fn explanation(world: &World, call: &Call, difference: &Difference) -> Option<&'static str> {
    TABLE.iter().find(|entry| (entry.applies)(world, call, difference)).map(|entry| entry.name)
}

/// A reason and where it holds.
#[derive(Clone, Copy, Debug)]
pub struct Explained {
    /// How the line in `docs/compat.md` begins.
    pub name: &'static str,
    applies: fn(&World, &Call, &Difference) -> bool,
}

/// All reasons.
pub const TABLE: &[Explained] = &[];
