//! Tables for people: aligned columns, no boxes. Pure: rows in, text out.

use super::style::{Style, Tone};

/// Which side of its column a cell is pushed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Amounts.
    Right,
}

/// A table under construction.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

/// Blanks between two columns.
const GAP: usize = 2;

impl Table {
    /// A table with these headings.
    pub(crate) fn new<const N: usize>(columns: [(&'static str, Align); N]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. Cells are cleaned of control characters; an empty one is shown as a dash.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        let shown = |cell: String| if cell.is_empty() { "-".to_owned() } else { super::clean::line(&cell) };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// The table as text, each line ended; the headings alone when there are no rows.
    pub(crate) fn render(&self, style: Style) -> String {
        let width = |index: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count());
            cells.chain([self.columns[index].0.len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let laid_out = |cells: &[&str]| {
            let mut line = String::new();
            for ((cell, (_, align)), width) in cells.iter().zip(&self.columns).zip(&widths) {
                let blanks = " ".repeat(width - cell.chars().count());
                match align {
                    Align::Left => line.extend([*cell, &blanks]),
                    Align::Right => line.extend([&blanks, *cell]),
                }
                line.push_str(&" ".repeat(GAP));
            }
            line.trim_end().to_owned()
        };
        let headings: Vec<&str> = self.columns.iter().map(|(heading, _)| *heading).collect();
        let mut text = style.paint(Tone::Dim, &laid_out(&headings)) + "\n";
        for row in &self.rows {
            let cells: Vec<&str> = row.iter().map(String::as_str).collect();
            text.push_str(&laid_out(&cells));
            text.push('\n');
        }
        text
    }
}

/// Facts about one thing, one a line, the names padded to one width.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    lines: Vec<(&'static str, String)>,
}

impl Facts {
    /// Adds a fact; an empty one is left out.
    pub(crate) fn add(&mut self, name: &'static str, value: impl ToString) {
        let value = super::clean::line(&value.to_string());
        if !value.is_empty() {
            self.lines.push((name, value));
        }
    }

    /// The facts as text, each line ended.
    pub(crate) fn render(&self, style: Style) -> String {
        let width = self.lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 1;
        self.lines
            .iter()
            .map(|(name, value)| {
                let label = format!("{:width$}", format!("{name}:"));
                format!("{} {value}\n", style.paint(Tone::Dim, &label))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_have_no_blanks_at_their_end() {
        let mut table = Table::new([("NAME", Align::Left), ("SIZE", Align::Right), ("USED BY", Align::Left)]);
        table.row(["a".into(), "1.5 GiB".into(), String::new()]);
        table.row(["größer\x1b[2J".into(), "7 B".into(), "box".into()]);
        let lines =
            ["NAME                SIZE  USED BY", "a                1.5 GiB  -", "größer\\u{1b}[2J      7 B  box", ""];
        assert_eq!(table.render(Style::PLAIN), lines.join("\n"));
    }

    #[test]
    fn facts_line_up_and_empty_ones_are_left_out() {
        let mut facts = Facts::default();
        facts.add("name", "box");
        facts.add("image", "");
        facts.add("memory", "2 GiB");
        assert_eq!(facts.render(Style::PLAIN), "name:   box\nmemory: 2 GiB\n");
    }
}
