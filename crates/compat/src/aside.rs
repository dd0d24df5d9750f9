//! What two runs of etcd itself may differ in; it is put aside before answers are compared.

use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};

use crate::answer::Answer;

/// Takes out of an answer what means nothing.
pub fn put_aside(answer: &mut Answer) {
    for message in &mut answer.messages {
        walk(message);
    }
}

fn walk(message: &mut DynamicMessage) {
    let name = message.descriptor().name().to_owned();
    for field in message.descriptor().fields() {
        match (name.as_str(), field.name()) {
            (
                "ResponseHeader" | "StatusResponse",
                "raft_term" | "raftTerm" | "raftIndex" | "raftAppliedIndex" | "dbSize"
                | "dbSizeInUse",
            ) => {
                message.clear_field(&field);
                continue;
            }
            _ => {}
        }
        if !message.has_field(&field) {
            continue;
        }
        match message.get_field_mut(&field) {
            Value::Message(inner) => walk(inner),
            Value::List(items) => {
                for item in items {
                    if let Value::Message(inner) = item {
                        walk(inner);
                    }
                }
            }
            _ => {}
        }
    }
}
