//! Generates the messages and services twice from one set of descriptors, without `protoc`.
//!
//! 1. As they stand, with clients: what an SDK or a test needs.
//! 2. For the server: every `KeyValue` that a response embeds becomes `bytes`, which is the same on
//!    the wire, so that the server sends the bytes it has stored. Only the messages that change
//!    thereby are generated again; the others are those of 1.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::PathBuf;

use heck::ToUpperCamelCase;
use prost::Message;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};

const FILES: [&str; 6] =
    ["kv.proto", "auth.proto", "rpc.proto", "v3lock.proto", "v3election.proto", "health.proto"];
const KEY_VALUE: &str = ".mvccpb.KeyValue";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out_dir = PathBuf::from(std::env::var("OUT_DIR")?);
    // For programs that look at any message without knowing its type.
    std::fs::write(out_dir.join("descriptors.bin"), descriptors.encode_to_vec())?;

    tonic_prost_build::configure()
        .build_server(false)
        .bytes(".")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors.clone())?;

    let server_dir = out_dir.join("server");
    std::fs::create_dir_all(&server_dir)?;
    let (descriptors, unchanged) = with_key_values_as_bytes(descriptors);
    let mut builder = tonic_prost_build::configure()
        .build_client(false)
        .codec_path("crate::codec::SizedCodec")
        .bytes(".")
        .emit_rerun_if_changed(false)
        .out_dir(server_dir);
    for (proto_path, rust_path) in unchanged {
        builder = builder.extern_path(proto_path, rust_path);
    }
    builder.compile_fds(descriptors)?;
    Ok(())
}

/// Turns the `KeyValue` fields of responses into `bytes`. Also answers with the paths of the
/// messages and enums that this leaves as they are, in protobuf and in Rust.
fn with_key_values_as_bytes(
    mut descriptors: FileDescriptorSet,
) -> (FileDescriptorSet, Vec<(String, String)>) {
    let mut changed = BTreeSet::new();
    for file in &mut descriptors.file {
        let package = file.package().to_owned();
        // Events belong to the watch response, which a server puts together byte by byte.
        if package == "mvccpb" {
            continue;
        }
        for message in &mut file.message_type {
            for field in &mut message.field {
                if field.type_name() == KEY_VALUE {
                    field.type_name = None;
                    field.set_type(Type::Bytes);
                    changed.insert(format!(".{package}.{}", message.name.as_deref().unwrap_or("")));
                }
            }
        }
    }
    assert!(changed.len() >= 4, "only {} messages embed a KeyValue", changed.len());
    spread(&descriptors, &mut changed);

    let mut unchanged = Vec::new();
    for file in &descriptors.file {
        let package = file.package();
        let messages = file.message_type.iter().map(DescriptorProto::name);
        let enums = file.enum_type.iter().map(|item| item.name());
        for name in messages.chain(enums) {
            let path = format!(".{package}.{name}");
            if !changed.contains(&path) {
                let module = package.replace('.', "::");
                unchanged.push((path, format!("crate::{module}::{}", name.to_upper_camel_case())));
            }
        }
    }
    (descriptors, unchanged)
}

/// What embeds a changed message changes too.
fn spread(descriptors: &FileDescriptorSet, changed: &mut BTreeSet<String>) {
    loop {
        let before = changed.len();
        for file in &descriptors.file {
            for message in &file.message_type {
                if message.field.iter().any(|field| changed.contains(field.type_name())) {
                    changed.insert(format!(".{}.{}", file.package(), message.name()));
                }
            }
        }
        if changed.len() == before {
            return;
        }
    }
}
