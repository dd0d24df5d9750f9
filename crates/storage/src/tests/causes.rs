//! An error with its causes on one line, for whoever reads of a failed test.

use std::error::Error;
use std::iter::successors;

pub(crate) fn chain(error: &dyn Error) -> String {
    let causes = successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
