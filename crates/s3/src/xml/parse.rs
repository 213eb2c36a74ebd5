//! Reads a small XML document into a tree, refusing everything a request of S3 never contains.
//!
//! No DTD, no entity beyond the five of XML and character references, no processing instruction; prefixes and
//! `xmlns` are dropped. Depth, number of elements and bytes are bounded, so a hostile body costs little memory.

use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};

use crate::{S3Error, S3ErrorCode};

/// The largest body read as XML: 10,000 parts with SHA-256 checksums, or 1,000 keys of 1,024 escaped bytes, fit.
pub const XML_BODY_BYTES_MAX: usize = 4 << 20;
/// Elements inside elements.
pub const XML_DEPTH_MAX: usize = 8;
/// Attributes of an element: a few namespaces.
const ATTRIBUTES_MAX: usize = 16;
/// Elements of one document: 10,000 parts with four elements each and room.
pub const XML_ELEMENTS_MAX: usize = 65_536;

/// An element without its prefix and attributes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Element {
    /// Local name.
    pub name: String,
    /// Text directly inside, references resolved.
    pub text: String,
    /// Elements inside, in order.
    pub children: Vec<Element>,
}

pub(crate) fn malformed(message: impl Into<std::borrow::Cow<'static, str>>) -> S3Error {
    S3Error::new(S3ErrorCode::MalformedXml, message)
}

/// Reads a document of at most `bytes_max` bytes.
///
/// # Errors
/// `MalformedXML` if it is not well formed, too large, or holds what is not allowed.
pub fn parse_document(body: &[u8], bytes_max: usize) -> Result<Element, S3Error> {
    if body.len() > bytes_max {
        return Err(malformed(format!("the XML body may have at most {bytes_max} bytes")));
    }
    let text = std::str::from_utf8(body).map_err(|_| malformed("the XML body is not UTF-8"))?;
    let mut builder = TreeBuilder::default();
    let mut reader = Reader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    reader.config_mut().check_end_names = true;
    loop {
        let event = reader.read_event().map_err(|error| malformed(format!("the XML is not well formed: {error}")))?;
        match event {
            Event::Start(tag) => {
                check_attributes(&tag)?;
                builder.open(local_name(tag.local_name().as_ref())?)?;
            }
            Event::Empty(tag) => {
                check_attributes(&tag)?;
                builder.open(local_name(tag.local_name().as_ref())?)?;
                builder.close()?;
            }
            Event::End(_) => builder.close()?,
            Event::Text(text) => builder.text(&text.decode().map_err(|_| malformed("the XML is not UTF-8"))?)?,
            Event::CData(text) => builder.text(&text.decode().map_err(|_| malformed("the XML is not UTF-8"))?)?,
            Event::GeneralRef(reference) => builder.text(resolve(&reference)?.encode_utf8(&mut [0; 4]))?,
            Event::Comment(_) | Event::Decl(_) => {}
            Event::DocType(_) => return Err(malformed("a document type is not allowed in the XML body")),
            Event::PI(_) => return Err(malformed("processing instructions are not allowed in the XML body")),
            Event::Eof => return builder.finish(),
        }
    }
}

/// Attributes are dropped, and must be some, each once. They are few: each is compared with all before it.
fn check_attributes(tag: &BytesStart<'_>) -> Result<(), S3Error> {
    let mut attributes = tag.attributes();
    for _ in 0..=ATTRIBUTES_MAX {
        match attributes.next() {
            None => return Ok(()),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(malformed(format!("an attribute is not well formed: {error}"))),
        }
    }
    Err(malformed(format!("an element has more than {ATTRIBUTES_MAX} attributes")))
}

fn local_name(name: &[u8]) -> Result<String, S3Error> {
    let name = std::str::from_utf8(name).map_err(|_| malformed("the XML is not UTF-8"))?;
    if name.is_empty() || name.len() > 128 {
        return Err(malformed("an element's name is empty or too long"));
    }
    Ok(name.to_owned())
}

