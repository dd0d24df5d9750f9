//! Ports of the loopback interface that nobody listens on.

use std::fmt::Display;
use std::net::{Ipv4Addr, TcpListener};

/// How many are tried: another process may be quicker.
const ATTEMPTS_MAX: u32 = 5;

/// What every server says of such a port.
pub const IN_USE: &str = "in use";

/// Ports that were free a moment ago, all different.
///
/// # Panics
/// If the machine has none left.
#[must_use]
pub fn free_ports<const N: usize>() -> [u16; N] {
    let bind = |()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    // All are bound before the first is given up.
    let listeners = [(); N].map(bind);
    listeners.map(|listener| listener.local_addr().expect("bound above").port())
}

/// Starts something on free ports, and on others if another process was quicker.
///
/// # Errors
/// The first that does not say so, or the last one.
pub fn on_free_ports<const N: usize, T, E: Display>(
    mut start: impl FnMut([u16; N]) -> Result<T, E>,
) -> Result<T, E> {
    for _ in 1..ATTEMPTS_MAX {
        match start(free_ports()) {
            Err(error) if format!("{error:#}").contains(IN_USE) => {}
            started => return started,
        }
    }
    start(free_ports())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_replaced_and_other_failures_are_told_at_once() {
        let mut seen = Vec::new();
        let started = on_free_ports(|[one, other]| {
            assert_ne!(one, other);
            seen.push(one);
            if seen.len() < 3 { Err("address already in use") } else { Ok(one) }
        });
        assert_eq!(started, Ok(seen[2]));
        let mut attempts = 0;
        let never: Result<(), &str> = on_free_ports(|[_]| {
            attempts += 1;
            Err("broken")
        });
        assert_eq!((never, attempts), (Err("broken"), 1));
    }
}
