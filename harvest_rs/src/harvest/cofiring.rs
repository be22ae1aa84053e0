//! How often two components fire at the same position: exact counts of unordered pairs.

use super::row::{Row, Scratch};
use super::tile::{Accumulator, Tile};
use crate::workers::for_each;

/// Row j counts the components with smaller live numbers that fire where j does, so each pair stands once
/// and a row never grows in width.
#[derive(Default)]
pub struct Cofiring {
    pub(super) rows: Vec<Row>,
}

/// For each wanted component every component that fires with it, by ascending component.
pub struct CofiringTable {
    /// Where the entries of each wanted component start; one more than there are.
    pub starts: Vec<usize>,
    /// The other component.
    pub others: Vec<u32>,
    /// Positions where both fire.
    pub counts: Vec<u64>,
}

/// Rows up to this width turn dense early: ten thousand of them take little more than half a gigabyte.
pub(super) const EAGER: usize = 16_384;

/// Rows that one work item updates.
pub(super) const CHUNK: usize = 8;

impl Cofiring {
    fn grow(&mut self, live: usize) {
        for number in self.rows.len()..live {
            self.rows.push(if number <= EAGER { Row::eager(number) } else { Row::new(number) });
        }
    }
}

impl Accumulator for Cofiring {
    type Table = CofiringTable;

    fn add_batch(&mut self, tile: &Tile<'_>) {
        self.grow(tile.live);
        let firings = tile.firings;
        for_each(
            tile.threads,
            self.rows.chunks_mut(CHUNK).enumerate(),
            Scratch::default,
            |scratch, (chunk, rows)| {
                for (index, row) in rows.iter_mut().enumerate() {
                    for at in firings.of(chunk * CHUNK + index) {
                        let smaller = &firings.at(firings.positions[at])[..firings.ranks[at] as usize];
                        row.add_ones(smaller);
                        row.settle_if_full(scratch);
                    }
                }
            },
        );
    }

    fn merge(&mut self, mut other: Self, numbers: &[u32], live: usize) {
        self.grow(live);
        let mut scratch = Scratch::default();
        for (number, mut theirs) in other.rows.drain(..).enumerate() {
            theirs.settle(&mut scratch);
            let here = numbers[number];
            theirs.for_each(|key, count| {
                let there = numbers[key as usize];
                let row = &mut self.rows[here.max(there) as usize];
                row.add_large(here.min(there), count);
            });
            // Those that went to later rows wait there; each is looked at when its own turn comes.
            self.rows[here as usize].settle_if_full(&mut scratch);
        }
        for row in &mut self.rows {
            row.settle(&mut scratch);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a count of positions fits in 64 bits")]
    fn finish(&mut self, wanted: &[u32], components: &[u32]) -> CofiringTable {
        let mut found: Vec<Vec<(u32, u64)>> = vec![Vec::new(); wanted.len()];
        for (number, entries) in wanted.iter().zip(&mut found) {
            self.rows[*number as usize]
                .for_each(|key, count| entries.push((components[key as usize], count as u64)));
        }
        // The other half stands in the rows of larger numbers; `wanted` in ascending order walks each of them once.
        let mut ascending: Vec<usize> = (0..wanted.len()).collect();
        ascending.sort_unstable_by_key(|&index| wanted[index]);
        for (number, row) in (0_u32..).zip(&self.rows) {
            for &index in ascending.iter().take_while(|&&index| wanted[index] < number) {
                let count = row.get(wanted[index]);
                if count != 0 {
                    found[index].push((components[number as usize], count as u64));
                }
            }
        }
        let mut table = CofiringTable { starts: vec![0], others: Vec::new(), counts: Vec::new() };
        for entries in &mut found {
            entries.sort_unstable();
            table.others.extend(entries.iter().map(|entry| entry.0));
            table.counts.extend(entries.iter().map(|entry| entry.1));
            table.starts.push(table.others.len());
        }
        table
    }

    fn memory_bytes(&self) -> usize {
        self.rows.iter().map(Row::memory_bytes).sum()
    }
}

impl Cofiring {
    /// Work every waiting addition in; needed before `finish` and before saving.
    pub fn settle(&mut self, threads: usize) {
        settle(&mut self.rows, threads);
    }
}

/// Settle many rows.
pub(super) fn settle(rows: &mut [Row], threads: usize) {
    for_each(threads, rows.chunks_mut(CHUNK), Scratch::default, |scratch, rows| {
        for row in rows {
            row.settle(scratch);
        }
    });
}
