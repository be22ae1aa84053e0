//! Output mass with no token left out: (firings) x (vocabulary) additions, panel by panel.

use super::panels::{LANES, PANEL, Sums, add_rows, pack};
use super::tile::Tile;
use crate::workers::for_each;

/// The largest number of positions for which no sum can overflow 64 bits: 2^32 of them at 2^31 units each,
/// and a little room for rounding above one.
pub const MOST_POSITIONS: u64 = (1 << 32) - (1 << 27);

/// For every panel the sums of every live number, in units.
pub struct ExactMass {
    vocabulary: usize,
    panels: Vec<Vec<Sums>>,
}

impl ExactMass {
    /// All zero.
    pub fn new(vocabulary: usize) -> Self {
        Self { vocabulary, panels: vec![Vec::new(); vocabulary.div_ceil(PANEL)] }
    }

    /// Add the probabilities at every firing of the tile.
    pub fn add_tile(&mut self, tile: &Tile<'_>) {
        let Some(values) = tile.batch.probabilities else { return };
        let (rows, vocabulary) = (tile.rows.clone(), self.vocabulary);
        for_each(
            tile.threads,
            self.panels.iter_mut().enumerate(),
            || vec![[0_u32; PANEL]; rows.len()],
            |packed, (index, panel)| {
                panel.resize(tile.live, Sums::default());
                let first = index * PANEL;
                let width = PANEL.min(vocabulary - first);
                if width < PANEL {
                    // What an earlier panel left beside the last tokens must not count.
                    packed.fill([0; PANEL]);
                }
                for (row, target) in rows.clone().zip(packed.iter_mut()) {
                    pack(values, row * vocabulary + first, &mut target[..width]);
                }
                for (number, sums) in panel.iter_mut().enumerate() {
                    let range = tile.firings.of(number);
                    if !range.is_empty() {
                        add_rows(packed, &tile.firings.positions[range], sums);
                    }
                }
            },
        );
    }

    /// Add what `other` counted.
    pub fn merge(&mut self, other: &Self, numbers: &[u32], live: usize) {
        for (ours, theirs) in self.panels.iter_mut().zip(&other.panels) {
            ours.resize(live, Sums::default());
            for (number, theirs) in numbers.iter().zip(theirs) {
                for (ours, theirs) in
                    ours[*number as usize].as_flattened_mut().iter_mut().zip(theirs.as_flattened())
                {
                    *ours += theirs;
                }
            }
        }
    }

    /// Every sum above zero of one live number, tokens ascending.
    #[expect(clippy::cast_possible_truncation, reason = "at most 2^20 tokens")]
    pub fn for_each(&self, number: u32, mut each: impl FnMut(u32, u64)) {
        for (index, panel) in self.panels.iter().enumerate() {
            let Some(sums) = panel.get(number as usize) else { continue };
            for (lane, &sum) in sums.as_flattened().iter().enumerate() {
                if sum != 0 {
                    each((index * PANEL + lane) as u32, sum);
                }
            }
        }
    }

    /// Bytes in memory.
    pub fn memory_bytes(&self) -> usize {
        self.panels.iter().map(|panel| panel.capacity() * size_of::<Sums>()).sum()
    }

    /// The sums of each panel, live number by live number.
    pub fn panels(&self) -> impl Iterator<Item = Vec<u64>> + '_ {
        self.panels.iter().map(|panel| panel.as_flattened().as_flattened().to_vec())
    }

    /// The table with these panels; `None` when they do not fit the vocabulary.
    pub fn from_panels(vocabulary: usize, panels: &[Vec<u64>]) -> Option<Self> {
        let mut table = Self::new(vocabulary);
        if panels.len() != table.panels.len() {
            return None;
        }
        for (target, sums) in table.panels.iter_mut().zip(panels) {
            let (blocks, rest) = sums.as_chunks::<LANES>();
            let (blocks, more) = blocks.as_chunks::<{ PANEL / LANES }>();
            if !rest.is_empty() || !more.is_empty() {
                return None;
            }
            *target = blocks.to_vec();
        }
        Some(table)
    }
}
