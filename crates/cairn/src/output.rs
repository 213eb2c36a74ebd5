//! All that the program writes on stdout and stderr, but log lines and clap's help.
//!
//! A reader that went away (`cairn key list | head -1`) ends the program quietly, as it would end `cat`.

use std::io::{self, Write};

/// What a shell shows for a program that died of SIGPIPE.
pub(crate) const PIPE_CLOSED: u8 = 141;

/// Writes text and a line end on stdout; ends the program if nobody reads.
pub(crate) fn line(text: &str) {
    if let Err(error) = try_line(text) {
        if error.kind() == io::ErrorKind::BrokenPipe {
            std::process::exit(i32::from(PIPE_CLOSED));
        }
        error_line(&format!("write on stdout: {error}"));
        std::process::exit(1);
    }
}

/// Writes text and a line end on stdout, for a server that goes on if nobody reads.
pub(crate) fn try_line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Writes an error on stderr. There is nowhere to tell that this failed.
pub(crate) fn error_line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "cairn: {text}");
}

/// Lines up columns by their widest cell; those named in `right` are numbers.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>], right: &[usize]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let join = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .enumerate()
            .map(|(column, cell)| match right.contains(&column) {
                true => format!("{cell:>width$}", width = widths[column]),
                false => format!("{cell:<width$}", width = widths[column]),
            })
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    // What a client or operator named must not speak to the terminal.
    let plain = |cell: &String| cell.replace(char::is_control, "\u{fffd}");
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(plain).collect()).collect();
    let mut lines = vec![join(&mut head.iter().copied())];
    lines.extend(rows.iter().map(|row| join(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["a".to_owned(), "1".to_owned()], vec!["longer".to_owned(), "100".to_owned()]];
        assert_eq!(table(&["NAME", "N"], &rows, &[1]), "NAME      N\na         1\nlonger  100");
    }
}
