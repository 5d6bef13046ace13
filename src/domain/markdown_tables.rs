//! Tables in Markdown, for readers that lose sight of the header.

/// Most bytes of a text that is looked through.
const READ: usize = 1024 * 1024;

/// `text` with each row of a Markdown table as a line of its own that names its columns: `- Service: mail; Status: green`.
#[must_use]
pub fn rows_as_lines(text: &str) -> String {
    if text.len() > READ {
        return text.to_owned();
    }
    let lines: Vec<&str> = text.lines().collect();
    let mut written: Vec<String> = Vec::with_capacity(lines.len());
    let mut header: Option<Vec<&str>> = None;
    let mut at = 0;
    while at < lines.len() {
        let cells = cells_of(lines[at]);
        let next = lines.get(at + 1).and_then(|line| cells_of(line));
        match (&header, cells) {
            (None, Some(cells)) if next.is_some_and(|next| is_rule(&next)) => {
                header = Some(cells);
                // The rule below the header is no row.
                at += 1;
            }
            (Some(names), Some(cells)) => written.push(row(names, &cells)),
            (_, _) => {
                header = None;
                written.push(lines[at].to_owned());
            }
        }
        at += 1;
    }
    written.join("\n")
}

/// The cells of a row; `None` for a line that is none.
fn cells_of(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}

fn is_rule(cells: &[&str]) -> bool {
    cells.iter().all(|cell| cell.len() > 1 && cell.chars().all(|c| c == '-' || c == ':'))
}

fn row(names: &[&str], cells: &[&str]) -> String {
    let written = cells.iter().enumerate().map(|(index, cell)| match names.get(index) {
        Some(name) if !name.is_empty() => format!("{name}: {cell}"),
        _ => (*cell).to_owned(),
    });
    format!("- {}", written.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_names_its_columns() {
        let text =
            "# Status\n\n| Service | Status |\n|---|:--|\n| mail | green |\n| billing | red | late |\n\nAll | else";
        let expected =
            "# Status\n\n- Service: mail; Status: green\n- Service: billing; Status: red; late\n\nAll | else";
        assert_eq!(rows_as_lines(text), expected);
        for plain in ["", "no table", "| a | b |", "|---|\n| a |", "| a |\n|---"] {
            assert_eq!(rows_as_lines(plain), plain);
        }
    }
}
