//! Settings from a file: YAML, or JSON, which is YAML.
//!
//! ```yaml
//! name: a                          # a flag's name and a value of its type
//! heartbeat-interval: 100          # milliseconds: it is a plain number as a flag, too
//! grpc-keepalive-interval: 7200000000000   # a duration: nanoseconds ("2h" is read as well)
//! log-outputs: [stderr, /var/log/metastore.log]
//! listen-client-urls: http://127.0.0.1:2379,unix:///run/metastore.sock
//! client-transport-security: {cert-file: server.crt}   # --cert-file
//! ```
//!
//! Types are strict, as in etcd: `name: 3` is refused. A key without a value is unset, names may
//! be written in any case, the last of several wins, an unknown key leaves a notice.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use super::duration::GoDuration;
use super::error::InvalidConfig;
use super::flags::{self, Flag, Standing};
use super::notice::Notice;
use super::settings::Given;
use super::value::{Kind, Value};

/// Flags that are no keys: etcd reads them from the command line alone.
const NOT_IN_FILES: [&str; 6] = [
    "config-file",
    "version",
    "strict-flags",
    "discovery-fallback",
    "raft-read-timeout",
    "raft-write-timeout",
];

/// A section and what its keys are called as flags.
struct Section {
    key: &'static str,
    /// In front of the key; the whole name for those listed in `renamed`.
    prefix: &'static str,
    renamed: &'static [(&'static str, &'static str)],
    /// Keys without a flag whose loss would be unsafe.
    refused: &'static [&'static str],
}

const SECTIONS: [Section; 4] = [
    Section {
        key: "client-transport-security",
        prefix: "",
        renamed: &[("allowed-hostname", "client-cert-allowed-hostname")],
        refused: &["allowed-cn", "skip-client-san-verification"],
    },
    Section {
        key: "peer-transport-security",
        prefix: "peer-",
        renamed: &[
            ("client-cert-file", "peer-client-cert-file"),
            ("allowed-cn", "peer-cert-allowed-cn"),
            ("allowed-hostname", "peer-cert-allowed-hostname"),
        ],
        refused: &[],
    },
    Section { key: "socket-options", prefix: "socket-", renamed: &[], refused: &[] },
    Section {
        key: "discovery-config",
        prefix: "discovery-",
        renamed: &[],
        refused: &["secure", "auth"],
    },
];

const NO_SUCH_CHECK: &str = "TLS is not available, and nothing would check it";

/// Reads all settings of a file.
pub(super) fn read(path: &Path) -> Result<Given, InvalidConfig> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| InvalidConfig::OpenFile { path: path.to_owned(), source })?;
    let mut given = parse(&text, path)?;
    given.notices.insert(0, Notice::File(path.to_owned()));
    Ok(given)
}

fn parse(text: &str, path: &Path) -> Result<Given, InvalidConfig> {
    let mut given = Given::default();
    for (key, json) in keys(text, path)? {
        let key = key.to_ascii_lowercase();
        match SECTIONS.iter().find(|section| section.key == key) {
            Some(section) => read_section(section, &json, &mut given)?,
            None => read_key(&key, &key, &json, &mut given)?,
        }
    }
    Ok(given)
}

fn keys(text: &str, path: &Path) -> Result<Map<String, Json>, InvalidConfig> {
    let mut options = serde_saphyr::Options::default();
    options.duplicate_keys = serde_saphyr::options::DuplicateKeyPolicy::LastWins;
    let parsed: Json = if text.trim().is_empty() {
        Json::Null
    } else {
        serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            InvalidConfig::Syntax { path: path.to_owned(), source: Box::new(error) }
        })?
    };
    match parsed {
        Json::Object(keys) => Ok(keys),
        Json::Null => Ok(Map::new()),
        _ => Err(InvalidConfig::NoKeys { path: PathBuf::from(path) }),
    }
}

