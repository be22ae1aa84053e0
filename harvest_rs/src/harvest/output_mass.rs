//! Output probability that each component sees: per token, summed over the positions where it fires.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::cofiring::{EAGER, settle};
use super::exact_mass::ExactMass;
use super::fixed_point::{PROBABILITY_DIGITS, to_f64};
use super::input_tokens::merge_rows;
use super::kept_mass::add_kept;
use super::nucleus::{Selection, quantise};
use super::row::Row;
use super::settings::{Output, Settings};
use super::tile::{Accumulator, Tile};
use super::values::Values;
use crate::workers::for_each;

/// Positions that one work item reads.
const STRIP: usize = 64;

/// What was read of the output at the positions of a tile.
#[derive(Default)]
pub struct Kept {
    strips: Vec<Strip>,
    /// Mass of each token, in units.
    marginals: Vec<u64>,
}

/// Some positions of a tile.
#[derive(Clone, Default)]
struct Strip {
    /// (token, mass) position by position, tokens ascending.
    entries: Vec<(u32, u32)>,
    /// Where the entries of each position end.
    ends: Vec<usize>,
    /// Mass of each position, and how much of it is not in `entries`.
    masses: Vec<(u64, u64)>,
}

impl Kept {
    /// Read the rows of a tile; `None` when a value is no probability.
    pub fn read(values: Values<'_>, rows: Range<usize>, settings: &Settings, threads: usize) -> Option<Self> {
        let vocabulary = settings.vocabulary;
        let mut strips = vec![Strip::default(); rows.len().div_ceil(STRIP)];
        let totals = Mutex::new(vec![0_u64; vocabulary]);
        let valid = AtomicBool::new(true);
        let scratch = || (Selection::default(), vec![0_u64; vocabulary], vec![0_u32; vocabulary]);
        let items = strips.iter_mut().enumerate();
        for_each(threads, items, scratch, |(selection, marginals, units), (index, strip)| {
            let first = rows.start + index * STRIP;
            for row in first..(first + STRIP).min(rows.end) {
                let row = slice(values, row * vocabulary..(row + 1) * vocabulary);
                let masses = match settings.output {
                    Output::Nucleus(share) => selection.select(row, share, marginals, &mut strip.entries),
                    Output::Exact | Output::Off => {
                        quantise(row, units, marginals).map(|total| (total, total))
                    }
                };
                let Some((total, kept)) = masses else {
                    valid.store(false, Ordering::Relaxed);
                    return;
                };
                strip.ends.push(strip.entries.len());
                strip.masses.push((total, total - kept));
            }
            let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
            for (total, sum) in totals.iter_mut().zip(marginals) {
                *total += std::mem::take(sum);
            }
        });
        let marginals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
        valid.into_inner().then_some(Self { strips, marginals })
    }

    /// (token, mass) kept at a position of the tile, tokens ascending.
    #[inline]
    pub(super) fn at(&self, position: u32) -> &[(u32, u32)] {
        let (strip, index) = (&self.strips[position as usize / STRIP], position as usize % STRIP);
        let start = if index == 0 { 0 } else { strip.ends[index - 1] };
        &strip.entries[start..strip.ends[index]]
    }

    fn masses(&self, position: u32) -> (u64, u64) {
        self.strips[position as usize / STRIP].masses[position as usize % STRIP]
    }

    /// How many (position, token) are kept.
    pub fn entries(&self) -> usize {
        self.strips.iter().map(|strip| strip.entries.len()).sum()
    }
}

