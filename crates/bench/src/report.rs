//! What came out, as a table that can stand in a document.

use std::io::Write;

use anyhow::Result;

/// One line of the table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    cells: Vec<String>,
    limit: String,
    /// `None` if there is no limit.
    kept: Option<bool>,
}

impl Row {
    /// A number for information.
    pub(crate) fn plain(what: &str, measured: String) -> Row {
        Row::of(vec![what.to_owned(), measured])
    }

    /// A number with an upper limit.
    pub(crate) fn at_most(what: &str, value: f64, limit: f64, unit: &str, detail: &str) -> Row {
        let measured = format!("{value:.2}{unit} ({detail})");
        Row::plain(what, measured).limited(value, limit, &format!("≤ {limit}{unit}"))
    }

    /// Any cells, without a limit.
    pub(crate) fn of(cells: Vec<String>) -> Row {
        Row { cells, limit: String::new(), kept: None }
    }

    /// The same with an upper limit, and how it reads.
    pub(crate) fn limited(self, value: f64, limit: f64, reads: &str) -> Row {
        Row { limit: reads.to_owned(), kept: Some(value <= limit), ..self }
    }
}

/// A table in Markdown that is written as it grows: a run that breaks off has not been in vain.
pub(crate) struct Report<'a> {
    out: &'a mut dyn Write,
    missed: usize,
}

impl<'a> Report<'a> {
    /// A table of what was measured.
    pub(crate) fn new(out: &'a mut dyn Write) -> Result<Report<'a>> {
        Report::with_columns(out, &["what", "measured"])
    }

    /// Any table, each row of it with a limit at its end.
    pub(crate) fn with_columns(out: &'a mut dyn Write, columns: &[&str]) -> Result<Report<'a>> {
        writeln!(out, "| {} | limit | kept |", columns.join(" | "))?;
        writeln!(out, "|{}", "---|".repeat(columns.len() + 2))?;
        Ok(Report { out, missed: 0 })
    }

    pub(crate) fn add(&mut self, row: &Row) -> Result<()> {
        let kept = match row.kept {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        self.missed += usize::from(row.kept == Some(false));
        writeln!(self.out, "| {} | {} | {kept} |", row.cells.join(" | "), row.limit)?;
        Ok(self.out.flush()?)
    }

    /// How many limits were missed.
    pub(crate) fn missed(&self) -> usize {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_kept_up_to_itself_and_missed_above() {
        let mut table = Vec::new();
        let mut report = Report::new(&mut table).expect("memory");
        report.add(&Row::at_most("a", 1.2, 1.2, "×", "x")).expect("memory");
        report.add(&Row::plain("b", "7 ms".into())).expect("memory");
        assert_eq!(report.missed(), 0);
        report.add(&Row::at_most("c", 1.21, 1.2, "×", "y")).expect("memory");
        assert_eq!(report.missed(), 1);
        let expected = "| what | measured | limit | kept |\n|---|---|---|---|\n\
            | a | 1.20× (x) | ≤ 1.2× | yes |\n| b | 7 ms |  |  |\n\
            | c | 1.21× (y) | ≤ 1.2× | **no** |\n";
        assert_eq!(String::from_utf8(table).expect("text"), expected);
    }
}
