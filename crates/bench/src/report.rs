//! What came out, as a table that can stand in a document.

use std::fmt::Write as _;

/// One line of the table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    what: String,
    measured: String,
    limit: String,
    /// `None` if there is no limit.
    kept: Option<bool>,
}

impl Row {
    /// A number for information.
    pub(crate) fn plain(what: &str, measured: String) -> Row {
        Row { what: what.to_owned(), measured, limit: String::new(), kept: None }
    }

    /// A number with an upper limit.
    pub(crate) fn at_most(what: &str, value: f64, limit: f64, unit: &str, detail: &str) -> Row {
        Row {
            what: what.to_owned(),
            measured: format!("{value:.2}{unit} ({detail})"),
            limit: format!("≤ {limit}{unit}"),
            kept: Some(value <= limit),
        }
    }
}

/// The rows so far.
#[derive(Default)]
pub(crate) struct Report(Vec<Row>);

impl Report {
    pub(crate) fn add(&mut self, row: Row) {
        self.0.push(row);
    }

    /// What was missed.
    pub(crate) fn missed(&self) -> usize {
        self.0.iter().filter(|row| row.kept == Some(false)).count()
    }

    /// The table in Markdown.
    pub(crate) fn table(&self) -> String {
        let mut table = String::from("| what | measured | limit | kept |\n|---|---|---|---|\n");
        for Row { what, measured, limit, kept } in &self.0 {
            let kept = match kept {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "",
            };
            writeln!(table, "| {what} | {measured} | {limit} | {kept} |").expect("a string grows");
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_kept_up_to_itself_and_missed_above() {
        let mut report = Report::default();
        report.add(Row::at_most("a", 1.2, 1.2, "×", "x"));
        report.add(Row::plain("b", "7 ms".into()));
        assert_eq!(report.missed(), 0);
        report.add(Row::at_most("c", 1.21, 1.2, "×", "y"));
        assert_eq!(report.missed(), 1);
        let table = "| what | measured | limit | kept |\n|---|---|---|---|\n\
            | a | 1.20× (x) | ≤ 1.2× | yes |\n| b | 7 ms |  |  |\n\
            | c | 1.21× (y) | ≤ 1.2× | **no** |\n";
        assert_eq!(report.table(), table);
    }
}
