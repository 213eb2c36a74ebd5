//! A writer of XML that cannot write an invalid document from any text.

use std::fmt::{self, Write};

/// The name space of S3's documents.
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Builds a document: open elements, texts, close in the reverse order.
#[derive(Debug)]
pub struct XmlWriter {
    out: String,
    open: Vec<&'static str>,
}

impl XmlWriter {
    /// A document whose root carries S3's name space.
    #[must_use]
    pub fn root(name: &'static str) -> Self {
        Self::with_root(name, &format!(" xmlns=\"{NAMESPACE}\""))
    }

    /// A document whose root has no name space (`<Error>` has none).
    #[must_use]
    pub fn plain_root(name: &'static str) -> Self {
        Self::with_root(name, "")
    }

    fn with_root(name: &'static str, attributes: &str) -> Self {
        let out = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{name}{attributes}>");
        Self { out, open: vec![name] }
    }

    /// Opens an element.
    pub fn open(&mut self, name: &'static str) {
        self.tag("<", name);
        self.open.push(name);
    }

    /// Closes the element opened last.
    pub fn close(&mut self) {
        if let Some(name) = self.open.pop() {
            self.tag("</", name);
        }
    }

    /// An element with text.
    pub fn text(&mut self, name: &str, value: &str) {
        self.tag("<", name);
        escape_into(&mut self.out, value);
        self.tag("</", name);
    }

    /// Bare text in the element that is open.
    pub fn content(&mut self, value: &str) {
        escape_into(&mut self.out, value);
    }

    /// An element with a number, a truth value or anything that prints.
    pub fn value(&mut self, name: &str, value: impl fmt::Display) {
        self.tag("<", name);
        // Into memory nothing fails but a value's own `Display`, and none of those that come here does.
        let _ = write!(Escaped(&mut self.out), "{value}");
        self.tag("</", name);
    }

    /// Makes room for so many bytes more.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    /// An element only if there is a value.
    pub fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// Closes everything and gives the document.
    #[must_use]
    pub fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.out
    }

    fn tag(&mut self, open: &str, name: &str) {
        self.out.push_str(open);
        self.out.push_str(name);
        self.out.push('>');
    }
}

/// Text on its way into a document.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape_into(self.0, text);
        Ok(())
    }
}

/// Escapes text. Characters XML 1.0 cannot hold, not even as references, become U+FFFD: a listing with such a key
/// stays readable, and `encoding-type=url` shows the key as it is.
fn escape_into(out: &mut String, value: &str) {
    // Most texts have nothing to escape. The two forbidden characters above U+001F begin with the byte EF.
    if !value.bytes().any(|byte| byte < 0x20 || matches!(byte, b'&' | b'<' | b'>' | b'"' | 0xef)) {
        out.push_str(value);
        return;
    }
    for character in value.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::parse_document;

    #[test]
    fn any_character_gives_a_document_that_parses() {
        for number in 0..=0x10_ffff_u32 {
            // Every plane's borders and all of the first 256.
            if number > 0x100 && number & 0xfff > 1 && number & 0xfff < 0xffe {
                continue;
            }
            let Some(character) = char::from_u32(number) else { continue };
            let text = format!("a{character}b");
            let mut xml = XmlWriter::root("Key");
            xml.content(&text);
            let root = parse_document(xml.finish().as_bytes(), 4096).unwrap();
            let forbidden =
                matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
            let expected = if forbidden { "a\u{fffd}b".to_owned() } else { text };
            assert_eq!(root.text, expected, "U+{number:04X}");
        }
    }
}
