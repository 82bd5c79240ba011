//! Serial barcode scanners: bytes ↔ telegrams.
//!
//! ```text
//! ┌────────┬────────────┬───────────┬────────────┬─────┬────────────┐
//! │ header │ ]cm  code  │ separator │ ]cm  code  │  …  │ terminator │
//! └────────┴────────────┴───────────┴────────────┴─────┴────────────┘
//!  STX or    AIM identifier, where configured            ETX, CR LF, CR
//!  nothing
//! ```
//!
//! # Invariants
//!
//! 1. The telegrams depend on the bytes only, not on how they were cut into reads.
//! 2. Memory is bounded by [`Framing::longest`]; what is longer is reported once and thrown away up to the next
//!    terminator or header.
//! 3. A telegram that is not understood as a whole is a fault as a whole: half of it could hide a second parcel.
//! 4. After any fault the next good telegram is read as if nothing had been (resynchronising).
//! 5. Separators inside a code (GS, 0x1D, the FNC1 of GS1) are kept.

use thiserror::Error;

use crate::identify::{Aim, Reading};

/// How a scanner frames its telegrams and which texts mean something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Framing {
    /// Bytes before a telegram (STX, or nothing).
    pub header: Vec<u8>,
    /// Bytes that end it (ETX, CR LF, CR).
    pub terminator: Vec<u8>,
    /// Separates several codes in one telegram.
    pub separator: Option<Vec<u8>>,
    /// Text that means "I looked and read nothing", e.g. `ERROR` or `NoRead`.
    pub no_read: Option<String>,
    /// Text of the periodic heartbeat telegram.
    pub heartbeat: Option<String>,
    /// Each code is preceded by its AIM identifier `]cm`.
    pub aim: bool,
    /// Longest telegram in bytes; longer is noise.
    pub longest: usize,
}

/// What a scanner says in one telegram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Telegram {
    /// Codes, at least one.
    Codes(Vec<Reading>),
    /// It looked and read nothing.
    NoRead,
    /// It is alive.
    Heartbeat,
}

/// Bytes that are no telegram.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScannerFault {
    /// No terminator within the longest telegram.
    #[error("telegram: expected its end within {longest} bytes; the rest is thrown away")]
    Oversized {
        /// Limit.
        longest: usize,
    },
    /// Bytes outside a telegram.
    #[error("expected the header, came {bytes} other bytes")]
    Garbage {
        /// How many.
        bytes: usize,
    },
    /// A header before the terminator, or a pause in the middle.
    #[error("telegram cut off after {bytes} bytes")]
    Cut {
        /// Bytes of it that came.
        bytes: usize,
    },
    /// Nothing between header and terminator, or between two separators.
    #[error("expected a code, came none")]
    Empty,
    /// Not UTF-8.
    #[error("telegram of {bytes} bytes: expected UTF-8, byte {at} is not")]
    NotUtf8 {
        /// Length.
        bytes: usize,
        /// First byte that is none.
        at: usize,
    },
    /// A control character no symbology carries.
    #[error("code of {bytes} bytes: control character {came:#04x} at byte {at}")]
    Control {
        /// Length.
        bytes: usize,
        /// Where.
        at: usize,
        /// Value.
        came: u8,
    },
    /// AIM identifiers are configured and this code has none.
    #[error("expected an AIM identifier ]cm before the code, came {came:?}")]
    BadAim {
        /// The first characters.
        came: String,
    },
}

impl ScannerFault {
    /// Name under which it is counted.
    pub fn kind(&self) -> &'static str {
        match self {
            ScannerFault::Oversized { .. } => "oversized",
            ScannerFault::Garbage { .. }
            | ScannerFault::Cut { .. }
            | ScannerFault::Empty
            | ScannerFault::Control { .. } => "bad_frame",
            ScannerFault::NotUtf8 { .. } => "not_utf8",
            ScannerFault::BadAim { .. } => "bad_aim",
        }
    }
}

/// A telegram or a fault, with the stamp of its first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame<T> {
    /// Stamp given with its first byte (of the header, where there is one).
    pub first: T,
    /// What it was.
    pub what: Result<Telegram, ScannerFault>,
}

/// Control characters that real symbols carry: GS and RS, FS, US, EOT of ISO/IEC 15434 messages.
const CONTROLS_KEPT: [u8; 5] = [0x1D, 0x1E, 0x1C, 0x1F, 0x04];
const CR: u8 = b'\r';
const LF: u8 = b'\n';

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before a telegram; the buffer holds a beginning of the header.
    Between,
    /// In a telegram; the buffer holds it without its header.
    Inside,
    /// In something that was given up; the buffer holds its last bytes only.
    Skipping,
}

