//! Activation examples of every component: a uniform sample of its firings, and its strongest ones.

use std::sync::{Mutex, PoisonError};

use super::sampling::{component_key, firing_key, place_key};
use super::settings::Settings;
use super::tile::{Accumulator, Tile};
use super::windows::{Window, cut};
use crate::workers::for_each;

/// The order in which one kind of sample keeps firings, smallest first: its own 64 bits, then the key, then
/// the place.
type Order = (u64, u64, u64, u32);

/// One kept firing.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Its place in the order of its sample.
    pub order: Order,
    /// The tokens around it.
    pub window: Window,
}

/// The firings that come first in an order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    pub(super) examples: Vec<Example>,
    /// The last order kept, once the sample is full.
    pub(super) last: Option<Order>,
}

/// Which of the two samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Smallest keys.
    Uniform,
    /// Largest causal importance, then magnitude of the component activation, then smallest key.
    Strongest,
}

/// Samples by live number.
pub struct Examples {
    capacities: [usize; 2],
    context: usize,
    seed: u64,
    pub(super) samples: Vec<[Sample; 2]>,
}

/// Examples of the wanted components: by component, uniform ones first, each kind in its order.
#[derive(Default)]
pub struct ExamplesTable {
    /// Component of each example.
    pub components: Vec<u32>,
    /// Whether it is one of the strongest (else of the uniform sample).
    pub strongest: Vec<bool>,
    /// Number of its sequence.
    pub sequences: Vec<u64>,
    /// Token of the sequence where it fires.
    pub positions: Vec<u32>,
    /// Index of the firing in its window.
    pub marks: Vec<u32>,
    /// Where its window starts in the following arrays; one more than there are.
    pub starts: Vec<usize>,
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Causal importance of the component at each.
    pub importances: Vec<f32>,
    /// Component activation at each.
    pub activations: Vec<f32>,
}

/// A firing of the tile that enters a sample.
struct Pick {
    position: u32,
    number: u32,
    kind: Kind,
    order: Order,
}

impl Sample {
    fn admits(&self, capacity: usize, order: &Order) -> bool {
        capacity > 0 && self.last.as_ref().is_none_or(|last| order < last)
    }

    /// Make room: with `orders` of newcomers, forget what does not stay. Returns the last order that stays.
    fn make_room(&mut self, capacity: usize, orders: impl Iterator<Item = Order>) -> Option<Order> {
        let mut all: Vec<Order> = self.examples.iter().map(|example| example.order).chain(orders).collect();
        if all.len() < capacity || capacity == 0 {
            return None;
        }
        let last = *all.select_nth_unstable(capacity - 1).1;
        self.examples.retain(|example| example.order <= last);
        self.last = Some(last);
        Some(last)
    }

    fn merge(&mut self, capacity: usize, other: Self) {
        self.examples.extend(other.examples);
        self.last = None;
        self.make_room(capacity, std::iter::empty());
        self.examples.truncate(capacity);
    }
}

impl Examples {
    /// No firing seen.
    pub fn new(settings: &Settings) -> Self {
        Self {
            capacities: [settings.uniform, settings.strongest],
            context: settings.context,
            seed: settings.seed,
            samples: Vec::new(),
        }
    }

    /// Decide which firings of the tile enter, and forget the examples that they replace.
    fn pick(&mut self, tile: &Tile<'_>) -> Vec<Pick> {
        const CHUNK: usize = 16;
        let (capacities, seed) = (self.capacities, self.seed);
        let length = tile.batch.length.max(1);
        let places: Vec<(u64, u64, u32)> = tile
            .rows
            .clone()
            .map(|row| {
                let (sequence, position) = (tile.batch.sequences[row / length], row % length);
                #[expect(clippy::cast_possible_truncation, reason = "sequences are shorter than 2^32")]
                let short = position as u32;
                (place_key(sequence, position as u64), sequence, short)
            })
            .collect();
        let picked = Mutex::new(Vec::new());
        let items = self.samples.chunks_mut(CHUNK).enumerate();
        for_each(tile.threads, items, Vec::new, |mine: &mut Vec<Pick>, (chunk, samples)| {
            for (index, samples) in samples.iter_mut().enumerate() {
                let number = chunk * CHUNK + index;
                let range = tile.firings.of(number);
                let key = component_key(seed, tile.components[number]);
                for (sample, (kind, capacity)) in
                    samples.iter_mut().zip([Kind::Uniform, Kind::Strongest].into_iter().zip(capacities))
                {
                    let known = mine.len();
                    for at in range.clone() {
                        let position = tile.firings.positions[at];
                        let (place, sequence, token) = places[position as usize];
                        let own = firing_key(place, key);
                        let first = match kind {
                            Kind::Uniform => own,
                            Kind::Strongest => {
                                weakness(tile.firings.importances[at], tile.firings.activations[at])
                            }
                        };
                        let order = (first, own, sequence, token);
                        if sample.admits(capacity, &order) {
                            #[expect(
                                clippy::cast_possible_truncation,
                                reason = "fewer than 2^20 components"
                            )]
                            mine.push(Pick { position, number: number as u32, kind, order });
                        }
                    }
                    if mine.len() > known {
                        let orders = mine[known..].iter().map(|pick| pick.order);
                        if let Some(last) = sample.make_room(capacity, orders) {
                            let mut index = known;
                            while index < mine.len() {
                                if mine[index].order <= last {
                                    index += 1;
                                } else {
                                    mine.swap_remove(index);
                                }
                            }
                        }
                    }
                }
            }
            picked.lock().unwrap_or_else(PoisonError::into_inner).append(mine);
        });
        picked.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Small for strong firings: importance first, then magnitude of the activation.
