//! Columns for a terminal, as kubectl writes them.

use std::io::{self, Write};
use tollgate_crds::api::virtual_key::Unit;

/// Rows under headings; each column is as wide as its widest cell.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

/// Between columns.
const GAP: usize = 3;

// === impl Table ===

impl Table {
    /// A table with headings.
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        Table { rows: vec![headings.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a row. What a cell has no value for is empty, and shown as `-`.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        let shown = |cell: String| if cell.is_empty() { "-".to_owned() } else { printable(&cell) };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// Whether there is no row but the headings.
    pub fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    /// Writes it.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                let gap = width + GAP - cell.chars().count();
                line.extend(std::iter::repeat_n(' ', gap));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// An amount as people write it: `$1.50`, `12000 tokens`.
pub fn amount(amount: &str, unit: Unit) -> String {
    match unit {
        Unit::Usd => format!("${amount}"),
        Unit::Tokens => format!("{amount} tokens"),
    }
}

/// Without control characters: what is shown comes from other people, and a terminal obeys some of it.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["NAME", "READY"]);
        table.row(["a".into(), "True".into()]);
        table.row(["longer-name".into(), String::new()]);
        table.row(["\u{1b}[31mred".into(), "no".into()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "NAME          READY\na             True\nlonger-name   -\n [31mred      no\n"
        );
    }
}
