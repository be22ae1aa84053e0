//! How often each component fires at each input token, and how often each token occurs. Where positions
//! have several inputs at once (features), these stand in the place of the token.

use super::cofiring::{CHUNK, settle};
use super::row::{Row, Scratch};
use super::tile::{Accumulator, Tile};
use crate::workers::for_each;

/// Counts of (component, token) by live number, and of tokens.
#[derive(Default)]
pub struct InputTokens {
    pub(super) rows: Vec<Row>,
    /// Positions with each token.
    pub occurrences: Vec<u64>,
}

/// Token counts of the wanted components, tokens ascending.
pub struct InputTable {
    /// Where the entries of each wanted component start; one more than there are.
    pub starts: Vec<usize>,
    /// The token.
    pub tokens: Vec<u32>,
    /// Firings at it.
    pub counts: Vec<u64>,
}

impl InputTokens {
    /// Nothing counted.
    pub fn new(vocabulary: usize) -> Self {
        Self { rows: Vec::new(), occurrences: vec![0; vocabulary] }
    }

    fn grow(&mut self, live: usize) {
        let width = self.occurrences.len();
        self.rows.resize_with(live, || Row::new(width));
    }

    /// Work every waiting addition in; needed before `finish` and before saving.
    pub fn settle(&mut self, threads: usize) {
        settle(&mut self.rows, threads);
    }
}

impl Accumulator for InputTokens {
    type Table = InputTable;

    fn add_batch(&mut self, tile: &Tile<'_>) {
        self.grow(tile.live);
        let (firings, inputs) = (tile.firings, tile.inputs(self.occurrences.len()));
        for &token in inputs.all() {
            self.occurrences[token as usize] += 1;
        }
        let items = self.rows.chunks_mut(CHUNK).enumerate();
        for_each(tile.threads, items, Scratch::default, |scratch, (chunk, rows)| {
            for (index, row) in rows.iter_mut().enumerate() {
                for &position in &firings.positions[firings.of(chunk * CHUNK + index)] {
                    row.add_ones(inputs.at(position));
                    row.settle_if_full(scratch);
                }
            }
        });
    }

    fn merge(&mut self, other: Self, numbers: &[u32], live: usize) {
        self.grow(live);
        for (ours, theirs) in self.occurrences.iter_mut().zip(other.occurrences) {
            *ours += theirs;
        }
        merge_rows(&mut self.rows, other.rows, numbers);
    }

    #[expect(clippy::cast_possible_truncation, reason = "a count of positions fits in 64 bits")]
    fn finish(&mut self, wanted: &[u32], _components: &[u32]) -> InputTable {
        let mut table = InputTable { starts: vec![0], tokens: Vec::new(), counts: Vec::new() };
        for &number in wanted {
            self.rows[number as usize].for_each(|token, count| {
                table.tokens.push(token);
                table.counts.push(count as u64);
            });
            table.starts.push(table.tokens.len());
        }
        table
    }

    fn memory_bytes(&self) -> usize {
        8 * self.occurrences.capacity() + self.rows.iter().map(Row::memory_bytes).sum::<usize>()
    }
}

/// Add each of `theirs` to the row of ours with its new number.
pub(super) fn merge_rows(ours: &mut [Row], theirs: Vec<Row>, numbers: &[u32]) {
    let mut scratch = Scratch::default();
    for (number, mut theirs) in numbers.iter().zip(theirs) {
        theirs.settle(&mut scratch);
        let row = &mut ours[*number as usize];
        theirs.for_each(|key, sum| row.add_large(key, sum));
        row.settle(&mut scratch);
    }
}
