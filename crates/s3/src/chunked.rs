//! Push decoder of aws-chunked bodies, signed and unsigned, with and without trailers.
//!
//! Bytes are passed on as they come, as slices of what was pushed: a chunk is never collected, whatever its size. So
//! bytes of a signed chunk leave before its signature is checked; nothing may be committed before [`ChunkedDecoder::finish`]
//! said that the body is whole. A missing final chunk, a length other than the announced one, a wrong signature of a
//! chunk or trailer, and a trailer other than the announced one are errors.

use bytes::Bytes;
use http::HeaderMap;
use sha2::{Digest, Sha256};

use crate::{
    PayloadKind, RequestChecksums, S3Error, S3ErrorCode, headers::parse_decoded_content_length, sigv4::ChunkSigner,
};

/// Bytes of a signed chunk: larger ones are refused, so that no client signs a whole object as one.
pub const SIGNED_CHUNK_BYTES_MAX: u64 = 16 << 20;
/// Bytes of a chunk header or trailer line.
pub const LINE_BYTES_MAX: usize = 1024;
/// Lines of a trailer.
pub const TRAILER_LINES_MAX: usize = 8;

const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// How the body is framed.
#[derive(Debug, Clone)]
pub struct ChunkedOptions {
    /// `x-amz-decoded-content-length`.
    pub decoded_bytes: u64,
    /// Checks signatures, for a body of signed chunks.
    pub signer: Option<ChunkSigner>,
    /// Names announced by `x-amz-trailer`, in lower case; empty for a body without trailer.
    pub trailer_names: Vec<String>,
    /// Whether the payload kind has a trailer (`…-TRAILER`).
    pub has_trailer: bool,
}

/// Trailers of a body, all announced ones and no other.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Trailers {
    fields: Vec<(String, String)>,
}

impl Trailers {
    /// The value of a trailer; the name in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A chunk's header line.
    Header,
    /// Bytes of a chunk, this many left.
    Data(u64),
    /// The line end behind a chunk's bytes.
    DataEnd,
    /// Lines of the trailer, or the empty line in their place.
    Trailer,
    /// Behind the last line.
    Done,
    /// An error was given; it is given again.
    Failed,
}

/// Decodes one body.
#[derive(Debug)]
pub struct ChunkedDecoder {
    options: ChunkedOptions,
    state: State,
    line: Vec<u8>,
    decoded: u64,
    hasher: Sha256,
    chunk_signature: Vec<u8>,
    trailers: Trailers,
    /// What the trailer's signature covers.
    signed_lines: String,
    trailer_signature_seen: bool,
    bytes_behind: usize,
}

impl ChunkedDecoder {
    /// A decoder at the body's first byte.
    #[must_use]
    pub fn new(options: ChunkedOptions) -> Self {
        Self {
            options,
            state: State::Header,
            line: Vec::new(),
            decoded: 0,
            hasher: Sha256::new(),
            chunk_signature: Vec::new(),
            trailers: Trailers::default(),
            signed_lines: String::new(),
            trailer_signature_seen: false,
            bytes_behind: 0,
        }
    }

    /// The decoder of a request's body; `None` if the body is plain. `signer` is the one of the verified signature.
    ///
    /// # Errors
    /// `MissingContentLength` or `InvalidArgument` for the decoded length, `InvalidRequest` for headers that do not fit
    /// the payload kind.
    pub fn for_request(
        headers: &HeaderMap,
        payload: PayloadKind,
        signer: Option<ChunkSigner>,
        checksums: &RequestChecksums,
    ) -> Result<Option<Self>, S3Error> {
        let (is_signed, has_trailer) = match payload {
            PayloadKind::StreamingSigned { trailer } => (true, trailer),
            PayloadKind::StreamingUnsignedTrailer => (false, true),
            PayloadKind::Sha256(_) | PayloadKind::Unsigned => (false, false),
        };
        if checksums.trailer.is_some() && !has_trailer {
            return Err(invalid("x-amz-trailer needs an x-amz-content-sha256 that ends in -TRAILER"));
        }
        if has_trailer && checksums.trailer.is_none() {
            return Err(invalid(
                "an x-amz-content-sha256 that ends in -TRAILER needs x-amz-trailer, which names the trailer",
            ));
        }
        if !payload.is_chunked() {
            return Ok(None);
        }
        if is_signed != signer.is_some() {
            return Err(invalid("signed chunks need a signed request"));
        }
        let trailer_names = checksums.trailer.map(|algorithm| algorithm.header_name().to_owned()).into_iter().collect();
        let decoded_bytes = parse_decoded_content_length(headers)?;
        Ok(Some(Self::new(ChunkedOptions { decoded_bytes, signer, trailer_names, has_trailer })))
    }