/// Incremental decoder. `T` is whatever the caller stamps bytes with; only the stamp of a frame's first byte
/// is kept.
#[derive(Debug, Clone)]
pub struct Decoder<T> {
    framing: Framing,
    place: Place,
    buffer: Vec<u8>,
    /// Of the telegram or the garbage that is being read.
    first: Option<T>,
    garbage: usize,
    /// The header is made of control characters, so it cannot stand inside a code.
    header_is_unmistakable: bool,
}

impl<T: Copy> Decoder<T> {
    /// A decoder that has heard nothing yet.
    pub fn new(framing: Framing) -> Decoder<T> {
        let unmistakable = |byte: &u8| *byte < 0x20 && !CONTROLS_KEPT.contains(byte);
        let header_is_unmistakable = !framing.header.is_empty() && framing.header.iter().all(unmistakable);
        Decoder {
            framing,
            place: Place::Between,
            buffer: Vec::new(),
            first: None,
            garbage: 0,
            header_is_unmistakable,
        }
    }

    /// Whether a telegram has begun and not ended.
    pub fn inside(&self) -> bool {
        self.place == Place::Inside && (!self.buffer.is_empty() || !self.framing.header.is_empty())
    }

    /// Takes one byte; at most two frames come of it (garbage, and the telegram after it).
    pub fn byte(&mut self, byte: u8, stamp: T, frames: &mut Vec<Frame<T>>) {
        if self.place == Place::Between {
            if self.framing.header.is_empty() {
                // A terminator CR that is sent as CR LF leaves its LF in front of the next telegram.
                if byte == LF && self.framing.terminator == [CR] {
                    return;
                }
                self.first = Some(stamp);
                self.place = Place::Inside;
            } else {
                return self.search(byte, stamp, frames);
            }
        }
        self.buffer.push(byte);
        if self.buffer.ends_with(&self.framing.terminator) && !self.framing.terminator.is_empty() {
            let whole = std::mem::take(&mut self.buffer);
            if self.place == Place::Inside {
                let body = &whole[..whole.len() - self.framing.terminator.len()];
                let what = telegram(&self.framing, body);
                self.emit(what, stamp, frames);
            }
            self.reset();
            return;
        }
        if self.header_is_unmistakable && self.buffer.ends_with(&self.framing.header) {
            if self.place == Place::Inside {
                let bytes = self.buffer.len() - self.framing.header.len();
                self.emit(Err(ScannerFault::Cut { bytes }), stamp, frames);
            }
            self.reset();
            self.first = Some(stamp);
            self.place = Place::Inside;
            return;
        }
        match self.place {
            Place::Inside if self.buffer.len() >= self.framing.longest + self.framing.terminator.len() => {
                self.emit(Err(ScannerFault::Oversized { longest: self.framing.longest }), stamp, frames);
                self.place = Place::Skipping;
                self.shorten();
            }
            Place::Skipping => self.shorten(),
            Place::Inside | Place::Between => {}
        }
    }

    /// Takes bytes that share one stamp.
    pub fn push(&mut self, bytes: &[u8], stamp: T) -> Vec<Frame<T>> {
        let mut frames = Vec::new();
        for &byte in bytes {
            self.byte(byte, stamp, &mut frames);
        }
        frames
    }

    /// The rest of what has begun cannot be trusted (a pause in its middle, bytes from before the port was
    /// opened): what came so far is a fault, what follows up to the next terminator or header is thrown away.
    pub fn distrust(&mut self) -> Option<ScannerFault> {
        if !self.inside() {
            return None;
        }
        let fault = ScannerFault::Cut { bytes: self.buffer.len() };
        self.place = Place::Skipping;
        self.shorten();
        Some(fault)
    }

    /// After a pause nothing that comes belongs to what had begun: that was cut off, the next byte begins anew.
    pub fn abandon(&mut self) -> Option<ScannerFault> {
        let fault = self.inside().then_some(ScannerFault::Cut { bytes: self.buffer.len() });
        self.reset();
        fault
    }

    /// Looks for the header. What is no beginning of it is garbage; line ends between telegrams are not.
    fn search(&mut self, byte: u8, stamp: T, frames: &mut Vec<Frame<T>>) {
        if self.first.is_none() {
            self.first = Some(stamp);
        }
        if self.buffer.is_empty() && self.garbage == 0 {
            self.first = Some(stamp);
        }
        self.buffer.push(byte);
        while !self.framing.header.starts_with(&self.buffer) {
            let out = self.buffer.remove(0);
            if out != CR && out != LF {
                self.garbage += 1;
            }
            if self.buffer.is_empty() {
                break;
            }
        }
        let found = self.buffer == self.framing.header;
        if self.garbage > 0 && (found || self.garbage >= self.framing.longest.max(1)) {
            let bytes = std::mem::take(&mut self.garbage);
            self.emit(Err(ScannerFault::Garbage { bytes }), stamp, frames);
            self.first = Some(stamp);
        }
        if found {
            self.buffer.clear();
            self.place = Place::Inside;
        }
    }

