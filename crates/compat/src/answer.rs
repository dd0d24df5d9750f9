//! What a server answered, as far as it can be compared: statuses, and messages field by field.

use std::fmt;

use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};

use crate::schema;
use crate::wire::Reply;

/// A reply with its messages taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The method that was called.
    pub path: String,
    /// The status of HTTP.
    pub http: u16,
    /// The type of the body.
    pub content_type: String,
    /// The status of gRPC; `None` if there was none.
    pub code: Option<i32>,
    /// Its text.
    pub text: String,
    /// The responses.
    pub messages: Vec<DynamicMessage>,
    /// Responses that are no messages of the method's type.
    pub undecodable_count: usize,
    /// How the stream or the connection broke, if it did.
    pub broken: Option<String>,
}

impl Answer {
    /// Takes a reply of this method apart.
    #[must_use]
    pub fn of(path: &str, reply: Reply) -> Answer {
        let descriptor = schema::method(path).map(|method| method.output());
        let decoded = descriptor.map(|descriptor| {
            reply
                .messages
                .iter()
                .filter_map(|bytes| schema::decode(descriptor.clone(), bytes))
                .collect()
        });
        let messages: Vec<DynamicMessage> = decoded.unwrap_or_default();
        Answer {
            path: path.to_owned(),
            http: reply.http,
            content_type: reply.content_type,
            code: reply.code,
            text: reply.text,
            undecodable_count: reply.messages.len() - messages.len(),
            messages,
            broken: reply.broken,
        }
    }

    /// Whether the call succeeded.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.code == Some(0)
    }

    /// The store's revision, as told by the last message.
    #[must_use]
    pub fn revision(&self) -> Option<i64> {
        self.in_header("revision")?.as_i64()
    }

    /// Who has answered.
    #[must_use]
    pub fn member_id(&self) -> Option<u64> {
        self.in_header("member_id")?.as_u64()
    }

    fn in_header(&self, field: &str) -> Option<Value> {
        let header =
            self.messages.iter().rev().find_map(|message| message.get_field_by_name("header"))?;
        header.as_message()?.get_field_by_name(field).map(|value| value.into_owned())
    }
}

/// One place at which two answers differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where: `RangeResponse.kvs[2].version`, `code`, `text`.
    pub place: String,
    /// What etcd says there.
    pub etcd: String,
    /// What the subject says there.
    pub subject: String,
}

impl Difference {
    /// A difference at this place.
    #[must_use]
    pub fn new(
        place: impl fmt::Display,
        etcd: impl fmt::Display,
        subject: impl fmt::Display,
    ) -> Difference {
        Difference {
            place: place.to_string(),
            etcd: etcd.to_string(),
            subject: subject.to_string(),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: etcd {}, subject {}", self.place, self.etcd, self.subject)
    }
}

/// Every place at which the two differ.
#[must_use]
pub fn compare(etcd: &Answer, subject: &Answer) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut put = |place: &str, etcd: &dyn fmt::Debug, subject: &dyn fmt::Debug| {
        let (etcd, subject) = (format!("{etcd:?}"), format!("{subject:?}"));
        if etcd != subject {
            found.push(Difference::new(place, etcd, subject));
        }
    };
    put("http", &etcd.http, &subject.http);
    put("content-type", &etcd.content_type, &subject.content_type);
    put("code", &etcd.code, &subject.code);
    put("text", &etcd.text, &subject.text);
    put("undecodable", &etcd.undecodable_count, &subject.undecodable_count);
    put("broken", &etcd.broken.is_some(), &subject.broken.is_some());
    put("messages.len", &etcd.messages.len(), &subject.messages.len());
    let is_stream = etcd.messages.len().max(subject.messages.len()) > 1;
    for (index, (one, other)) in etcd.messages.iter().zip(&subject.messages).enumerate() {
        let name = schema::short_name(one);
        let place = if is_stream { format!("{index}:{name}") } else { name };
        compare_messages(&place, one, other, &mut found);
    }
    found
}

/// Every field in which the two differ, those within fields included.
pub fn compare_messages(
    place: &str,
    etcd: &DynamicMessage,
    subject: &DynamicMessage,
    found: &mut Vec<Difference>,
) {
    for field in etcd.descriptor().fields() {
        let place = format!("{place}.{}", field.name());
        // Messages and members of a oneof may be absent; of other fields only the value counts.
        match (etcd.has_field(&field), subject.has_field(&field)) {
            (false, false) => continue,
            (true, false) if field.supports_presence() => {
                let value = schema::value_text(&etcd.get_field(&field));
                found.push(Difference::new(place, value, "absent"));
                continue;
            }
            (false, true) if field.supports_presence() => {
                let value = schema::value_text(&subject.get_field(&field));
                found.push(Difference::new(place, "absent", value));
                continue;
            }
            _ => {}
        }
        compare_values(&place, &etcd.get_field(&field), &subject.get_field(&field), found);
    }
    for message in [etcd, subject] {
        let unknown = message.unknown_fields().count();
        if unknown > 0 {
            let who = if std::ptr::eq(message, etcd) { "etcd" } else { "subject" };
            found.push(Difference::new(
                format!("{place}.unknown fields of {who}"),
                unknown,
                unknown,
            ));
        }
    }
}

fn compare_values(place: &str, etcd: &Value, subject: &Value, found: &mut Vec<Difference>) {
    match (etcd, subject) {
        (Value::Message(one), Value::Message(other)) => compare_messages(place, one, other, found),
        (Value::List(ones), Value::List(others)) => {
            if ones.len() != others.len() {
                found.push(Difference::new(format!("{place}.len"), ones.len(), others.len()));
            }
            for (index, (one, other)) in ones.iter().zip(others).enumerate() {
                compare_values(&format!("{place}[{index}]"), one, other, found);
            }
        }
        (one, other) if one == other => {}
        (one, other) => {
            let (one, other) = (schema::value_text(one), schema::value_text(other));
            found.push(Difference::new(place, one, other));
        }
    }
}
