//! Every message and method by its description: what lets one comparison serve them all.
//!
//! ```
//! use compat::schema;
//! let put = schema::method("/etcdserverpb.KV/Put").unwrap();
//! assert_eq!(put.input().full_name(), "etcdserverpb.PutRequest");
//! assert_eq!(schema::path(&put), "/etcdserverpb.KV/Put");
//! ```
//!
//! What it does not do: it knows nothing of what a message means.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, ReflectMessage, Value};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(metastore_proto::DESCRIPTORS).expect("generated from the .proto files")
});

/// All services.
#[must_use]
pub fn pool() -> &'static DescriptorPool {
    &POOL
}

/// The method behind a path, if there is one.
#[must_use]
pub fn method(path: &str) -> Option<MethodDescriptor> {
    let (service, method) = path.strip_prefix('/')?.rsplit_once('/')?;
    let service = POOL.get_service_by_name(service)?;
    service.methods().find(|known| known.name() == method)
}

/// Every method of every service, in the order of the files.
pub fn methods() -> impl Iterator<Item = MethodDescriptor> {
    POOL.services().flat_map(|service| service.methods().collect::<Vec<_>>())
}

/// The path under which a method is called.
#[must_use]
pub fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// A message on one line: set fields only, long bytes cut, as `key: "a", limit: 3`.
#[must_use]
pub fn text(message: &DynamicMessage) -> String {
    let fields = message.fields().map(|(field, value)| match value {
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(value_text).collect();
            format!("{}: [{}]", field.name(), items.join(", "))
        }
        value => format!("{}: {}", field.name(), value_text(value)),
    });
    let mut parts: Vec<String> = fields.collect();
    let unknown = message.unknown_fields().count();
    if unknown > 0 {
        parts.push(format!("({unknown} unknown fields)"));
    }
    parts.join(", ")
}

/// A value on one line.
#[must_use]
pub fn value_text(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => bytes_text(bytes),
        Value::String(string) => format!("{string:?}"),
        Value::Message(message) => format!("{{{}}}", text(message)),
        Value::Bool(value) => value.to_string(),
        Value::I32(value) => value.to_string(),
        Value::I64(value) => value.to_string(),
        Value::U32(value) => value.to_string(),
        Value::U64(value) => value.to_string(),
        Value::EnumNumber(value) => format!("#{value}"),
        Value::List(items) => {
            format!("[{}]", items.iter().map(value_text).collect::<Vec<_>>().join(", "))
        }
        other => format!("{other:?}"),
    }
}

/// Bytes as text where they are text; of many, only the first and their number.
fn bytes_text(bytes: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 40;
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    let text = shown.escape_ascii();
    if shown.len() == bytes.len() {
        format!("\"{text}\"")
    } else {
        format!("\"{text}\"… {} bytes", bytes.len())
    }
}

/// A message of this type from its bytes; `None` if they are no such message.
#[must_use]
pub fn decode(
    descriptor: prost_reflect::MessageDescriptor,
    bytes: &[u8],
) -> Option<DynamicMessage> {
    DynamicMessage::decode(descriptor, bytes).ok()
}

/// A typed message by its description.
///
/// # Panics
///
/// If the message is not one of etcd's.
#[must_use]
pub fn dynamic(name: &str, message: &impl prost::Message) -> DynamicMessage {
    let descriptor = POOL.get_message_by_name(name).expect("a message of etcd's");
    DynamicMessage::decode(descriptor, &message.encode_to_vec()[..]).expect("encoded just now")
}

/// Names of the message's type, for paths.
#[must_use]
pub fn short_name(message: &DynamicMessage) -> String {
    message.descriptor().name().to_owned()
}