    /// Takes bytes of the body and gives the decoded ones, as slices of them.
    ///
    /// # Errors
    /// `IncompleteBody`, `SignatureDoesNotMatch`, `EntityTooLarge`, `MalformedTrailerError` or `InvalidRequest`. The
    /// request has failed then, and every further call fails.
    pub fn push(&mut self, mut input: Bytes) -> Result<Vec<Bytes>, S3Error> {
        let mut out = Vec::new();
        while !input.is_empty() {
            if let Err(error) = self.step(&mut input, &mut out) {
                self.state = State::Failed;
                return Err(error);
            }
        }
        Ok(out)
    }

    /// Bytes decoded so far.
    #[must_use]
    pub const fn decoded_bytes(&self) -> u64 {
        self.decoded
    }

    /// Ends the body.
    ///
    /// # Errors
    /// `IncompleteBody` if it is not whole.
    pub fn finish(self) -> Result<Trailers, S3Error> {
        if self.state == State::Done {
            Ok(self.trailers)
        } else {
            Err(incomplete("the body ended before its last chunk"))
        }
    }

    fn step(&mut self, input: &mut Bytes, out: &mut Vec<Bytes>) -> Result<(), S3Error> {
        match self.state {
            State::Data(left) => {
                self.take_data(left, input, out);
                Ok(())
            }
            State::Done => self.take_behind(input),
            State::Failed => Err(incomplete("the body was already refused")),
            State::Header | State::DataEnd | State::Trailer => {
                let Some(line) = self.take_line(input)? else { return Ok(()) };
                match self.state {
                    State::Header => self.begin_chunk(&line),
                    State::DataEnd => self.end_chunk(&line),
                    _ => self.trailer_line(&line),
                }
            }
        }
    }

    /// A whole line without its end, once it is there.
    fn take_line(&mut self, input: &mut Bytes) -> Result<Option<Vec<u8>>, S3Error> {
        let end = input.iter().position(|byte| *byte == b'\n');
        let taken = input.split_to(end.map_or(input.len(), |end| end + 1));
        if self.line.len() + taken.len() > LINE_BYTES_MAX {
            return Err(invalid("a chunk header or trailer line is too long"));
        }
        self.line.extend_from_slice(&taken);
        if end.is_none() {
            return Ok(None);
        }
        let mut line = std::mem::take(&mut self.line);
        line.pop();
        // Some clients end trailer lines by the line feed alone; everywhere else the pair is needed.
        if line.pop_if(|byte| *byte == b'\r').is_none() && self.state != State::Trailer {
            return Err(invalid("a chunk's line must end with CR and LF"));
        }
        Ok(Some(line))
    }

    fn begin_chunk(&mut self, line: &[u8]) -> Result<(), S3Error> {
        let line = std::str::from_utf8(line).map_err(|_| invalid("a chunk header is not ASCII"))?;
        let (size, extension) = match line.split_once(';') {
            Some((size, extension)) => (size, Some(extension)),
            None => (line, None),
        };
        let size = parse_size(size.trim())?;
        if size > self.options.decoded_bytes - self.decoded {
            return Err(incomplete("the chunks hold more bytes than x-amz-decoded-content-length says"));
        }
        self.read_signature(extension, size)?;
        if size > 0 {
            self.state = State::Data(size);
            return Ok(());
        }
        self.check_chunk_signature()?;
        if self.decoded != self.options.decoded_bytes {
            return Err(incomplete("the chunks hold fewer bytes than x-amz-decoded-content-length says"));
        }
        self.state = State::Trailer;
        Ok(())
    }

