//! One thing measured of every server, as lines of the table.

use anyhow::Result;

use super::Subject;
use crate::report::{Report, Row};

/// The servers and the table that grows.
pub(super) struct Comparison<'a> {
    /// What the others are compared with.
    pub(super) reference: Option<&'a Subject>,
    pub(super) servers: &'a [Subject],
    pub(super) report: Report<'a>,
}

/// What was measured of one server.
pub(super) struct Measured {
    /// Less is better where there is a limit; not a number if it could not be measured, which keeps
    /// no limit.
    pub(super) value: f64,
    /// For people.
    pub(super) text: String,
}

/// What must hold of the servers other than the reference.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    /// For information.
    None,
    /// The value as a multiple of the reference's, by engine, if it has such a limit.
    OfReference { memory: Option<f64>, rocksdb: Option<f64> },
    /// The value, which is a multiple of something of the same server's.
    Itself(f64),
}

impl<'a> Comparison<'a> {
    /// All servers, the reference first.
    pub(super) fn subjects(&self) -> impl Iterator<Item = &'a Subject> + use<'a> {
        self.reference.into_iter().chain(self.servers)
    }

    /// Adds a line for each server, in the order of [`subjects`](Self::subjects).
    pub(super) fn add(&mut self, what: &str, limit: Limit, measured: &[Measured]) -> Result<()> {
        let reference = self.reference.map(|_| measured[0].value);
        assert_eq!(measured.len(), self.subjects().count(), "{what}: a server is missing");
        for (i, (subject, measured)) in self.subjects().zip(measured).enumerate() {
            let is_reference = i == 0 && reference.is_some();
            let compares = !is_reference && !matches!(limit, Limit::Itself(_));
            let compared = reference.filter(|_| compares).map(|of| measured.value / of);
            let cells = vec![
                what.to_owned(),
                subject.name.clone(),
                measured.text.clone(),
                compared.map_or_else(String::new, |ratio| format!("{ratio:.3}×")),
            ];
            let row = Row::of(cells);
            let is_rocksdb = subject.program.is_rocksdb();
            let row = match (limit, compared) {
                (Limit::Itself(most), _) if !is_reference => {
                    row.limited(measured.value, most, &format!("≤ {most}× itself"))
                }
                (Limit::OfReference { memory, rocksdb }, Some(ratio)) => {
                    match if is_rocksdb { rocksdb } else { memory } {
                        Some(most) => row.limited(ratio, most, &format!("≤ {most}× the other's")),
                        None => row,
                    }
                }
                _ => row,
            };
            self.report.add(&row)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(reference: Option<&Subject>, limit: Limit, values: &[f64]) -> (String, usize) {
        let servers = ["m=bin/a", "r=bin/a --engine=rocksdb"].map(|text| text.parse());
        let servers = servers.map(|subject: Result<Subject>| subject.expect("a server"));
        let mut table = Vec::new();
        let report = Report::with_columns(&mut table, &["a"]).expect("memory");
        let mut comparison = Comparison { reference, servers: &servers, report };
        let measured: Vec<Measured> =
            values.iter().map(|&value| Measured { value, text: format!("{value} s") }).collect();
        comparison.add("x", limit, &measured).expect("memory");
        let missed = comparison.report.missed();
        (String::from_utf8(table).expect("text"), missed)
    }

    #[test]
    fn each_engine_has_its_limit_and_the_reference_has_none() {
        let etcd: Subject = "etcd=etcd".parse().expect("a server");
        let limit = Limit::OfReference { memory: Some(0.6), rocksdb: None };
        let (text, missed) = table(Some(&etcd), limit, &[10.0, 7.0, 7.0]);
        assert_eq!(missed, 1, "{text}");
        let lines = [
            "| x | etcd | 10 s |  |  |  |",
            "| x | m | 7 s | 0.700× | ≤ 0.6× the other's | **no** |",
            "| x | r | 7 s | 0.700× |  |  |",
        ];
        assert!(text.ends_with(&format!("{}\n", lines.join("\n"))), "{text}");
    }

    #[test]
    fn a_limit_of_its_own_needs_nobody_to_compare_with() {
        let (text, missed) = table(None, Limit::Itself(1.5), &[1.5, 1.6]);
        assert_eq!(missed, 1, "{text}");
        let limit = Limit::OfReference { memory: Some(1.0), rocksdb: Some(1.0) };
        let (text, missed) = table(None, limit, &[9.0, 9.0]);
        assert_eq!(missed, 0, "{text}");
    }

    #[test]
    fn what_could_not_be_measured_keeps_no_limit() {
        let (text, missed) = table(None, Limit::Itself(1.5), &[f64::NAN, 1.0]);
        assert_eq!(missed, 1, "{text}");
    }
}