fn slice(values: Values<'_>, range: Range<usize>) -> Values<'_> {
    match values {
        Values::F32(values) => Values::F32(&values[range]),
        Values::F16(values) => Values::F16(&values[range]),
        Values::Bf16(values) => Values::Bf16(&values[range]),
    }
}

/// Where the mass of (component, token) is kept.
pub(super) enum Masses {
    /// Nuclei only.
    Rows(Vec<Row>),
    /// Everything.
    Exact(ExactMass),
}

/// Output mass of (component, token) by live number, and of tokens; in units.
pub struct OutputMass {
    pub(super) masses: Masses,
    /// Mass of each token at all positions, kept or not.
    pub(super) marginals: Vec<u128>,
    /// The part of it that was kept.
    pub(super) kept_marginals: Vec<u128>,
    /// Mass of the positions where each component fires, and the part that was dropped.
    pub(super) totals: Vec<(u128, u128)>,
    /// Mass dropped at all positions.
    pub(super) dropped: u128,
}

/// Output mass of the wanted components in probability, tokens ascending.
pub struct OutputTable {
    /// Where the entries of each wanted component start; one more than there are.
    pub starts: Vec<usize>,
    /// The token.
    pub tokens: Vec<u32>,
    /// Its probability summed over firings.
    pub masses: Vec<f64>,
    /// For each wanted component: mass at its firings that is not in `masses`.
    pub dropped: Vec<f64>,
}

/// A mass in units as a probability, or a sum of them.
#[expect(clippy::cast_possible_wrap, reason = "far below 2^127")]
pub fn probability(units: u128) -> f64 {
    to_f64(units as i128, PROBABILITY_DIGITS)
}

impl OutputMass {
    /// Nothing counted; `None` when no output is.
    pub fn new(settings: &Settings) -> Option<Self> {
        let vocabulary = settings.vocabulary;
        let masses = match settings.output {
            Output::Off => return None,
            Output::Nucleus(_) => Masses::Rows(Vec::new()),
            Output::Exact => Masses::Exact(ExactMass::new(vocabulary)),
        };
        let (marginals, kept_marginals) = (vec![0; vocabulary], vec![0; vocabulary]);
        Some(Self { masses, marginals, kept_marginals, totals: Vec::new(), dropped: 0 })
    }

    fn grow(&mut self, live: usize) {
        let width = self.marginals.len();
        self.totals.resize(live, (0, 0));
        if let Masses::Rows(rows) = &mut self.masses {
            rows.resize_with(live, || if width <= EAGER { Row::eager(width) } else { Row::new(width) });
        }
    }

    /// Work every waiting addition in; needed before `finish` and before saving.
    pub fn settle(&mut self, threads: usize) {
        if let Masses::Rows(rows) = &mut self.masses {
            settle(rows, threads);
        }
    }

    /// Mass of each token at all positions, and the part that was kept.
    pub fn token_masses(&self) -> (Vec<f64>, Vec<f64>) {
        let kept = match self.masses {
            Masses::Rows(_) => &self.kept_marginals,
            Masses::Exact(_) => &self.marginals,
        };
        (
            self.marginals.iter().map(|&m| probability(m)).collect(),
            kept.iter().map(|&m| probability(m)).collect(),
        )
    }

    /// Mass of all positions together, and how much of it was dropped.
    pub fn total_and_dropped(&self) -> (f64, f64) {
        (probability(self.marginals.iter().sum()), probability(self.dropped))
    }
}

impl Accumulator for OutputMass {
    type Table = OutputTable;

    fn add_batch(&mut self, tile: &Tile<'_>) {
        self.grow(tile.live);
        let Some(kept) = tile.kept else { return };
        for (total, sum) in self.marginals.iter_mut().zip(&kept.marginals) {
            *total += u128::from(*sum);
        }
        for strip in &kept.strips {
            for &(token, mass) in &strip.entries {
                self.kept_marginals[token as usize] += u128::from(mass);
            }
            self.dropped += strip.masses.iter().map(|masses| u128::from(masses.1)).sum::<u128>();
        }
        let firings = tile.firings;
        for (number, totals) in self.totals.iter_mut().enumerate() {
            for &position in &firings.positions[firings.of(number)] {
                let (total, dropped) = kept.masses(position);
                totals.0 += u128::from(total);
                totals.1 += u128::from(dropped);
            }
        }
        match &mut self.masses {
            Masses::Exact(exact) => exact.add_tile(tile),
            Masses::Rows(rows) => add_kept(rows, tile, kept, self.marginals.len()),
        }
    }

    fn merge(&mut self, other: Self, numbers: &[u32], live: usize) {
        self.grow(live);
        for (ours, theirs) in self.marginals.iter_mut().zip(other.marginals) {
            *ours += theirs;
        }
        for (ours, theirs) in self.kept_marginals.iter_mut().zip(other.kept_marginals) {
            *ours += theirs;
        }
        for (number, theirs) in numbers.iter().zip(other.totals) {
            let ours = &mut self.totals[*number as usize];
            *ours = (ours.0 + theirs.0, ours.1 + theirs.1);
        }
        self.dropped += other.dropped;
        match (&mut self.masses, other.masses) {
            (Masses::Rows(ours), Masses::Rows(theirs)) => merge_rows(ours, theirs, numbers),
            (Masses::Exact(ours), Masses::Exact(theirs)) => ours.merge(&theirs, numbers, live),
            // Settings are compared before anything is merged.
            _ => unreachable!("harvests with different settings are not merged"),
        }
    }

    fn finish(&mut self, wanted: &[u32], _components: &[u32]) -> OutputTable {
        let mut table =
            OutputTable { starts: vec![0], tokens: Vec::new(), masses: Vec::new(), dropped: Vec::new() };
        for &number in wanted {
            let mut push = |token, mass: u128| {
                table.tokens.push(token);
                table.masses.push(probability(mass));
            };
            match &self.masses {
                Masses::Rows(rows) => rows[number as usize].for_each(push),
                Masses::Exact(exact) => exact.for_each(number, |token, mass| push(token, u128::from(mass))),
            }
            table.starts.push(table.tokens.len());
            table.dropped.push(probability(self.totals[number as usize].1));
        }
        table
    }

    fn memory_bytes(&self) -> usize {
        let fixed =
            16 * (self.marginals.capacity() + self.kept_marginals.capacity() + 2 * self.totals.capacity());
        fixed
            + match &self.masses {
                Masses::Rows(rows) => rows.iter().map(Row::memory_bytes).sum(),
                Masses::Exact(exact) => exact.memory_bytes(),
            }
    }
}
