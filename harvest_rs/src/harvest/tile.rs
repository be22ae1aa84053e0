//! The firings of at most `TILE` positions in both orders, and the numbering of components that ever fired.

use std::ops::Range;

use super::batch::Batch;
use super::output_mass::Kept;
use super::scan::Scan;

/// Components that fired so far, numbered in the order in which they first did ("live numbers").
///
/// Tables are kept by live number, so a component that never fires costs nothing. The order depends on how
/// the stream was cut; whatever leaves the engine is in the order of the components themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    numbers: Vec<u32>,
    components: Vec<u32>,
}

/// The live number of a component that never fired.
const NEVER: u32 = u32::MAX;

impl Live {
    /// No component of `components` has fired.
    pub fn new(components: usize) -> Self {
        Self { numbers: vec![NEVER; components], components: Vec::new() }
    }

    /// How many fired.
    pub fn len(&self) -> usize {
        self.components.len()
    }

    /// Whether none fired.
    pub fn is_empty(&self) -> bool {
        self.components.is_empty()
    }

    /// The live number of a component, given to it now if it has none.
    #[expect(clippy::cast_possible_truncation, reason = "fewer than 2^20 components")]
    pub fn number(&mut self, component: u32) -> u32 {
        let number = &mut self.numbers[component as usize];
        if *number == NEVER {
            *number = self.components.len() as u32;
            self.components.push(component);
        }
        *number
    }

    /// The component with each live number.
    pub fn components(&self) -> &[u32] {
        &self.components
    }

    /// Live numbers in the order of their components.
    #[expect(clippy::cast_possible_truncation, reason = "fewer than 2^20 components")]
    pub fn ordered(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.components.len() as u32).collect();
        order.sort_unstable_by_key(|&number| self.components[number as usize]);
        order
    }

    /// Bytes in memory.
    pub fn memory_bytes(&self) -> usize {
        4 * (self.numbers.capacity() + self.components.capacity())
    }
}

/// Firings by live number, positions ascending; and the live numbers at every position, ascending.
pub struct Firings {
    starts: Vec<u32>,
    /// Position in the tile of every firing.
    pub positions: Vec<u32>,
    /// Its causal importance.
    pub importances: Vec<f32>,
    /// Its component activation.
    pub activations: Vec<f32>,
    /// How many components with a smaller live number fire at the same position.
    pub ranks: Vec<u32>,
    row_starts: Vec<u32>,
    members: Vec<u32>,
}

impl Firings {
    /// Both orders of what a scan of `rows` positions found.
    ///
    /// # Panics
    /// There are 2^32 of them: each of 2^20 components fires at each of 2^12 positions.
    #[expect(clippy::cast_possible_truncation, reason = "checked: firings of a tile fit in 32 bits")]
    pub fn new(scan: &Scan, rows: usize, live: &mut Live) -> Self {
        let found: usize = scan.firings.iter().map(Vec::len).sum();
        assert!(u32::try_from(found).is_ok(), "{found} firings in {rows} positions are too many");
        number_newcomers(scan, live);
        let count = live.len();
        let mut starts = vec![0_u32; count + 1];
        let mut row_starts = vec![0_u32; rows + 1];
        for firing in scan.firings.iter().flatten() {
            starts[live.numbers[firing.component as usize] as usize + 1] += 1;
            row_starts[firing.position as usize + 1] += 1;
        }
        accumulate(&mut starts);
        accumulate(&mut row_starts);
        let total = starts[count] as usize;
        let (mut positions, mut ranks) = (vec![0; total], vec![0; total]);
        let (mut importances, mut activations) = (vec![0.0; total], vec![0.0; total]);
        let mut next = starts.clone();
        for firing in scan.firings.iter().flatten() {
            let slot = &mut next[live.numbers[firing.component as usize] as usize];
            let at = *slot as usize;
            *slot += 1;
            positions[at] = firing.position;
            importances[at] = firing.importance;
            activations[at] = firing.activation;
        }
        let mut members = vec![0; total];
        let mut next = row_starts.clone();
        for number in 0..count {
            for at in starts[number] as usize..starts[number + 1] as usize {
                let row = positions[at] as usize;
                members[next[row] as usize] = number as u32;
                ranks[at] = next[row] - row_starts[row];
                next[row] += 1;
            }
        }
        Self { starts, positions, importances, activations, ranks, row_starts, members }
    }

