//! What `--help` prints: how to call the program, and every row of the table.
//!
//! As with etcd the usage goes to the error stream and the list of flags to the output, so that
//! `metastore --help | grep compaction` works.

use std::fmt::Write;

use super::flags::{CONTROL, Flag, GROUPS, Standing};
use super::program::Program;
use super::value::Kind;

/// How to call the program.
#[must_use]
pub(super) fn usage(program: Program) -> String {
    let name = program.name();
    format!(
        "Usage:\n\n  \
         {name} [flags]\n    Start a member.\n\n  \
         {name} --version\n    Print the version.\n\n  \
         {name} -h | --help\n    Print every flag.\n\n  \
         {name} --config-file FILE\n    \
         Start a member with the settings of a YAML or JSON file; flags and variables are then\n    \
         ignored. Durations in the file are nanoseconds.\n\n\
         A flag --max-txn-ops can also be set as ETCD_MAX_TXN_OPS or METASTORE_MAX_TXN_OPS.\n"
    )
}

/// Every flag.
#[must_use]
pub(super) fn flag_list() -> String {
    let mut text = String::new();
    for group in GROUPS {
        add_group(&mut text, group.title, group.flags);
    }
    add_group(&mut text, "Where settings come from", CONTROL);
    text
}

fn add_group(text: &mut String, title: &str, flags: &[Flag]) {
    writeln!(text, "\n{title}:").expect("a string takes everything");
    for flag in flags {
        add_flag(text, flag).expect("a string takes everything");
    }
}

fn add_flag(text: &mut String, flag: &Flag) -> std::fmt::Result {
    match flag.kind {
        Kind::Bool if flag.default == "false" => writeln!(text, "  --{}", flag.name)?,
        _ => writeln!(text, "  --{} '{}'", flag.name, flag.default)?,
    }
    writeln!(text, "    {}", flag.help)?;
    match flag.standing {
        Standing::Warned(instead) => writeln!(text, "    (accepted with a warning: {instead})"),
        Standing::Refused(why) => writeln!(text, "    (refused: {why})"),
        _ => Ok(()),
    }
}
