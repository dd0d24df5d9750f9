//! What the member itself puts into the log: its alarm, what the lessor decides, the time.
//!
//! ```text
//! disk full, quota reached ─▶ Alarm ─── applied ─▶ the answers that were held go out
//! lease due, renewal asked ─▶ lessor ─▶ LeaseExpire, LeaseRenew
//! leases, and a quiet log ──▶ LeaseRenew of none: the log is told the time
//! ```
//!
//! Such a command may get lost, with a leader that falls or in a log without room: each is proposed
//! again until what it should bring about is there. Nobody waits for its answer.

use bytes::Bytes;
use prost::Message;
use state::command::{Alarm, Command, LeaseRenew, Operation};
use state::outcome::AlarmType;
use state::{ClusterTime, RequestId};

use super::{Applier, ApplierShell};
use crate::limits::{LEASE_TIME_MARK_MS, OWN_COMMAND_PAUSE_MS, OWN_COMMAND_RETRY_MS};
use crate::messages::ApplierOutput;

/// This member's alarm on its way through the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct AlarmUnderWay {
    pub(super) request: RequestId,
    /// When to propose it again.
    retry: ClusterTime,
}

impl Applier {
    pub(super) fn raise_nospace(&mut self, now: ClusterTime, shell: &mut dyn ApplierShell) {
        let alarm = AlarmType::NO_SPACE.number();
        let raise = Alarm { action: 1, member: self.member.0, alarm };
        let request = self.propose(Operation::Alarm(raise), shell);
        let retry = ClusterTime(now.0.saturating_add(OWN_COMMAND_RETRY_MS));
        self.alarm = Some(AlarmUnderWay { request, retry });
    }

    /// A command of this member's own did not enter the log. It is proposed again after a pause: at
    /// once it would be refused again, and the disk, whose report makes room, would never be heard.
    pub(super) fn refused(&mut self, request: RequestId, now: ClusterTime) {
        match &mut self.alarm {
            Some(alarm) if alarm.request == request => {
                alarm.retry = ClusterTime(now.0.saturating_add(OWN_COMMAND_PAUSE_MS));
            }
            _ => {
                self.marked = now;
                self.lessor.refused(now);
            }
        }
    }

    pub(super) fn propose_due(&mut self, now: ClusterTime, shell: &mut dyn ApplierShell) {
        if self.alarm.is_some_and(|alarm| alarm.retry <= now) {
            self.raise_nospace(now, shell);
        }
        let mut due = Vec::new();
        self.lessor.due(self.state.leases(), now, |operation| due.push(operation));
        if due.is_empty() && self.is_mark_due(now) {
            self.marked = now;
            due.push(Operation::LeaseRenew(LeaseRenew::default()));
        }
        for operation in due {
            self.propose(operation, shell);
        }
    }

    /// Whether the log has gone so long without an entry that a lease would get too much of it back
    /// from a restart.
    fn is_mark_due(&self, now: ClusterTime) -> bool {
        let newest = self.state.time().max(self.marked);
        let late = now.0 >= newest.0.saturating_add(LEASE_TIME_MARK_MS);
        late && self.standing.is_leader && !self.state.leases().is_empty()
    }

    fn propose(&mut self, operation: Operation, shell: &mut dyn ApplierShell) -> RequestId {
        self.next_own_request += 1;
        let request = RequestId(self.next_own_request);
        let command = Command::new(request, operation).encode_to_vec();
        shell.emit(ApplierOutput::Propose(request, Bytes::from(command)));
        request
    }
}
