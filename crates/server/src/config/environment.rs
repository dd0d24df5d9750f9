//! Settings from the environment: `ETCD_MAX_TXN_OPS=256`, or `METASTORE_MAX_TXN_OPS=256`.
//!
//! The variable of a flag is its name in capitals with `_` for `-`. Empty means unset. A variable
//! beside the same flag on the command line ends the start, whatever it holds: etcd does so, and
//! guessing which one was meant is how a member starts on the wrong disk.

use super::arguments::Arguments;
use super::error::InvalidConfig;
use super::flags::{self, Flag, Standing};
use super::notice::Notice;
use super::settings::Given;

/// The beginnings of a variable of ours, in the order in which they are read.
const PREFIXES: [&str; 2] = ["METASTORE_", "ETCD_"];

/// Flags that only make sense on a command line.
const COMMAND_LINE_ONLY: [&str; 3] = ["config-file", "version", "strict-flags"];

/// Names and values of the process's environment.
pub type Variables = [(String, String)];

/// The configuration file that the environment names.
#[must_use]
pub(super) fn config_file(variables: &Variables) -> Option<&str> {
    PREFIXES.iter().find_map(|prefix| {
        let name = format!("{prefix}CONFIG_FILE");
        let found = variables.iter().find(|(key, value)| *key == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    })
}

/// Adds what the environment sets to what the command line has set.
pub(super) fn read(
    variables: &Variables,
    arguments: &Arguments,
    given: &mut Given,
) -> Result<(), InvalidConfig> {
    for prefix in PREFIXES {
        let mut ours: Vec<_> =
            variables.iter().filter(|(key, _)| key.starts_with(prefix)).collect();
        // The environment has no order; the log should have one.
        ours.sort();
        for (variable, text) in ours {
            let Some(flag) = flag_of(variable, prefix) else {
                given.notices.push(Notice::UnknownVariable(format!("{variable}={text}")));
                continue;
            };
            if COMMAND_LINE_ONLY.contains(&flag.name) {
                if flag.name != "config-file" && !text.is_empty() {
                    given.notices.push(Notice::SpecialVariable(variable.clone()));
                }
                continue;
            }
            if arguments.get(flag.name).is_some() {
                return Err(InvalidConfig::Shadowed(variable.clone()));
            }
            if !text.is_empty() {
                set(flag, variable, text, given)?;
            }
        }
    }
    Ok(())
}

fn flag_of(variable: &str, prefix: &str) -> Option<&'static Flag> {
    let name = variable.strip_prefix(prefix)?;
    if name.contains(|c: char| c.is_ascii_lowercase() || c == '-') {
        return None;
    }
    let flag = flags::find(&name.to_ascii_lowercase().replace('_', "-"))?;
    (flag.standing != Standing::Ignored).then_some(flag)
}

fn set(
    flag: &'static Flag,
    variable: &str,
    text: &str,
    given: &mut Given,
) -> Result<(), InvalidConfig> {
    let value = flag.kind.parse(text).map_err(|source| InvalidConfig::Variable {
        variable: variable.to_owned(),
        value: text.to_owned(),
        source,
    })?;
    if let Some(earlier) = given.values.get(flag.name) {
        if *earlier == value {
            return Ok(());
        }
        let other = variable.replacen(PREFIXES[1], PREFIXES[0], 1);
        return Err(InvalidConfig::TwoVariables(variable.to_owned(), other));
    }
    given.values.insert(flag.name, value);
    let (name, value) = (variable.to_owned(), text.to_owned());
    given.notices.push(Notice::Variable { name, value });
    Ok(())
}
