//! The order of commands.