    /// The firings of a live number, as indices into the arrays.
    pub fn of(&self, number: usize) -> Range<usize> {
        self.starts[number] as usize..self.starts[number + 1] as usize
    }

    /// Live numbers firing at a position of the tile, ascending.
    pub fn at(&self, position: u32) -> &[u32] {
        let position = position as usize;
        &self.members[self.row_starts[position] as usize..self.row_starts[position + 1] as usize]
    }
}

fn number_newcomers(scan: &Scan, live: &mut Live) {
    let mut newcomers: Vec<u32> = scan
        .firings
        .iter()
        .flatten()
        .map(|firing| firing.component)
        .filter(|&component| live.numbers[component as usize] == NEVER)
        .collect();
    newcomers.sort_unstable();
    newcomers.dedup();
    for component in newcomers {
        live.number(component);
    }
}

fn accumulate(counts: &mut [u32]) {
    let mut sum = 0;
    for count in counts {
        sum += *count;
        *count = sum;
    }
}

/// What the accumulators see: some positions of a batch and what was found there.
pub struct Tile<'a> {
    /// The whole batch; windows may reach beyond the tile.
    pub batch: &'a Batch<'a>,
    /// The tile's positions in the batch.
    pub rows: Range<usize>,
    /// Number of components that have fired up to and including this tile.
    pub live: usize,
    /// The component of each live number.
    pub components: &'a [u32],
    /// Sums over every position, by component.
    pub scan: &'a Scan,
    /// The firings.
    pub firings: &'a Firings,
    /// The tokens kept of each position's output, when a nucleus is kept.
    pub kept: Option<&'a Kept>,
    /// Threads to use.
    pub threads: usize,
}

impl Tile<'_> {
    /// Token ids at the tile's positions.
    pub fn tokens(&self) -> &[u32] {
        &self.batch.tokens[self.rows.clone()]
    }

    /// What is counted as input at the tile's positions.
    pub fn inputs(&self, vocabulary: usize) -> Inputs<'_> {
        let Some(flags) = self.batch.features else { return Inputs::Tokens(self.tokens()) };
        let (mut starts, mut features) = (vec![0], Vec::new());
        for row in flags[self.rows.start * vocabulary..self.rows.end * vocabulary].chunks_exact(vocabulary) {
            features.extend((0..).zip(row).filter(|(_, flag)| **flag != 0).map(|(feature, _)| feature));
            starts.push(features.len());
        }
        Inputs::Features { starts, features }
    }
}

/// The inputs at every position of a tile.
pub enum Inputs<'a> {
    /// One token.
    Tokens(&'a [u32]),
    /// Any number of features: those of a position lie between two of `starts`, ascending.
    Features {
        /// Where the features of each position start; one more than there are positions.
        starts: Vec<usize>,
        /// The features.
        features: Vec<u32>,
    },
}

impl Inputs<'_> {
    /// All inputs of all positions.
    pub fn all(&self) -> &[u32] {
        match self {
            Inputs::Tokens(tokens) => tokens,
            Inputs::Features { features, .. } => features,
        }
    }

    /// The inputs of a position; no two are equal.
    #[inline(always)]
    pub fn at(&self, position: u32) -> &[u32] {
        let position = position as usize;
        match self {
            Inputs::Tokens(tokens) => &tokens[position..=position],
            Inputs::Features { starts, features } => &features[starts[position]..starts[position + 1]],
        }
    }
}

/// One statistic of a stream. Adding batches and merging commute and associate exactly.
pub trait Accumulator: Sized {
    /// What it has for some components.
    type Table;

    /// Count the firings of a tile.
    fn add_batch(&mut self, tile: &Tile<'_>);

    /// Count what `other` counted; `numbers[i]` is our live number of its live number i, `live` how many
    /// there are.
    fn merge(&mut self, other: Self, numbers: &[u32], live: usize);

    /// The table of the components with the live numbers `wanted`, in that order.
    fn finish(&mut self, wanted: &[u32], components: &[u32]) -> Self::Table;

    /// Bytes in memory.
    fn memory_bytes(&self) -> usize;
}