    fn read_signature(&mut self, extension: Option<&str>, size: u64) -> Result<(), S3Error> {
        match (&self.options.signer, extension) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(invalid("an unsigned chunk may have no extension")),
            (Some(_), extension) => {
                let signature = extension
                    .and_then(|extension| extension.trim().strip_prefix("chunk-signature="))
                    .ok_or_else(|| invalid("a chunk has no chunk-signature"))?;
                if size > SIGNED_CHUNK_BYTES_MAX {
                    return Err(S3Error::new(
                        S3ErrorCode::EntityTooLarge,
                        "a signed chunk may have at most 16 MiB; send smaller chunks",
                    ));
                }
                self.chunk_signature = signature.trim().as_bytes().to_vec();
                self.hasher = Sha256::new();
                Ok(())
            }
        }
    }

    fn take_data(&mut self, left: u64, input: &mut Bytes, out: &mut Vec<Bytes>) {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let piece = input.split_to(count);
        let taken = piece.len() as u64;
        self.decoded += taken;
        if self.options.signer.is_some() {
            self.hasher.update(&piece);
        }
        out.push(piece);
        self.state = if taken == left { State::DataEnd } else { State::Data(left - taken) };
    }

    fn end_chunk(&mut self, line: &[u8]) -> Result<(), S3Error> {
        if !line.is_empty() {
            return Err(invalid("a chunk is longer than its header says"));
        }
        self.check_chunk_signature()?;
        self.state = State::Header;
        Ok(())
    }

    fn check_chunk_signature(&mut self) -> Result<(), S3Error> {
        let Some(signer) = &mut self.options.signer else { return Ok(()) };
        if signer.check_chunk(std::mem::take(&mut self.hasher), &self.chunk_signature) {
            return Ok(());
        }
        Err(S3Error::new(S3ErrorCode::SignatureDoesNotMatch, "a chunk's signature is not the one this server computes"))
    }

    fn trailer_line(&mut self, line: &[u8]) -> Result<(), S3Error> {
        if line.is_empty() {
            // Some clients put an empty line between the trailer and its signature.
            if self.needs_trailer_signature() && !self.trailers.fields.is_empty() {
                return Ok(());
            }
            return self.end_trailer();
        }
        if !self.options.has_trailer {
            return Err(bad_trailer("there is a trailer, but the payload kind has none"));
        }
        if self.trailers.fields.len() >= TRAILER_LINES_MAX || self.trailer_signature_seen {
            return Err(bad_trailer("the trailer has too many lines"));
        }
        let line = std::str::from_utf8(line).map_err(|_| bad_trailer("the trailer is not ASCII"))?;
        let (name, value) = line.split_once(':').ok_or_else(|| bad_trailer("a trailer line must be name:value"))?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if name == TRAILER_SIGNATURE {
            return self.trailer_signature(value);
        }
        if !self.options.trailer_names.contains(&name) || self.trailers.get(&name).is_some() {
            return Err(bad_trailer("a trailer was not announced by x-amz-trailer or is there twice"));
        }
        self.signed_lines.push_str(&format!("{name}:{value}\n"));
        self.trailers.fields.push((name, value.to_owned()));
        Ok(())
    }

    fn needs_trailer_signature(&self) -> bool {
        self.options.has_trailer && self.options.signer.is_some() && !self.trailer_signature_seen
    }

    fn trailer_signature(&mut self, sent: &str) -> Result<(), S3Error> {
        let Some(signer) = &mut self.options.signer else {
            return Err(bad_trailer("an unsigned body has a trailer signature"));
        };
        if !signer.check_trailer(&self.signed_lines, sent.as_bytes()) {
            return Err(S3Error::new(
                S3ErrorCode::SignatureDoesNotMatch,
                "the trailer's signature is not the one this server computes",
            ));
        }
        self.trailer_signature_seen = true;
        Ok(())
    }

    fn end_trailer(&mut self) -> Result<(), S3Error> {
        if self.needs_trailer_signature() {
            return Err(bad_trailer("the trailer has no x-amz-trailer-signature"));
        }
        if self.options.trailer_names.iter().any(|name| self.trailers.get(name).is_none()) {
            return Err(bad_trailer("a trailer announced by x-amz-trailer is missing"));
        }
        self.state = State::Done;
        Ok(())
    }

    /// One more line end is harmless, and some clients send it. Anything else is not part of the body.
    fn take_behind(&mut self, input: &mut Bytes) -> Result<(), S3Error> {
        let rest = input.split_to(input.len());
        let fits = rest.len() <= 2 - self.bytes_behind && b"\r\n"[self.bytes_behind..].starts_with(&rest);
        self.bytes_behind += rest.len();
        if fits { Ok(()) } else { Err(invalid("there are bytes behind the last chunk")) }
    }
}

fn parse_size(text: &str) -> Result<u64, S3Error> {
    if text.is_empty() || text.len() > 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(invalid("a chunk's size must be 1 to 16 hex digits"));
    }
    u64::from_str_radix(text, 16).map_err(|_| invalid("a chunk's size must be 1 to 16 hex digits"))
}

fn incomplete(message: &'static str) -> S3Error {
    S3Error::new(S3ErrorCode::IncompleteBody, message)
}

fn invalid(message: &'static str) -> S3Error {
    S3Error::new(S3ErrorCode::InvalidRequest, message)
}

fn bad_trailer(message: &'static str) -> S3Error {
    S3Error::new(S3ErrorCode::MalformedTrailerError, message)
}

#[cfg(test)]
#[path = "chunked_test.rs"]
mod chunked_test;
