//! MetaStore beside etcd, request by request: a randomized driver that sends the same to both, as
//! processes, and compares every field of every answer.

pub mod answer;
mod aside;
pub mod coverage;
pub mod driver;
pub mod explained;
pub mod fault;
pub mod generate;
pub mod process;
pub mod schema;
pub mod step;
mod watching;
pub mod wire;
pub mod world;
