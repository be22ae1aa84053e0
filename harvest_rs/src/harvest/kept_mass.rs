//! Adding the nuclei of a tile to the rows of the components that fire there.

use std::ops::Range;

use super::cofiring::CHUNK;
use super::output_mass::Kept;
use super::panels::{PANEL, Sums, add_occupied};
use super::row::{Row, Scratch};
use super::tile::Tile;
use crate::workers::for_each;

/// Adding a whole packed row of a panel takes about as long as adding this many entries one by one (measured).
const ENTRIES_PER_PANEL: usize = 8;

/// Add what was kept at every firing of the tile to the row of its component.
pub(super) fn add_kept(rows: &mut [Row], tile: &Tile<'_>, kept: &Kept, vocabulary: usize) {
    let positions = tile.rows.len();
    let panels = vocabulary.div_ceil(PANEL);
    if kept.entries() < ENTRIES_PER_PANEL * panels * positions {
        let items = rows.chunks_mut(CHUNK).enumerate();
        for_each(tile.threads, items, Scratch::default, |scratch, (chunk, rows)| {
            for (index, row) in rows.iter_mut().enumerate() {
                add_entries(row, tile, kept, chunk * CHUNK + index, scratch);
            }
        });
        return;
    }
    // Every item packs every panel, so there are few of them; more than threads, as they differ.
    let chunk = rows.len().div_ceil(3 * tile.threads).max(1);
    let scratch = || (Scratch::default(), Panel::new(positions));
    for_each(tile.threads, rows.chunks_mut(chunk).enumerate(), scratch, |(scratch, panel), (item, rows)| {
        let mut dense = Vec::new();
        for (index, row) in rows.iter_mut().enumerate() {
            let range = tile.firings.of(item * chunk + index);
            if row.is_dense() && !range.is_empty() {
                dense.push((row, range));
            } else {
                add_entries(row, tile, kept, item * chunk + index, scratch);
            }
        }
        panel.restart();
        for index in 0..panels {
            panel.pack(kept, index);
            for (row, range) in &mut dense {
                panel.add(row, &tile.firings.positions[Range::clone(range)]);
            }
        }
        for (row, _) in dense {
            row.settle_if_full(scratch);
        }
    });
}

fn add_entries(row: &mut Row, tile: &Tile<'_>, kept: &Kept, number: usize, scratch: &mut Scratch) {
    for &position in &tile.firings.positions[tile.firings.of(number)] {
        row.add_all(kept.at(position));
        row.settle_if_full(scratch);
    }
}

/// The kept masses of one panel at every position of a tile.
struct Panel {
    first: u32,
    packed: Vec<[u32; PANEL]>,
    occupied: Vec<bool>,
    /// Entries of each position that lie in earlier panels.
    done: Vec<usize>,
}

impl Panel {
    fn new(positions: usize) -> Self {
        let (packed, occupied) = (vec![[0; PANEL]; positions], vec![false; positions]);
        Self { first: 0, packed, occupied, done: vec![0; positions] }
    }

    fn restart(&mut self) {
        self.done.fill(0);
    }

    /// Panels are packed in their order, from the first one.
    #[expect(clippy::cast_possible_truncation, reason = "at most 2^20 tokens")]
    fn pack(&mut self, kept: &Kept, index: usize) {
        self.first = (index * PANEL) as u32;
        let end = self.first + PANEL as u32;
        let rows = self.packed.iter_mut().zip(&mut self.occupied).zip(&mut self.done);
        for (position, ((packed, occupied), done)) in (0..).zip(rows) {
            if *occupied {
                *packed = [0; PANEL];
            }
            let entries = &kept.at(position)[*done..];
            let mut count = 0;
            while let Some(&(token, mass)) = entries.get(count).filter(|entry| entry.0 < end) {
                packed[(token - self.first) as usize] = mass;
                count += 1;
            }
            *done += count;
            *occupied = count > 0;
        }
    }

    fn add(&self, row: &mut Row, positions: &[u32]) {
        let mut sums = Sums::default();
        if add_occupied(&self.packed, &self.occupied, positions, &mut sums) {
            let mut amounts = [0; PANEL];
            amounts.copy_from_slice(sums.as_flattened());
            row.add_run(self.first, &amounts);
        }
    }
}