#[inline]
fn weakness(importance: f32, activation: f32) -> u64 {
    // Bits of floats that are not negative are in the order of their values.
    !(u64::from(importance.to_bits()) << 32 | u64::from(activation.abs().to_bits()))
}

impl Accumulator for Examples {
    type Table = ExamplesTable;

    fn add_batch(&mut self, tile: &Tile<'_>) {
        const CHUNK: usize = 4096;
        self.samples.resize_with(tile.live, Default::default);
        let mut picks = self.pick(tile);
        // In the order of positions neighbouring windows read the same rows while these are in the cache.
        picks.sort_unstable_by_key(|pick| pick.position);
        let mut windows = vec![Window::default(); picks.len()];
        let context = self.context;
        let items = picks.chunks(CHUNK).zip(windows.chunks_mut(CHUNK));
        for_each(
            tile.threads,
            items,
            || (),
            |(), (picks, windows)| {
                let place = |pick: &Pick| {
                    (tile.rows.start + pick.position as usize, tile.components[pick.number as usize])
                };
                let places: Vec<_> = picks.iter().map(place).collect();
                let cuts = cut(tile.batch, &places, context);
                windows.iter_mut().zip(cuts).for_each(|(window, cut)| *window = cut);
            },
        );
        for (pick, window) in picks.into_iter().zip(windows) {
            let sample = &mut self.samples[pick.number as usize][pick.kind as usize];
            sample.examples.push(Example { order: pick.order, window });
        }
    }

    fn merge(&mut self, other: Self, numbers: &[u32], live: usize) {
        self.samples.resize_with(live, Default::default);
        for (number, theirs) in numbers.iter().zip(other.samples) {
            let ours = &mut self.samples[*number as usize];
            for ((ours, theirs), capacity) in ours.iter_mut().zip(theirs).zip(self.capacities) {
                ours.merge(capacity, theirs);
            }
        }
    }

    fn finish(&mut self, wanted: &[u32], components: &[u32]) -> ExamplesTable {
        let mut table = ExamplesTable { starts: vec![0], ..ExamplesTable::default() };
        for &number in wanted {
            for (sample, strongest) in self.samples[number as usize].iter_mut().zip([false, true]) {
                sample.examples.sort_unstable_by_key(|example| example.order);
                for Example { order, window } in &sample.examples {
                    table.components.push(components[number as usize]);
                    table.strongest.push(strongest);
                    table.sequences.push(order.2);
                    table.positions.push(order.3);
                    table.marks.push(window.mark);
                    let (tokens, importances, activations) = window.parts();
                    table.tokens.extend(tokens);
                    table.importances.extend(importances.iter().map(|&bits| f32::from_bits(bits)));
                    table.activations.extend(activations.iter().map(|&bits| f32::from_bits(bits)));
                    table.starts.push(table.tokens.len());
                }
            }
        }
        table
    }

    fn memory_bytes(&self) -> usize {
        let samples = self.samples.iter().flatten();
        let each = |sample: &Sample| {
            let windows: usize = sample.examples.iter().map(|example| example.window.memory_bytes()).sum();
            windows + sample.examples.capacity() * size_of::<Example>()
        };
        samples.map(each).sum::<usize>() + self.samples.capacity() * size_of::<[Sample; 2]>()
    }
}
