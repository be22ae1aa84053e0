//! Per component: how often it fires, sums of its importance and activation, a histogram of its importance.

use super::fixed_point::{ACTIVATION_DIGITS, IMPORTANCE_DIGITS, to_f64, units};
use super::tile::{Accumulator, Tile};
use crate::workers::for_each;

/// Bins of the histogram of importances at firings: bin 31 is exactly one, bin 30 is [3/4, 1), bin 29 is
/// [1/2, 3/4) and so on, two to an octave; bin 0 is everything below 2^-15.
pub const BINS: usize = 32;

/// The bin of an importance in [0, 1].
#[inline]
pub fn bin(importance: f32) -> usize {
    // Exponent and first mantissa bit: 2 x 127 + 0 for one.
    let octaves = (importance.to_bits() >> 22) as usize;
    (octaves + BINS - 1).saturating_sub(2 * 127).min(BINS - 1)
}

/// What is known of one component that fired; sums in units.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Positions where it fires.
    pub firings: u64,
    /// Importance over its firings.
    pub importance: i128,
    /// Activation over its firings.
    pub activation: i128,
    /// Firings by importance.
    pub histogram: [u64; BINS],
}

/// Sums over every position by component, and counts over firings by live number.
#[derive(Default)]
pub struct Totals {
    pub(super) importance: Vec<i128>,
    pub(super) activation: Vec<i128>,
    pub(super) live: Vec<Counts>,
}

/// Numbers of all components; sums are rounded to doubles.
pub struct TotalsTable {
    /// Positions where each fires.
    pub firings: Vec<u64>,
    /// Importance summed over all positions.
    pub importance: Vec<f64>,
    /// Activation summed over all positions.
    pub activation: Vec<f64>,
    /// Importance summed over firings.
    pub firing_importance: Vec<f64>,
    /// Activation summed over firings.
    pub firing_activation: Vec<f64>,
    /// Firings by importance, components x `BINS`.
    pub histogram: Vec<u64>,
}

impl Totals {
    /// Nothing counted.
    pub fn new(components: usize) -> Self {
        Self { importance: vec![0; components], activation: vec![0; components], live: Vec::new() }
    }
}

impl Accumulator for Totals {
    type Table = TotalsTable;

    fn add_batch(&mut self, tile: &Tile<'_>) {
        const CHUNK: usize = 64;
        add(&mut self.importance, &tile.scan.importance_sums);
        add(&mut self.activation, &tile.scan.activation_sums);
        self.live.resize_with(tile.live, Counts::default);
        let firings = tile.firings;
        let items = self.live.chunks_mut(CHUNK).enumerate();
        for_each(
            tile.threads,
            items,
            || (),
            |(), (chunk, live)| {
                for (index, counts) in live.iter_mut().enumerate() {
                    let range = firings.of(chunk * CHUNK + index);
                    let (mut importance, mut activation) = (0, 0);
                    counts.firings += range.len() as u64;
                    for at in range {
                        importance += units::<IMPORTANCE_DIGITS>(firings.importances[at]);
                        activation += units::<ACTIVATION_DIGITS>(firings.activations[at]);
                        counts.histogram[bin(firings.importances[at])] += 1;
                    }
                    counts.importance += i128::from(importance);
                    counts.activation += i128::from(activation);
                }
            },
        );
    }

    fn merge(&mut self, other: Self, numbers: &[u32], live: usize) {
        let pairs = [(&mut self.importance, &other.importance), (&mut self.activation, &other.activation)];
        for (ours, theirs) in pairs {
            for (ours, theirs) in ours.iter_mut().zip(theirs) {
                *ours += theirs;
            }
        }
        self.live.resize_with(live, Counts::default);
        for (number, theirs) in numbers.iter().zip(&other.live) {
            let ours = &mut self.live[*number as usize];
            ours.firings += theirs.firings;
            ours.importance += theirs.importance;
            ours.activation += theirs.activation;
            for (ours, theirs) in ours.histogram.iter_mut().zip(theirs.histogram) {
                *ours += theirs;
            }
        }
    }

    fn finish(&mut self, wanted: &[u32], components: &[u32]) -> TotalsTable {
        let count = self.importance.len();
        let mut table = TotalsTable {
            firings: vec![0; count],
            importance: self.importance.iter().map(|&sum| to_f64(sum, IMPORTANCE_DIGITS)).collect(),
            activation: self.activation.iter().map(|&sum| to_f64(sum, ACTIVATION_DIGITS)).collect(),
            firing_importance: vec![0.0; count],
            firing_activation: vec![0.0; count],
            histogram: vec![0; count * BINS],
        };
        for &number in wanted {
            let (component, counts) = (components[number as usize] as usize, &self.live[number as usize]);
            table.firings[component] = counts.firings;
            table.firing_importance[component] = to_f64(counts.importance, IMPORTANCE_DIGITS);
            table.firing_activation[component] = to_f64(counts.activation, ACTIVATION_DIGITS);
            table.histogram[component * BINS..(component + 1) * BINS].copy_from_slice(&counts.histogram);
        }
        table
    }

    fn memory_bytes(&self) -> usize {
        size_of::<i128>() * (self.importance.capacity() + self.activation.capacity())
            + size_of::<Counts>() * self.live.capacity()
    }
}

fn add(totals: &mut [i128], sums: &[i64]) {
    for (total, sum) in totals.iter_mut().zip(sums) {
        *total += i128::from(*sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_two_to_an_octave() {
        for (importance, expected) in
            [(1.0, 31), (1.0_f32.next_down(), 30), (0.75, 30), (0.74, 29), (0.5, 29), (0.49, 28), (0.375, 28)]
        {
            assert_eq!(bin(importance), expected, "{importance}");
        }
        assert_eq!(bin(2.0_f32.powi(-15)), 1);
        assert_eq!(bin(2.0_f32.powi(-15).next_down()), 0);
        assert_eq!(bin(1e-30), 0);
        assert_eq!(bin(0.0), 0);
    }
}
