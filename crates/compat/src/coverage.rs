//! Which methods and fields a run has put to the test.
//!
//! A field counts when it was sent with a value, or when both servers answered with the same value
//! in it: a field that is always empty proves nothing.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};

/// The record of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// How often a method answered with a code.
    pub answers: BTreeMap<(String, i32), usize>,
    /// Fields with a value, as `PutRequest.key`.
    pub fields: BTreeSet<String>,
}

impl Coverage {
    /// Counts an answer.
    pub fn answer(&mut self, path: &str, code: i32) {
        *self.answers.entry((path.to_owned(), code)).or_default() += 1;
    }

    /// Counts the fields of a request.
    pub fn sent(&mut self, request: &DynamicMessage) {
        self.walk(request, None);
    }

    /// Counts the fields in which both answers have the same value.
    pub fn answered(&mut self, etcd: &DynamicMessage, subject: &DynamicMessage) {
        self.walk(etcd, Some(subject));
    }

    fn walk(&mut self, message: &DynamicMessage, other: Option<&DynamicMessage>) {
        for (field, value) in message.fields() {
            let same = other.map(|other| other.get_field(&field));
            match (value, same.as_deref()) {
                (Value::Message(inner), None) => self.walk(inner, None),
                (Value::Message(inner), Some(Value::Message(other))) => {
                    self.walk(inner, Some(other))
                }
                (Value::List(items), None) => items.iter().for_each(|item| {
                    item.as_message().into_iter().for_each(|inner| self.walk(inner, None));
                }),
                (Value::List(items), Some(Value::List(others))) => {
                    for pair in items.iter().zip(others) {
                        if let (Value::Message(inner), Value::Message(other)) = pair {
                            self.walk(inner, Some(other));
                        }
                    }
                }
                (value, Some(other)) if value != other => continue,
                _ => {}
            }
            let name = message.descriptor().full_name().to_owned();
            self.fields.insert(format!("{name}.{}", field.name()));
        }
    }

    /// Adds what another run has put to the test.
    pub fn add(&mut self, other: &Coverage) {
        for (answer, count) in &other.answers {
            *self.answers.entry(answer.clone()).or_default() += count;
        }
        self.fields.extend(other.fields.iter().cloned());
    }
}