fn resolve(reference: &quick_xml::events::BytesRef<'_>) -> Result<char, S3Error> {
    let number = reference.resolve_char_ref().map_err(|_| malformed("a character reference is not valid"))?;
    if let Some(character) = number {
        return Ok(character);
    }
    match reference.as_ref() {
        b"amp" => Ok('&'),
        b"lt" => Ok('<'),
        b"gt" => Ok('>'),
        b"quot" => Ok('"'),
        b"apos" => Ok('\''),
        _ => Err(malformed("only the five entities of XML are allowed")),
    }
}

#[derive(Default)]
struct TreeBuilder {
    open: Vec<Element>,
    root: Option<Element>,
    elements: usize,
}

impl TreeBuilder {
    fn open(&mut self, name: String) -> Result<(), S3Error> {
        self.elements += 1;
        if self.root.is_some() {
            return Err(malformed("the XML has more than one root element"));
        }
        if self.open.len() >= XML_DEPTH_MAX || self.elements > XML_ELEMENTS_MAX {
            return Err(malformed("the XML has too many elements"));
        }
        self.open.push(Element { name, ..Element::default() });
        Ok(())
    }

    fn close(&mut self) -> Result<(), S3Error> {
        let element = self.open.pop().ok_or_else(|| malformed("an end tag has no start tag"))?;
        if !element.children.is_empty() && !element.text.trim().is_empty() {
            return Err(malformed(format!("there is text beside the elements in {}", element.name)));
        }
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), S3Error> {
        match self.open.last_mut() {
            Some(element) => element.text.push_str(text),
            None if text.trim().is_empty() => {}
            None => return Err(malformed("there is text outside the root element")),
        }
        Ok(())
    }

    fn finish(self) -> Result<Element, S3Error> {
        if !self.open.is_empty() {
            return Err(malformed("the XML ends inside an element"));
        }
        self.root.ok_or_else(|| malformed("the XML body is empty"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Element, S3Error> {
        parse_document(text.as_bytes(), XML_BODY_BYTES_MAX)
    }

    #[test]
    fn names_lose_prefix_and_references_are_resolved() {
        let root =
            parse("<?xml version='1.0'?><s:A xmlns:s='x'><s:B> &amp;&#x41;<![CDATA[<]]></s:B><!-- c --></s:A>\n")
                .unwrap();
        assert_eq!(root.name, "A");
        assert_eq!(root.children[0].name, "B");
        assert_eq!(root.children[0].text, " &A<");
    }

    #[test]
    fn refuses_what_requests_never_contain() {
        let deep = "<a>".repeat(XML_DEPTH_MAX + 1) + &"</a>".repeat(XML_DEPTH_MAX + 1);
        let attributes = |count: usize| {
            let all: String = (0..count).map(|number| format!(" a{number}=''")).collect();
            format!("<r{all}/>")
        };
        assert!(parse(&attributes(16)).is_ok());
        let many = format!("<r>{}</r>", "<a/>".repeat(XML_ELEMENTS_MAX));
        for text in [
            "",
            " ",
            "text",
            "<a>",
            "<a></b>",
            "</a>",
            "<a/><b/>",
            "<a/>text",
            "<a>&foo;</a>",
            "<a>&#0;</a>",
            "<a>&#x110000;</a>",
            "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
            "<!DOCTYPE a><a/>",
            "<?php x?><a/>",
            "<a",
            "<a>&amp</a>",
            "<a x=1/>",
            "<a x='1' x='2'/>",
            "<a x></a>",
            "<a>text<b/></a>",
            "<a><b/>text</a>",
            &deep,
            &many,
            &attributes(17),
        ] {
            assert_eq!(parse(text).unwrap_err().code, S3ErrorCode::MalformedXml, "{}", &text[..text.len().min(60)]);
        }
        assert_eq!(parse_document(b"<a>123</a>", 9).unwrap_err().code, S3ErrorCode::MalformedXml);
        assert_eq!(parse_document(b"<a>\xff</a>", 90).unwrap_err().code, S3ErrorCode::MalformedXml);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), text in "[<>/a&;!\\[\\]?#x \"'=-]{0,60}") {
            let _ = parse_document(&bytes, XML_BODY_BYTES_MAX);
            let _ = parse(&text);
        }
    }
}
