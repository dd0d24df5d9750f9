//! Every flag: one table, one row each.
//!
//! A row says what a flag is called, what it takes, what it is when nobody sets it, and where it
//! stands with us. Parsing, the environment, the configuration file, the help text, the warnings
//! and the refusals all come from the row. The rows are in `flags/table.rs`.
//!
//! ```text
//!   works("max-txn-ops", Kind::Uint, "128", "Operations that one transaction may carry.")
//!   └ standing  └ name       └ kind      └ default  └ help
//! ```
//!
//! To make a refused flag work, change the word in front of its row to `works` and read it with
//! `Settings` in `config/build.rs`. Nothing else lists flags.

mod table;

use super::value::Kind;

pub use table::{GROUPS, RETIRED};

/// A flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Its name, without dashes in front.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Its value when nobody sets it, as an operator would write it.
    pub default: &'static str,
    /// Whether it does anything.
    pub standing: Standing,
    /// One line for an operator.
    pub help: &'static str,
}

/// What happens to a flag that is given a value other than its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does what it says.
    Works,
    /// It is accepted without a word: what it asks for is met in another way, which its help says.
    Met,
    /// It is accepted with one warning. The text says what happens instead.
    Warned(&'static str),
    /// The start is refused, because going on without it would be unsafe. The text says why.
    Refused(&'static str),
    /// It is the old name of another flag: that one is set, with one warning.
    Renamed(&'static str),
    /// It is an old switch that became a feature gate: that one is set, with one warning.
    BecameGate(&'static str),
    /// It is an old switch: when on, it sets this flag to this text, with one warning.
    Implies(&'static str, &'static str),
    /// It is accepted and forgotten, as etcd does with flags of its first versions.
    Ignored,
}

/// Flags that the help text shows together.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The line above them.
    pub title: &'static str,
    /// The flags, in the order of the help text.
    pub flags: &'static [Flag],
}

/// The flags that print something and end, and those that say where the others come from.
pub const CONTROL: &[Flag] = &[
    works("config-file", Kind::Text, "", "YAML or JSON file; all other settings are then ignored."),
    works("version", Kind::Bool, "false", "Print the version and end."),
    works(
        "strict-flags",
        Kind::Bool,
        "false",
        "Refuse flags that etcd 3.7 no longer knows instead of accepting them with a warning.",
    ),
];

/// Every flag that etcd 3.7 knows or ours adds, in the order of the help text.
pub fn all() -> impl Iterator<Item = &'static Flag> {
    GROUPS.iter().flat_map(|group| group.flags).chain(CONTROL)
}

/// The flag of this name, retired ones included.
#[must_use]
pub fn find(name: &str) -> Option<&'static Flag> {
    all().chain(RETIRED).find(|flag| flag.name == name)
}

/// Whether etcd 3.7 refuses this name as unknown although we accept it.
#[must_use]
pub fn is_retired(flag: &Flag) -> bool {
    flag.standing != Standing::Ignored && RETIRED.iter().any(|retired| retired.name == flag.name)
}

const fn works(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, default, standing: Standing::Works, help }
}

const fn met(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, default, standing: Standing::Met, help }
}

const fn warned(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    instead: &'static str,
    help: &'static str,
) -> Flag {
    Flag { name, kind, default, standing: Standing::Warned(instead), help }
}

const fn refused(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    why: &'static str,
    help: &'static str,
) -> Flag {
    Flag { name, kind, default, standing: Standing::Refused(why), help }
}

const fn retired(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    standing: Standing,
) -> Flag {
    Flag { name, kind, default, standing, help: "" }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{CONTROL, RETIRED, Standing, all, find, is_retired};
    use crate::config::value::Value;

    #[test]
    fn every_default_is_a_value_of_its_kind() {
        for flag in all().chain(RETIRED) {
            flag.kind
                .parse(flag.default)
                .unwrap_or_else(|error| panic!("default of --{}: {error}", flag.name));
        }
    }

    #[test]
    fn every_flag_has_one_row_and_one_line_of_help() {
        let mut seen = BTreeSet::new();
        for flag in all().chain(RETIRED) {
            assert!(seen.insert(flag.name), "--{} has two rows", flag.name);
        }
        for flag in all() {
            assert!(flag.help.ends_with('.') && !flag.help.contains('\n'), "--{}", flag.name);
        }
    }

    #[test]
    fn a_retired_flag_leads_to_one_that_takes_the_same() {
        for flag in RETIRED {
            match flag.standing {
                Standing::Renamed(to) => {
                    let to = find(to).unwrap_or_else(|| panic!("--{}: no --{to}", flag.name));
                    assert_eq!((flag.kind, flag.default), (to.kind, to.default), "--{}", flag.name);
                    assert!(!is_retired(to), "--{} leads to a retired flag", flag.name);
                }
                Standing::Implies(to, text) => {
                    let to = find(to).unwrap_or_else(|| panic!("--{}: no --{to}", flag.name));
                    to.kind.parse(text).expect("the implied value is one of its kind");
                }
                Standing::BecameGate(gate) => {
                    let gates = super::Kind::Gates.parse(&format!("{gate}=true"));
                    assert!(matches!(gates, Ok(Value::Gates(_))), "--{}", flag.name);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn the_flags_of_control_are_switches_or_texts_that_work() {
        assert!(CONTROL.iter().all(|flag| flag.standing == Standing::Works));
    }
}
