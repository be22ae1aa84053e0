//! A harvest as bytes: little-endian words, their length in front, a checksum behind.

use std::io::{self, Read, Write};

use super::row::Row;
use super::sampling::mix;
use super::settings::Fault;

const MAGIC: u64 = 0x7370_6468_7276_0001;

/// A running checksum over 64-bit words: every changed, missing or moved word changes it.
#[derive(Clone, Copy)]
struct Checksum(u64);

impl Checksum {
    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    /// The last word of a state.
    fn end(self) -> u64 {
        mix(self.0)
    }
}

/// Writes words and sums them up. Errors of the sink are kept and reported at the end.
pub struct Writer<W: Write> {
    sink: W,
    checksum: Checksum,
    error: Option<io::Error>,
}

impl<W: Write> Writer<W> {
    /// Start a state.
    pub fn new(sink: W) -> Self {
        let mut writer = Self { sink, checksum: Checksum(MAGIC), error: None };
        writer.u64(MAGIC);
        writer
    }

    /// One word.
    pub fn u64(&mut self, word: u64) {
        self.checksum.word(word);
        if self.error.is_none() {
            self.error = self.sink.write_all(&word.to_le_bytes()).err();
        }
    }

    /// A sum of up to 128 bits.
    #[expect(clippy::cast_possible_truncation, reason = "the halves are taken apart")]
    pub fn u128(&mut self, sum: u128) {
        self.u64(sum as u64);
        self.u64((sum >> 64) as u64);
    }

    /// A list of words, with its length.
    pub fn words(&mut self, words: &[u64]) {
        self.u64(words.len() as u64);
        for &word in words {
            self.u64(word);
        }
    }

    /// A list of 32-bit numbers, two to a word.
    pub fn halves(&mut self, halves: &[u32]) {
        self.u64(halves.len() as u64);
        for pair in halves.chunks(2) {
            self.u64(u64::from(pair[0]) | u64::from(pair.get(1).copied().unwrap_or(0)) << 32);
        }
    }

    /// A text.
    pub fn text(&mut self, text: &str) {
        let bytes: Vec<u32> = text.bytes().map(u32::from).collect();
        self.halves(&bytes);
    }

    /// A settled row.
    pub fn row(&mut self, row: &Row) {
        let (width, dense, keys, low, carries) = row.parts();
        self.u64(u64::from(width));
        self.u64(u64::from(dense) | u64::from(carries.is_some()) << 1);
        self.halves(keys);
        self.halves(low);
        if let Some(carries) = carries {
            self.row(carries);
        }
    }

    /// A list of settled rows.
    pub fn rows(&mut self, rows: &[Row]) {
        self.u64(rows.len() as u64);
        for row in rows {
            self.row(row);
        }
    }

    /// Write the checksum and everything that is still held back.
    ///
    /// # Errors
    /// The sink could not take all of it.
    pub fn finish(mut self) -> io::Result<()> {
        let sum = self.checksum.end();
        self.u64(sum);
        self.error.map_or_else(|| self.sink.flush(), Err)
    }
}

/// Reads what `Writer` wrote, once `verify` has found it whole.
pub struct Reader<R: Read> {
    source: R,
    /// Bytes that can still follow; no list is taken to be longer.
    left: u64,
}

fn damaged() -> Fault {
    Fault("the saved harvest state is truncated or damaged".to_owned())
}

/// Check the checksum of a whole state.
///
/// # Errors
/// It is not one, was cut short or changed.
pub fn verify(mut source: impl Read) -> Result<(), Fault> {
    let mut checksum = Checksum(MAGIC);
    let mut held: Option<u64> = None;
    let mut first = true;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match source.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault(format!("the saved harvest state cannot be read: {error}"))),
            }
        }
        let (words, rest) = buffer[..filled].as_chunks::<8>();
        if !rest.is_empty() {
            return Err(damaged());
        }
        for word in words {
            let word = u64::from_le_bytes(*word);
            if std::mem::take(&mut first) && word != MAGIC {
                return Err(Fault("this is not a harvest state, or of another version".to_owned()));
            }
            if let Some(before) = held.replace(word) {
                checksum.word(before);
            }
        }
        if filled < buffer.len() {
            return if held == Some(checksum.end()) { Ok(()) } else { Err(damaged()) };
        }
    }
}

impl<R: Read> Reader<R> {
    /// Read a state of `length` bytes.
    ///
    /// # Errors
    /// It does not start as one.
    pub fn new(source: R, length: u64) -> Result<Self, Fault> {
        let mut reader = Self { source, left: length };
        if reader.u64()? == MAGIC { Ok(reader) } else { Err(damaged()) }
    }

    /// One word.
    ///
    /// # Errors
    /// Nothing follows.
    pub fn u64(&mut self) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        self.left = self.left.checked_sub(8).ok_or_else(damaged)?;
        self.source.read_exact(&mut bytes).map_err(|_| damaged())?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// A sum of up to 128 bits.
    ///
    /// # Errors
    /// It is cut short.
    pub fn u128(&mut self) -> Result<u128, Fault> {
        Ok(u128::from(self.u64()?) | u128::from(self.u64()?) << 64)
    }

    /// A length of things that take at least `bytes` each.
    ///
    /// # Errors
    /// Not as much can follow.
    pub fn length(&mut self, bytes: u64) -> Result<usize, Fault> {
        let length = self.u64()?;
        if length.saturating_mul(bytes) > self.left.saturating_add(8) {
            return Err(damaged());
        }
        usize::try_from(length).map_err(|_| damaged())
    }

    /// A list of words.
    ///
    /// # Errors
    /// It is cut short.
    pub fn words(&mut self) -> Result<Vec<u64>, Fault> {
        let length = self.length(8)?;
        (0..length).map(|_| self.u64()).collect()
    }

    /// A list of 32-bit numbers.
    ///
    /// # Errors
    /// It is cut short.
    #[expect(clippy::cast_possible_truncation, reason = "the halves are taken apart")]
    pub fn halves(&mut self) -> Result<Vec<u32>, Fault> {
        let length = self.length(4)?;
        let mut halves = Vec::with_capacity(length + 1);
        for _ in 0..length.div_ceil(2) {
            let word = self.u64()?;
            halves.extend([word as u32, (word >> 32) as u32]);
        }
        halves.truncate(length);
        halves.shrink_to_fit();
        Ok(halves)
    }

    /// A text.
    ///
    /// # Errors
    /// It is cut short or not UTF-8.
    pub fn text(&mut self) -> Result<String, Fault> {
        let bytes = self.halves()?.into_iter().map(u8::try_from).collect::<Result<_, _>>();
        bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(damaged)
    }

    /// A row.
    ///
    /// # Errors
    /// It is cut short.
    pub fn row(&mut self) -> Result<Row, Fault> {
        let width = u32::try_from(self.u64()?).map_err(|_| damaged())?;
        let flags = self.u64()?;
        let (keys, low) = (self.halves()?, self.halves()?);
        let carries = if flags & 2 == 0 { None } else { Some(self.row()?) };
        Ok(Row::from_parts(width, flags & 1 == 1, keys, low, carries))
    }

    /// A list of rows.
    ///
    /// # Errors
    /// It is cut short.
    pub fn rows(&mut self) -> Result<Vec<Row>, Fault> {
        let length = self.length(32)?;
        (0..length).map(|_| self.row()).collect()
    }
}
