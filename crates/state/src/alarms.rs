//! Alarms and the arithmetic of the quota.
//!
//! While anybody's NOSPACE alarm is active nobody may grow the data; while a CORRUPT alarm is
//! active nobody may change it. Alarms stay until an operator clears them.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::command::{Operation, Txn, TxnOp, TxnOperation};
use crate::limits::{LEASE_OVERHEAD_BYTES, PUT_OVERHEAD_BYTES};
use crate::outcome::{AlarmMember, AlarmType, Refusal};
use crate::types::MemberId;

/// The active alarms.
#[derive(Clone, Debug, Default)]
pub struct Alarms(BTreeSet<AlarmMember>);

impl Alarms {
    /// All of them, in order of the members.
    pub fn iter(&self) -> impl Iterator<Item = AlarmMember> + '_ {
        self.0.iter().copied()
    }

    /// Whether any member has raised this one.
    #[must_use]
    pub fn is_active(&self, alarm: AlarmType) -> bool {
        self.iter().any(|active| active.alarm == alarm)
    }

    pub(crate) fn insert(&mut self, alarm: AlarmMember) -> bool {
        self.0.insert(alarm)
    }

    pub(crate) fn remove(&mut self, alarm: AlarmMember) -> bool {
        self.0.remove(&alarm)
    }

    /// What the active alarms say to a command. Corruption comes first, as in etcd.
    ///
    /// # Errors
    /// The command must not be carried out.
    pub fn admit(&self, operation: &Operation) -> Result<(), Refusal> {
        if self.0.is_empty() {
            return Ok(());
        }
        let changes_data = matches!(
            operation,
            Operation::Put(_)
                | Operation::DeleteRange(_)
                | Operation::Txn(_)
                | Operation::Compact(_)
                | Operation::LeaseGrant(_)
                | Operation::LeaseRevoke(_)
                | Operation::LeaseExpire(_)
        );
        if changes_data && self.is_active(AlarmType::CORRUPT) {
            return Err(Refusal::Corrupt);
        }
        if cost(operation) > 0 && self.is_active(AlarmType::NO_SPACE) {
            return Err(Refusal::NoSpace);
        }
        Ok(())
    }
}

/// The row key of an alarm: member id big-endian, then the type: one byte, or four if it needs them.
///
/// ```
/// use state::alarms::{from_row_key, row_key};
/// use state::outcome::{AlarmMember, AlarmType};
/// for (number, key) in [(1, &b"\0\0\0\0\0\0\0\x05\x01"[..]), (-2, b"\0\0\0\0\0\0\0\x05\xff\xff\xff\xfe")] {
///     let alarm = AlarmType::from_number(number).unwrap();
///     let alarm = AlarmMember { member: state::MemberId(5), alarm };
///     assert_eq!(row_key(alarm), key);
///     assert_eq!(from_row_key(key), Some(alarm));
/// }
/// ```
#[must_use]
pub fn row_key(alarm: AlarmMember) -> Bytes {
    let mut key = alarm.member.0.to_be_bytes().to_vec();
    let number = alarm.alarm.number();
    match u8::try_from(number) {
        Ok(byte) => key.push(byte),
        Err(_) => key.extend(number.to_be_bytes()),
    }
    Bytes::from(key)
}

/// Reads a row key.
#[must_use]
pub fn from_row_key(key: &[u8]) -> Option<AlarmMember> {
    let (id, alarm) = key.split_first_chunk::<8>()?;
    let number = match *alarm {
        [byte] => i32::from(byte),
        // What a byte can hold is never written in four: each alarm has one row.
        [a, b, c, d] => {
            Some(i32::from_be_bytes([a, b, c, d])).filter(|n| u8::try_from(*n).is_err())?
        }
        _ => return None,
    };
    let alarm = AlarmType::from_number(number)?;
    Some(AlarmMember { member: MemberId(u64::from_be_bytes(*id)), alarm })
}

/// What an operation may add to the data at most, in bytes, as etcd counts it; 0 if it never grows
/// the data.
///
/// ```
/// use state::command::{Operation, Put};
/// let put = Put { key: "k".into(), value: "value".into(), ..Put::default() };
/// assert_eq!(state::alarms::cost(&Operation::Put(put)), 256 + 1 + 5);
/// ```
#[must_use]
pub fn cost(operation: &Operation) -> u64 {
    match operation {
        Operation::Put(put) => put_cost(put.key.len(), put.value.len()),
        Operation::Txn(txn) => txn_cost(txn),
        Operation::LeaseGrant(_) => LEASE_OVERHEAD_BYTES,
        _ => 0,
    }
}

fn put_cost(key_bytes: usize, value_bytes: usize) -> u64 {
    PUT_OVERHEAD_BYTES + key_bytes as u64 + value_bytes as u64
}

fn txn_cost(txn: &Txn) -> u64 {
    let list = |ops: &[TxnOp]| ops.iter().map(op_cost).sum::<u64>();
    list(&txn.success).max(list(&txn.failure))
}

fn op_cost(op: &TxnOp) -> u64 {
    match &op.operation {
        Some(TxnOperation::Put(put)) => put_cost(put.key.len(), put.value.len()),
        Some(TxnOperation::Txn(txn)) => txn_cost(txn),
        _ => 0,
    }
}

/// The quota that a member compares its data with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota(pub Option<u64>);

impl Quota {
    /// Whether an operation of this cost fits beside `size_bytes` of data.
    #[must_use]
    pub fn admits(self, size_bytes: u64, cost: u64) -> bool {
        match self.0 {
            None => true,
            Some(_) if cost == 0 => true,
            Some(quota_bytes) => size_bytes.saturating_add(cost) < quota_bytes,
        }
    }
}
