//! Names, numbers and types on the wire are those of etcd 3.7 and never change.
//!
//! `wire.txt` holds the facts as a table, collected independently of our `.proto` files; here it is
//! compared with what those files say.

use std::fmt::Write;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
};

const FILES: [&str; 5] =
    ["kv.proto", "auth.proto", "rpc.proto", "v3lock.proto", "v3election.proto"];
const FACTS: &str = include_str!("wire.txt");

#[test]
fn every_message_enum_and_service_is_as_in_etcd() {
    let differences = differences(&descriptors(), FACTS);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(FACTS.lines().count(), 135, "lines of wire.txt");
}

#[test]
fn a_changed_number_type_or_name_is_noticed() {
    for (fact, lie) in [
        ("range_end=64 bytes", "range_end=9 bytes"),
        ("hash=2 uint32", "hash=2 uint64"),
        ("grantedTTL=4 int64", "granted_ttl=4 int64"),
        ("NOSPACE=1", "NOSPACE=2"),
        ("-> stream SnapshotResponse", "-> SnapshotResponse"),
    ] {
        assert!(FACTS.contains(fact), "{fact} is not among the facts");
        let facts = FACTS.replace(fact, lie);
        assert!(!differences(&descriptors(), &facts).is_empty(), "{lie} went unnoticed");
    }
}

fn descriptors() -> Vec<FileDescriptorProto> {
    let proto_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
    protox::compile(FILES, [proto_dir]).expect("the .proto files are valid").file
}

fn differences(files: &[FileDescriptorProto], facts: &str) -> Vec<String> {
    let mut ours: Vec<String> = files.iter().flat_map(describe).collect();
    let mut theirs: Vec<String> = facts.lines().map(|line| line.trim_end().to_owned()).collect();
    ours.sort();
    theirs.sort();
    let unexpected = ours
        .iter()
        .filter(|line| !theirs.contains(line))
        .map(|line| format!("only in proto/: {line}"));
    let missing = theirs
        .iter()
        .filter(|line| !ours.contains(line))
        .map(|line| format!("only in wire.txt: {line}"));
    unexpected.chain(missing).collect()
}

/// One line per message, enum and service: kind, full name, parts in the order of their numbers.
fn describe(file: &FileDescriptorProto) -> Vec<String> {
    let package = file.package();
    let mut lines = Vec::new();
    for item in &file.enum_type {
        lines.push(describe_enum(package, item));
    }
    for message in &file.message_type {
        lines.push(describe_message(package, message));
        for item in &message.enum_type {
            lines.push(describe_enum(&format!("{package}.{}", message.name()), item));
        }
        assert!(message.nested_type.is_empty(), "no message of etcd nests another");
    }
    for service in &file.service {
        let methods = service.method.iter().map(|method| {
            let stream = |streams: bool| if streams { "stream " } else { "" };
            format!(
                "{}({}{}) -> {}{}",
                method.name(),
                stream(method.client_streaming()),
                short(method.input_type()),
                stream(method.server_streaming()),
                short(method.output_type()),
            )
        });
        let methods: Vec<String> = methods.collect();
        lines.push(format!("service {package}.{}: {}", service.name(), methods.join(", ")));
    }
    lines
}

fn describe_enum(scope: &str, item: &EnumDescriptorProto) -> String {
    let values: Vec<String> =
        item.value.iter().map(|value| format!("{}={}", value.name(), value.number())).collect();
    format!("enum {scope}.{}: {}", item.name(), values.join(", "))
}

fn describe_message(package: &str, message: &DescriptorProto) -> String {
    let fields: Vec<String> =
        message.field.iter().map(|field| describe_field(message, field)).collect();
    format!("message {package}.{}: {}", message.name(), fields.join(", ")).trim_end().to_owned()
}

fn describe_field(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let mut text = format!("{}={} ", field.name(), field.number());
    if field.label() == Label::Repeated {
        text.push_str("[]");
    }
    text.push_str(match field.r#type() {
        Type::Bytes => "bytes",
        Type::Bool => "bool",
        Type::String => "string",
        Type::Int64 => "int64",
        Type::Uint64 => "uint64",
        Type::Uint32 => "uint32",
        Type::Message | Type::Enum => short(field.type_name()),
        other => panic!("{} has a type that etcd never uses: {other:?}", field.name()),
    });
    if let Some(oneof) = field.oneof_index {
        let oneof = usize::try_from(oneof).expect("an index");
        write!(text, " of {}", message.oneof_decl[oneof].name()).expect("a String takes all");
    }
    text
}

fn short(type_name: &str) -> &str {
    type_name.rsplit('.').next().unwrap_or(type_name)
}