fn read_section(section: &Section, json: &Json, given: &mut Given) -> Result<(), InvalidConfig> {
    let keys = match json {
        Json::Null => return Ok(()),
        Json::Object(keys) => keys,
        _ => return Err(type_error(section.key, "keys with values")),
    };
    for (key, json) in keys {
        let key = key.to_ascii_lowercase();
        let shown = format!("{}.{key}", section.key);
        if section.refused.contains(&key.as_str()) {
            if !is_nothing(json) {
                return Err(InvalidConfig::Unsafe { setting: shown, why: NO_SUCH_CHECK });
            }
            continue;
        }
        let renamed = section.renamed.iter().find(|(from, _)| *from == key);
        let name = renamed.map_or(format!("{}{key}", section.prefix), |(_, to)| (*to).to_owned());
        read_key(&name, &shown, json, given)?;
    }
    Ok(())
}

/// Whether a value asks for nothing: null, false, empty, or only such things inside.
fn is_nothing(json: &Json) -> bool {
    match json {
        Json::Null => true,
        Json::Bool(value) => !value,
        Json::Number(number) => number.as_f64() == Some(0.0),
        Json::String(text) => text.is_empty(),
        Json::Array(items) => items.iter().all(is_nothing),
        Json::Object(keys) => keys.values().all(is_nothing),
    }
}

fn read_key(name: &str, shown: &str, json: &Json, given: &mut Given) -> Result<(), InvalidConfig> {
    let flag = flags::find(name)
        .filter(|flag| flag.standing != Standing::Ignored && !NOT_IN_FILES.contains(&flag.name));
    let Some(flag) = flag else {
        given.notices.push(Notice::UnknownKey(shown.to_owned()));
        return Ok(());
    };
    // Old sample files hold `proxy: off` and the like, which etcd does not read any more.
    if flags::is_retired(flag)
        && matches!(flag.standing, Standing::Refused(_) | Standing::Warned(_))
    {
        given.notices.push(Notice::UnknownKey(shown.to_owned()));
        return Ok(());
    }
    if !json.is_null() {
        given.values.insert(flag.name, typed(flag, shown, json)?);
    }
    Ok(())
}

fn typed(flag: &Flag, key: &str, json: &Json) -> Result<Value, InvalidConfig> {
    let text = |text: &str| {
        let parsed = flag.kind.parse(text);
        parsed.map_err(|source| InvalidConfig::KeyValue { key: key.to_owned(), source })
    };
    match (flag.kind, json) {
        (Kind::Bool, Json::Bool(value)) => Ok(Value::Bool(*value)),
        (Kind::Bool, _) => Err(type_error(key, "true or false")),
        (Kind::Int | Kind::Uint | Kind::Uint32, Json::Number(number)) => {
            text(&whole_number(number).ok_or_else(|| type_error(key, "a whole number"))?)
        }
        (Kind::Int | Kind::Uint | Kind::Uint32, _) => Err(type_error(key, "a whole number")),
        (Kind::Duration, Json::Number(number)) => {
            let nanos = whole_number(number).and_then(|digits| digits.parse().ok());
            let nanos = nanos.ok_or_else(|| type_error(key, "whole nanoseconds"))?;
            Ok(Value::Duration(GoDuration(nanos)))
        }
        (Kind::Duration, Json::String(value)) => text(value),
        (Kind::Duration, _) => Err(type_error(key, "whole nanoseconds")),
        (Kind::Sequence | Kind::Texts, Json::Array(items)) => {
            let items: Option<Vec<_>> =
                items.iter().map(|i| i.as_str().map(str::to_owned)).collect();
            items.map(Value::Texts).ok_or_else(|| type_error(key, "a list of texts"))
        }
        (Kind::Sequence, _) => Err(type_error(key, "a list of texts")),
        (_, Json::String(value)) => text(value),
        (_, _) => Err(type_error(key, "a text (put it in quotes)")),
    }
}

/// `1000` and `1e3` alike, as digits.
fn whole_number(number: &serde_json::Number) -> Option<String> {
    if number.is_i64() || number.is_u64() {
        return Some(number.to_string());
    }
    // Above 2^53 a float no longer says which whole number was meant.
    number.as_f64().filter(|f| f.fract() == 0.0 && f.abs() <= 9e15).map(|f| format!("{f:.0}"))
}

fn type_error(key: &str, wanted: &'static str) -> InvalidConfig {
    InvalidConfig::KeyType { key: key.to_owned(), wanted }
}
