//! A writer of XML from any text.
//!
//! XML 1.0 has no way to say most control characters, U+FFFE and U+FFFF (section 2.2), and keys may have them. Answers
//! carry them as references (`&#x1;`), as S3 does: a reader that takes them sees the key as it is, a strict one refuses
//! the document, and none takes another key for it. Who asks for `encoding-type=url` never meets one. An error's document
//! is to be read by all: there they become U+FFFD.

use std::fmt::{self, Write};

/// The name space of S3's documents.
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Builds a document: open elements, texts, close in the reverse order.
#[derive(Debug)]
pub struct XmlWriter {
    out: String,
    open: Vec<&'static str>,
    unfit: Unfit,
}

/// What becomes of characters that XML 1.0 cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unfit {
    Referred,
    Replaced,
}

impl XmlWriter {
    /// A document whose root carries S3's name space.
    #[must_use]
    pub fn root(name: &'static str) -> Self {
        Self::with_root(name, &format!(" xmlns=\"{NAMESPACE}\""), Unfit::Referred)
    }

    /// An error's document: its root has no name space, and any parser reads it.
    #[must_use]
    pub fn error() -> Self {
        Self::with_root("Error", "", Unfit::Replaced)
    }

    fn with_root(name: &'static str, attributes: &str, unfit: Unfit) -> Self {
        let out = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{name}{attributes}>");
        Self { out, open: vec![name], unfit }
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
        escape_into(&mut self.out, value, self.unfit);
        self.tag("</", name);
    }

    /// Bare text in the element that is open.
    pub fn content(&mut self, value: &str) {
        escape_into(&mut self.out, value, self.unfit);
    }

    /// An element with a number, a truth value or anything that prints.
    pub fn value(&mut self, name: &str, value: impl fmt::Display) {
        self.tag("<", name);
        // Into memory nothing fails but a value's own `Display`, and none of those that come here does.
        let _ = write!(Escaped(&mut self.out, self.unfit), "{value}");
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
struct Escaped<'a>(&'a mut String, Unfit);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape_into(self.0, text, self.1);
        Ok(())
    }
}

fn escape_into(out: &mut String, value: &str, unfit: Unfit) {
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
            // No parser takes NUL, not even as a reference, and no key has one.
            '\0' => out.push('\u{fffd}'),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' if unfit == Unfit::Replaced => out.push('\u{fffd}'),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                // Into memory nothing fails.
                let _ = write!(out, "&#x{:X};", u32::from(character));
            }
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::parse_document;

    fn is_unfit(character: char) -> bool {
        matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
    }

    #[test]
    fn any_character_comes_back_and_an_error_holds_none_that_xml_cannot() {
        for number in 0..=0x10_ffff_u32 {
            // Every plane's borders and all of the first 256.
            if number > 0x100 && number & 0xfff > 1 && number & 0xfff < 0xffe {
                continue;
            }
            let Some(character) = char::from_u32(number) else { continue };
            let text = format!("a{character}b");
            let read = |mut xml: XmlWriter| {
                xml.content(&text);
                parse_document(xml.finish().as_bytes(), 4096).map(|root| root.text)
            };
            let replaced = "a\u{fffd}b".to_owned();
            let expected = if number == 0 { replaced.clone() } else { text.clone() };
            assert_eq!(read(XmlWriter::root("Key")).unwrap(), expected, "U+{number:04X}");
            let expected = if is_unfit(character) { replaced } else { text.clone() };
            assert_eq!(read(XmlWriter::error()).unwrap(), expected, "U+{number:04X}");
        }
    }

    #[test]
    fn characters_that_xml_cannot_hold_are_told_apart() {
        let written = |text: &str| {
            let mut xml = XmlWriter::root("Key");
            xml.value("Of", text);
            xml.finish()
        };
        assert!(written("\u{1}\u{2}\u{1f}\0\u{ffff}").contains("<Of>&#x1;&#x2;&#x1F;\u{fffd}&#xFFFF;</Of>"));
    }
}
