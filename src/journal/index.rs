//! Where a code or a pass is mentioned: hashes of what records mention, with the records' numbers.
//!
//! A hash may stand for two things, so whoever looks reads the record and sees. The day that is written has
//! its index in memory, filled again from the blocks when the day opens; a sealed day has it in a file
//! beside its Db, looked into by a few positioned reads:
//!
//! ```text
//! index:  pages of 4096 bytes; page 0 is the head, the others hold 511 mentions each, sorted, the last one
//!         filled up with ff
//! head:   magic(8) version(1) first seq(8) last seq(8) mentions(8) crc32(4)
//! page:   crc32(4) page number(4) then 511 times: hash(4) offset(4), the record's number less the first one's
//! ```
//! Numbers are big-endian; the CRC of a page covers everything behind it. The file is only ever a shorter
//! way to what the blocks say: where it is missing, damaged or of other records it is made again.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::record::number;

const MAGIC: &[u8; 8] = b"SORTINDX";
const VERSION: u8 = 1;
const HEAD: usize = 37;
const PAGE: usize = 4_096;
const PAGE_HEADER: usize = 8;
const MENTIONS_A_PAGE: usize = (PAGE - PAGE_HEADER) / 8;
const FILLER: (u32, u32) = (u32::MAX, u32::MAX);

/// Mentions collected before they are sorted into a run.
const RECENT: usize = 8_192;

/// A hash, and a record's number less the day's first.
pub(super) type Mention = (u32, u32);

/// The index of the day that is written.
#[derive(Debug, Default)]
pub(super) struct Index {
    recent: Vec<Mention>,
    /// Each sorted, each at least twice as long as the next.
    runs: Vec<Vec<Mention>>,
}

impl Index {
    pub fn of(mut mentions: Vec<Mention>) -> Index {
        mentions.sort_unstable();
        mentions.shrink_to_fit();
        Index { recent: Vec::new(), runs: vec![mentions] }
    }

    pub fn add(&mut self, mention: Mention) {
        self.recent.push(mention);
        if self.recent.len() < RECENT {
            return;
        }
        let mut run = std::mem::take(&mut self.recent);
        run.sort_unstable();
        while self.runs.last().is_some_and(|before| before.len() < run.len() * 2)
            && let Some(before) = self.runs.pop()
        {
            run = merge(&before, &run);
        }
        self.runs.push(run);
    }

    /// Offsets of the records that mention this, newest first, at most `max`.
    pub fn find(&self, hash: u32, max: usize) -> Vec<u32> {
        let recent = self.recent.iter().filter(|mention| mention.0 == hash).map(|mention| mention.1);
        let mut found: Vec<u32> = recent.collect();
        for run in &self.runs {
            let from = run.partition_point(|mention| mention.0 < hash);
            let to = from + run[from..].partition_point(|mention| mention.0 == hash);
            found.extend(run[from..to].iter().rev().take(max).map(|mention| mention.1));
        }
        newest(found, max)
    }
}

fn merge(a: &[Mention], b: &[Mention]) -> Vec<Mention> {
    let mut merged = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.iter().copied().peekable(), b.iter().copied().peekable());
    while let (Some(left), Some(right)) = (a.peek(), b.peek()) {
        merged.extend(if left <= right { a.next() } else { b.next() });
    }
    merged.extend(a.chain(b));
    merged
}

/// A batch whose fate was unknown may have been counted in twice.
fn newest(mut found: Vec<u32>, max: usize) -> Vec<u32> {
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.dedup();
    found.truncate(max);
    found
}

/// Why an index file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Damaged(String),
}

/// Writes the index of the records `first_seq` to `last_seq`. Nothing is synced: after a loss of power it is
/// made again.
pub(super) fn write(path: &Path, first_seq: u64, last_seq: u64, mentions: &[Mention]) -> std::io::Result<()> {
    let mut mentions = mentions.to_vec();
    mentions.sort_unstable();
    mentions.dedup();
    let beside = path.with_extension("new");
    let mut file = BufWriter::new(File::create(&beside)?);
    let mut head = Vec::with_capacity(PAGE);
    head.extend_from_slice(MAGIC);
    head.push(VERSION);
    for number in [first_seq, last_seq, mentions.len() as u64] {
        head.extend_from_slice(&number.to_be_bytes());
    }
    head.extend_from_slice(&crc32fast::hash(&head).to_be_bytes());
    head.resize(PAGE, 0);
    file.write_all(&head)?;
    for (page, chunk) in (1_u32..).zip(mentions.chunks(MENTIONS_A_PAGE)) {
        let mut bytes = Vec::with_capacity(PAGE);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&page.to_be_bytes());
        for (hash, offset) in chunk.iter().chain(std::iter::repeat(&FILLER)).take(MENTIONS_A_PAGE) {
            bytes.extend_from_slice(&hash.to_be_bytes());
            bytes.extend_from_slice(&offset.to_be_bytes());
        }
        let crc = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_be_bytes());
        file.write_all(&bytes)?;
    }
    file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    std::fs::rename(&beside, path)
}

/// Offsets of the records of a sealed day that mention this, newest first, at most `max`. The file must be
/// that of the records `first_seq` to `last_seq`.
pub(super) fn find(
    path: &Path,
    first_seq: u64,
    last_seq: u64,
    hash: u32,
    max: usize,
) -> Result<Vec<u32>, IndexError> {
    let file = File::open(path)?;
    let mut head = [0; HEAD];
    file.read_exact_at(&mut head, 0)?;
    let crc = crc32fast::hash(&head[..HEAD - 4]).to_be_bytes();
    if head[..8] != *MAGIC || head[8] != VERSION || head[HEAD - 4..] != crc {
        return Err(IndexError::Damaged("its head is not what was written".to_owned()));
    }
    if (number(&head[9..17]), number(&head[17..25])) != (first_seq, last_seq) {
        return Err(IndexError::Damaged("it is of other records".to_owned()));
    }
    let mentions = usize::try_from(number(&head[25..33])).unwrap_or(usize::MAX);
    let pages = mentions.div_ceil(MENTIONS_A_PAGE);
    // The first page that may hold the hash: the one before the first that begins with it or beyond.
    let (mut low, mut high) = (0, pages);
    while low < high {
        let middle = low + (high - low) / 2;
        if read_page(&file, middle)?[0].0 < hash { low = middle + 1 } else { high = middle }
    }
    let mut found = Vec::new();
    for page in low.saturating_sub(1)..pages {
        let page = read_page(&file, page)?;
        let here = page.iter().filter(|mention| mention.0 == hash && **mention != FILLER);
        found.extend(here.map(|mention| mention.1));
        if page[MENTIONS_A_PAGE - 1].0 > hash {
            break;
        }
    }
    Ok(newest(found, max))
}

fn read_page(file: &File, page: usize) -> Result<Vec<Mention>, IndexError> {
    let mut bytes = [0; PAGE];
    let number = page as u64 + 1;
    file.read_exact_at(&mut bytes, number * PAGE as u64)?;
    let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if word(0) != crc32fast::hash(&bytes[4..]) || u64::from(word(4)) != number {
        return Err(IndexError::Damaged(format!("page {number} is not what was written")));
    }
    Ok((0..MENTIONS_A_PAGE).map(|n| (word(PAGE_HEADER + n * 8), word(PAGE_HEADER + n * 8 + 4))).collect())
}

#[cfg(test)]
#[path = "tests/index.rs"]
mod tests;
