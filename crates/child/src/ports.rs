//! Ports of the loopback interface that nobody listens on.

use std::net::{Ipv4Addr, TcpListener};

/// How many are tried: another process may be quicker.
const ATTEMPTS_MAX: u32 = 3;

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
/// The last one, if none of the attempts succeeds.
pub fn on_free_ports<const N: usize, T, E>(
    mut start: impl FnMut([u16; N]) -> Result<T, E>,
) -> Result<T, E> {
    for _ in 1..ATTEMPTS_MAX {
        if let Ok(started) = start(free_ports()) {
            return Ok(started);
        }
    }
    start(free_ports())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_again_on_other_ports() {
        let mut seen = Vec::new();
        let started = on_free_ports(|[one, other]| {
            assert_ne!(one, other);
            seen.push(one);
            if seen.len() < 3 { Err("taken") } else { Ok(one) }
        });
        assert_eq!(started, Ok(seen[2]));
        let never: Result<(), u16> = on_free_ports(|[port]| Err(port));
        assert!(never.is_err());
    }
}
