//! The command line, in the syntax of Go's `flag` package.
//!
//! `-x` and `--x` are the same; a value follows after `=` or as the next word, except that a
//! switch takes one only after `=`; the last of several wins; `--` ends the flags. The first word
//! that is no flag ends them too and is refused, as etcd does:
//!
//! ```text
//!   --name a -name=b            name is b
//!   --pre-vote false            "false" is not a valid flag
//!   --bogus --help              flag provided but not defined: -bogus     (exit 2)
//!   --help --bogus              help                                      (exit 0)
//! ```

use std::collections::BTreeMap;

use super::error::UsageError;
use super::flags::{self, Flag};
use super::value::{Kind, Value};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Print the help text.
    Help,
    /// Print the version.
    Version,
    /// Start a member.
    Start(Arguments),
}

/// The flags that were given, each with its last value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    values: BTreeMap<&'static str, Value>,
    stray: Option<String>,
}

impl Request {
    /// Reads the words behind the program's name.
    pub fn parse(words: &[String]) -> Result<Request, UsageError> {
        let mut arguments = Arguments::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                arguments.stray = words.next().cloned();
                break;
            }
            if !word.starts_with('-') || word == "-" {
                arguments.stray = Some(word.clone());
                break;
            }
            let (name, inline) = split_flag(word)?;
            if name == "h" || name == "help" {
                return Ok(Request::Help);
            }
            let flag = flags::find(name).ok_or(UsageError::Undefined(name.to_owned()))?;
            let value = read_value(flag, inline, &mut words)?;
            arguments.values.insert(flag.name, value);
        }
        arguments.check_strictness()?;
        let version = arguments.values.get("version") == Some(&Value::Bool(true));
        match version && arguments.stray.is_none() {
            true => Ok(Request::Version),
            false => Ok(Request::Start(arguments)),
        }
    }
}

impl Arguments {
    /// What was given for a flag.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// Every flag that was given, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.values.iter().map(|(name, value)| (*name, value))
    }

    /// The word that stands where a flag should.
    #[must_use]
    pub fn stray(&self) -> Option<&str> {
        self.stray.as_deref()
    }

    fn check_strictness(&self) -> Result<(), UsageError> {
        if self.get("strict-flags") != Some(&Value::Bool(true)) {
            return Ok(());
        }
        let retired =
            self.values.keys().find(|name| flags::find(name).is_some_and(flags::is_retired));
        retired.map_or(Ok(()), |name| Err(UsageError::Undefined((*name).to_owned())))
    }
}

/// `--name=value` → `("name", Some("value"))`.
fn split_flag(word: &str) -> Result<(&str, Option<&str>), UsageError> {
    let body = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).unwrap_or(word);
    if body.is_empty() || body.starts_with(['-', '=']) {
        return Err(UsageError::Syntax(word.to_owned()));
    }
    Ok(match body.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (body, None),
    })
}

fn read_value<'a>(
    flag: &Flag,
    inline: Option<&str>,
    words: &mut impl Iterator<Item = &'a String>,
) -> Result<Value, UsageError> {
    let name = flag.name;
    if flag.kind == Kind::Bool {
        let text = inline.unwrap_or("true");
        return flag.kind.parse(text).map_err(|source| UsageError::Switch {
            flag: name,
            value: text.to_owned(),
            source,
        });
    }
    let text = match inline {
        Some(text) => text,
        None => words.next().ok_or(UsageError::NoValue(name))?,
    };
    flag.kind.parse(text).map_err(|source| UsageError::Value {
        flag: name,
        value: text.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::{Arguments, Request};
    use crate::config::error::chain;
    use crate::config::value::Value;

    fn parse(line: &str) -> Result<Request, String> {
        let words: Vec<String> =
            line.split(' ').filter(|w| !w.is_empty()).map(Into::into).collect();
        Request::parse(&words).map_err(|error| chain(&error))
    }

    fn arguments(line: &str) -> Arguments {
        match parse(line) {
            Ok(Request::Start(arguments)) => arguments,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn one_dash_or_two_and_the_last_of_several_wins() {
        for line in ["--name b", "-name b", "--name=b", "-name=b", "-name a --name=b"] {
            assert_eq!(arguments(line).get("name"), Some(&Value::Text("b".into())), "{line}");
        }
        assert_eq!(arguments("--name=a=b").get("name"), Some(&Value::Text("a=b".into())));
        assert_eq!(arguments("--name=").get("name"), Some(&Value::Text(String::new())));
        assert_eq!(arguments("--name --x").get("name"), Some(&Value::Text("--x".into())));
    }

    #[test]
    fn a_switch_takes_a_value_only_after_an_equals_sign() {
        assert_eq!(arguments("--pre-vote").get("pre-vote"), Some(&Value::Bool(true)));
        assert_eq!(arguments("--pre-vote=F").get("pre-vote"), Some(&Value::Bool(false)));
        let stray = arguments("--pre-vote false --name a");
        assert_eq!(stray.stray(), Some("false"));
        assert_eq!(stray.get("name"), None, "what follows is not read");
    }

    #[test]
    fn the_first_word_that_is_no_flag_ends_them() {
        assert_eq!(arguments("-").stray(), Some("-"));
        assert_eq!(arguments("--").stray(), None);
        assert_eq!(arguments("-- x").stray(), Some("x"));
        assert_eq!(arguments("--version stray").stray(), Some("stray"));
    }

    #[test]
    fn help_wins_over_what_follows_and_loses_to_what_precedes() {
        for line in ["-h", "--help", "-help --bogus", "--help=1", "-h=false", "--version -h"] {
            assert_eq!(parse(line), Ok(Request::Help), "{line}");
        }
        assert_eq!(parse("--version"), Ok(Request::Version));
        assert_eq!(parse("--bogus --help"), Err("flag provided but not defined: -bogus".into()));
    }

    #[test]
    fn each_mistake_gets_the_words_of_go() {
        for (line, message) in [
            ("--bogus=3", "flag provided but not defined: -bogus"),
            ("---x", "bad flag syntax: ---x"),
            ("--=x", "bad flag syntax: --=x"),
            ("--max-txn-ops", "flag needs an argument: -max-txn-ops"),
            ("--max-txn-ops abc", "invalid value \"abc\" for flag -max-txn-ops: parse error"),
            ("--pre-vote=maybe", "invalid boolean value \"maybe\" for -pre-vote: parse error"),
            (
                "--grpc-keepalive-interval 5",
                "invalid value \"5\" for flag -grpc-keepalive-interval: parse error",
            ),
            (
                "--initial-cluster-state foo",
                "invalid value \"foo\" for flag -initial-cluster-state: invalid value",
            ),
            (
                "--feature-gates Foo=true",
                "invalid value \"Foo=true\" for flag -feature-gates: unrecognized feature gate: Foo",
            ),
            (
                "--listen-client-urls foo",
                "invalid value \"foo\" for flag -listen-client-urls: URL scheme must be http, https, unix, or unixs: foo",
            ),
        ] {
            assert_eq!(parse(line), Err(message.to_owned()), "{line}");
        }
    }

    #[test]
    fn strict_flags_refuses_what_etcd_has_dropped_and_nothing_else() {
        arguments("--enable-v2 --experimental-max-learners 2 -vv");
        arguments("--strict-flags -vv --max-learners 2");
        for line in ["--strict-flags --enable-v2", "--experimental-max-learners 2 --strict-flags"] {
            let error = parse(line).expect_err(line);
            assert!(error.starts_with("flag provided but not defined: -"), "{error}");
        }
    }
}
