//! All settings under their present names, each with the value that counts.
//!
//! ```text
//!   command line + environment   ─┐
//!            or                   ├─▶ Given ──settle──▶ Settings ──build──▶ Config
//!   configuration file           ─┘       (old names, standing, defaults)
//! ```
//!
//! Settling is where a flag's [`Standing`] takes effect: an old name sets the new one unless that
//! was given too, what has no effect leaves a notice, what is unsafe to ignore refuses the start.
//! All three only happen if the value is not the default: asking for what happens anyway is fine.

use std::collections::{BTreeMap, BTreeSet};

use super::duration::GoDuration;
use super::error::InvalidConfig;
use super::flags::{self, Flag, RETIRED, Standing};
use super::gates::FeatureGates;
use super::notice::Notice;
use super::urls::Url;
use super::value::Value;

/// What was given, by flag; old names included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    /// The last value given for each flag.
    pub values: BTreeMap<&'static str, Value>,
    /// What there is to say about where they came from.
    pub notices: Vec<Notice>,
}

/// Every setting with its value.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    values: BTreeMap<&'static str, Value>,
    set: BTreeSet<&'static str>,
    notices: Vec<Notice>,
}

impl Settings {
    /// Applies old names, standings and defaults.
    pub(super) fn settle(given: Given) -> Result<Settings, InvalidConfig> {
        let mut settings = Settings {
            set: given.values.keys().copied().collect(),
            values: given.values,
            notices: given.notices,
        };
        for flag in RETIRED {
            settings.redirect(flag);
        }
        for flag in flags::all() {
            settings.judge(flag)?;
            settings.values.entry(flag.name).or_insert_with(|| default_of(flag));
        }
        // Old names that lead nowhere; `redirect` has taken the others out.
        for flag in RETIRED {
            settings.judge(flag)?;
        }
        Ok(settings)
    }

    /// Sets what an old name stands for.
    fn redirect(&mut self, old: &Flag) {
        let (name, value) = match old.standing {
            Standing::Renamed(name) => {
                let Some(value) = self.values.remove(old.name) else { return };
                (name, value)
            }
            Standing::BecameGate(gate) => return self.redirect_to_gate(old, gate),
            Standing::Implies(name, text) => {
                if self.values.remove(old.name) != Some(Value::Bool(true)) {
                    return;
                }
                let flag = flags::find(name).expect("the table leads to rows of its own");
                (name, flag.kind.parse(text).expect("the table implies values of the kind"))
            }
            _ => return,
        };
        self.notices.push(Notice::Renamed { flag: old.name, now: format!("--{name}") });
        if self.set.insert(name) {
            self.values.insert(name, value);
        }
    }

    fn redirect_to_gate(&mut self, old: &Flag, gate: &'static str) {
        let Some(Value::Bool(on)) = self.values.remove(old.name) else { return };
        let now = format!("--feature-gates={gate}={on}");
        self.notices.push(Notice::Renamed { flag: old.name, now });
        let gates = self.values.entry("feature-gates");
        let gates = gates.or_insert_with(|| Value::Gates(FeatureGates::default()));
        if let Value::Gates(gates) = gates {
            gates.set(gate, on);
        }
    }

    /// Warns or refuses if the flag was given a value that would change something.
    fn judge(&mut self, flag: &'static Flag) -> Result<(), InvalidConfig> {
        match self.values.get(flag.name) {
            Some(value) if *value != default_of(flag) => {}
            _ => return Ok(()),
        }
        match flag.standing {
            Standing::Warned(instead) => {
                self.notices.push(Notice::NotYet { flag: flag.name, instead });
                Ok(())
            }
            Standing::Refused(why) => {
                Err(InvalidConfig::Unsafe { setting: format!("--{}", flag.name), why })
            }
            _ => Ok(()),
        }
    }

    /// Whether somebody gave it a value.
    #[must_use]
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.set.contains(name)
    }

    /// Adds a remark.
    pub(super) fn note(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// The remarks so far.
    #[must_use]
    pub(super) fn into_notices(self) -> Vec<Notice> {
        self.notices
    }

    fn value(&self, name: &str) -> &Value {
        self.values.get(name).unwrap_or_else(|| panic!("no row for --{name}"))
    }
}

/// # Panics
/// If the row's default is not of its kind; a test reads every row.
fn default_of(flag: &Flag) -> Value {
    let parsed = flag.kind.parse(flag.default);
    parsed.unwrap_or_else(|error| panic!("default of --{}: {error}", flag.name))
}

/// Typed access; asking for another type than the row's is a mistake in our code and panics.
macro_rules! getter {
    ($name:ident, $variant:ident, $type:ty, $read:expr) => {
        #[doc = concat!("The value of a flag whose row says `", stringify!($variant), "`.")]
        #[must_use]
        pub(super) fn $name(&self, name: &str) -> $type {
            match self.value(name) {
                Value::$variant(value) => $read(value),
                other => panic!("--{name} holds {other:?}"),
            }
        }
    };
}

impl Settings {
    getter!(text, Text, &str, String::as_str);
    getter!(switch, Bool, bool, |value: &bool| *value);
    getter!(int, Int, i64, |value: &i64| *value);
    getter!(uint, Uint, u64, |value: &u64| *value);
    getter!(duration, Duration, GoDuration, |value: &GoDuration| *value);
    getter!(urls, Urls, Vec<Url>, Vec::clone);
    getter!(texts, Texts, &[String], Vec::as_slice);
    getter!(gates, Gates, FeatureGates, FeatureGates::clone);
}