    fn emit(&mut self, what: Result<Telegram, ScannerFault>, now: T, frames: &mut Vec<Frame<T>>) {
        frames.push(Frame { first: self.first.unwrap_or(now), what });
    }

    fn reset(&mut self) {
        self.place = Place::Between;
        self.buffer.clear();
        self.first = None;
        self.garbage = 0;
    }

    /// Keeps only as much as could be the beginning of a terminator or a header.
    fn shorten(&mut self) {
        let keep = self.framing.terminator.len().max(self.framing.header.len()).saturating_sub(1);
        let drop = self.buffer.len().saturating_sub(keep);
        self.buffer.drain(..drop);
    }
}

/// What the bytes between header and terminator say.
fn telegram(framing: &Framing, body: &[u8]) -> Result<Telegram, ScannerFault> {
    let text = std::str::from_utf8(body)
        .map_err(|error| ScannerFault::NotUtf8 { bytes: body.len(), at: error.valid_up_to() })?;
    if framing.heartbeat.as_deref() == Some(text) {
        return Ok(Telegram::Heartbeat);
    }
    if framing.no_read.as_deref() == Some(text) {
        return Ok(Telegram::NoRead);
    }
    let separator = framing.separator.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
    let parts: Vec<&str> = match separator {
        Some(separator) if !separator.is_empty() => text.split(separator).collect(),
        _ => vec![text],
    };
    let mut readings = Vec::with_capacity(parts.len());
    for part in parts {
        // One head of several that saw nothing says nothing about what the others saw.
        if framing.no_read.as_deref() != Some(part) {
            readings.push(code(framing, part)?);
        }
    }
    Ok(if readings.is_empty() { Telegram::NoRead } else { Telegram::Codes(readings) })
}

fn code(framing: &Framing, part: &str) -> Result<Reading, ScannerFault> {
    let control = |byte: &u8| byte.is_ascii_control() && !CONTROLS_KEPT.contains(byte);
    if let Some(at) = part.bytes().position(|byte| control(&byte)) {
        return Err(ScannerFault::Control { bytes: part.len(), at, came: part.as_bytes()[at] });
    }
    let (aim, text) = if framing.aim {
        match part.as_bytes() {
            [b']', c, m, ..] if c.is_ascii_alphabetic() && m.is_ascii_alphanumeric() => {
                (Some(Aim(*c, *m)), &part[AIM_LENGTH..])
            }
            [] => return Err(ScannerFault::Empty),
            _ => return Err(ScannerFault::BadAim { came: part.chars().take(AIM_LENGTH).collect() }),
        }
    } else {
        (None, part)
    };
    if text.is_empty() {
        return Err(ScannerFault::Empty);
    }
    Ok(Reading::Barcode { aim, text: text.to_owned() })
}

/// `]`, code character, modifier.
const AIM_LENGTH: usize = 3;

/// Why a telegram cannot be sent under a framing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// The framing has no text for it.
    #[error("{what}: the framing has no text for it")]
    NoText {
        /// No-read or heartbeat.
        what: &'static str,
    },
    /// A scanner reads barcodes.
    #[error("expected barcodes, came a tag")]
    Tag,
    /// Several codes and nothing to put between them.
    #[error("{codes} codes, but the framing has no separator")]
    NoSeparator {
        /// How many.
        codes: usize,
    },
}

/// A telegram as a scanner sends it. Where AIM identifiers are configured and a reading has none, `]X0` is sent.
pub fn encode(framing: &Framing, telegram: &Telegram) -> Result<Vec<u8>, EncodeError> {
    let body = match telegram {
        Telegram::NoRead => {
            framing.no_read.clone().ok_or(EncodeError::NoText { what: "no-read" })?.into_bytes()
        }
        Telegram::Heartbeat => {
            framing.heartbeat.clone().ok_or(EncodeError::NoText { what: "heartbeat" })?.into_bytes()
        }
        Telegram::Codes(readings) => codes_body(framing, readings)?,
    };
    Ok([framing.header.as_slice(), &body, &framing.terminator].concat())
}

fn codes_body(framing: &Framing, readings: &[Reading]) -> Result<Vec<u8>, EncodeError> {
    let mut body = Vec::new();
    for (place, reading) in readings.iter().enumerate() {
        let Reading::Barcode { aim, text } = reading else { return Err(EncodeError::Tag) };
        if place > 0 {
            let none = EncodeError::NoSeparator { codes: readings.len() };
            body.extend_from_slice(framing.separator.as_deref().ok_or(none)?);
        }
        if framing.aim {
            let Aim(c, m) = aim.unwrap_or(Aim(b'X', b'0'));
            body.extend_from_slice(&[b']', c, m]);
        }
        body.extend_from_slice(text.as_bytes());
    }
    Ok(body)
}

#[cfg(test)]
mod tests;
