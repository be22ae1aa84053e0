//! Random streams for tests, and every table of a harvest written out.

use super::batch::{Batch, LayerValues};
use super::draws::Draws;
use super::engine::Harvest;
use super::settings::{Layer, Output, Settings};
use super::tile::Accumulator;
use super::values::Values;

/// A stream held in memory: sequences of one length.
pub struct Stream {
    pub settings: Settings,
    pub length: usize,
    pub tokens: Vec<u32>,
    pub importances: Vec<Vec<f32>>,
    pub activations: Vec<Vec<f32>>,
    pub probabilities: Vec<f32>,
    /// Flags of several inputs at a position; empty where the tokens are the inputs.
    pub features: Vec<u8>,
}

/// Small samples, a threshold above zero.
pub fn settings(widths: &[usize], vocabulary: usize, output: Output) -> Settings {
    let layers = widths.iter().enumerate();
    Settings {
        layers: layers.map(|(index, &width)| Layer { name: format!("h.{index}"), width }).collect(),
        vocabulary,
        threshold: 0.1,
        context: 2,
        uniform: 4,
        strongest: 3,
        output,
        seed: 9,
    }
}

impl Stream {
    pub fn new(seed: u64, settings: Settings, sequences: usize, length: usize) -> Self {
        let mut draws = Draws::new(seed);
        let positions = sequences * length;
        let vocabulary = u32::try_from(settings.vocabulary).unwrap_or(1);
        let mut importances = Vec::new();
        let mut activations = Vec::new();
        for layer in &settings.layers {
            let rates: Vec<f32> = (0..layer.width).map(|_| draws.unit().powi(4)).collect();
            let value = |index: usize, draws: &mut Draws| {
                // The first component always fires, the last never.
                match index % layer.width {
                    0 => 1.0,
                    column if column + 1 == layer.width => 0.05,
                    column if draws.unit() < rates[column] => (draws.unit() * 4.0).round() / 4.0,
                    _ => 0.0,
                }
            };
            importances.push((0..positions * layer.width).map(|index| value(index, &mut draws)).collect());
            activations.push((0..positions * layer.width).map(|_| draws.unit() * 6.0 - 3.0).collect());
        }
        let tokens = (0..positions).map(|_| draws.below(vocabulary)).collect();
        let mut probabilities = Vec::new();
        for _ in 0..positions {
            let row: Vec<f32> = (0..vocabulary).map(|_| (draws.unit() * 9.0).exp()).collect();
            let sum: f32 = row.iter().sum();
            probabilities.extend(row.iter().map(|p| p / sum));
        }
        Self { settings, length, tokens, importances, activations, probabilities, features: Vec::new() }
    }

    /// The same stream, with any number of inputs at a position.
    pub fn with_features(mut self, seed: u64) -> Self {
        let mut draws = Draws::new(seed);
        let rates: Vec<f32> = (0..self.settings.vocabulary).map(|_| draws.unit().powi(2)).collect();
        let positions = self.tokens.len();
        self.features = (0..positions)
            .flat_map(|_| rates.iter().map(|&rate| u8::from(draws.unit() < rate)).collect::<Vec<_>>())
            .collect();
        self
    }

    pub fn sequences(&self) -> usize {
        self.tokens.len() / self.length
    }

    pub fn add(&self, harvest: &mut Harvest, sequences: std::ops::Range<usize>, threads: usize) {
        let rows = sequences.start * self.length..sequences.end * self.length;
        let numbers: Vec<u64> = sequences.map(|number| number as u64).collect();
        let layers = self.settings.layers.iter().zip(self.importances.iter().zip(&self.activations));
        let batch = Batch {
            sequences: &numbers,
            length: self.length,
            tokens: &self.tokens[rows.clone()],
            layers: layers
                .map(|(layer, (importances, activations))| {
                    let part = rows.start * layer.width..rows.end * layer.width;
                    LayerValues {
                        importances: Values::F32(&importances[part.clone()]),
                        activations: Values::F32(&activations[part]),
                    }
                })
                .collect(),
            probabilities: (self.settings.output != Output::Off).then(|| {
                let vocabulary = self.settings.vocabulary;
                Values::F32(&self.probabilities[rows.start * vocabulary..rows.end * vocabulary])
            }),
            features: (!self.features.is_empty()).then(|| {
                let vocabulary = self.settings.vocabulary;
                &self.features[rows.start * vocabulary..rows.end * vocabulary]
            }),
        };
        harvest.add_batch(&batch, threads).unwrap_or_else(|fault| panic!("{fault}"));
    }

    pub fn harvest(&self, batch: usize, threads: usize) -> Harvest {
        let mut harvest = Harvest::new(self.settings.clone()).unwrap_or_else(|fault| panic!("{fault}"));
        for start in (0..self.sequences()).step_by(batch) {
            self.add(&mut harvest, start..(start + batch).min(self.sequences()), threads);
        }
        harvest
    }
}

/// Every table, written out, by name.
pub fn tables(harvest: &mut Harvest) -> Vec<(&'static str, String)> {
    harvest.settle(1);
    let (components, handles) = harvest.fired();
    let (totals, cofiring) = (harvest.totals(), harvest.cofiring(&handles));
    let (input, examples) = (harvest.input(&handles), harvest.examples(&handles));
    let mut found = vec![
        ("fired", format!("{components:?} {}", harvest.positions())),
        ("firings", format!("{:?} {:?}", totals.firings, totals.histogram)),
        ("sums", format!("{:?} {:?}", totals.importance, totals.activation)),
        ("firing sums", format!("{:?} {:?}", totals.firing_importance, totals.firing_activation)),
        ("cofiring", format!("{:?} {:?} {:?}", cofiring.starts, cofiring.others, cofiring.counts)),
        ("input", format!("{:?} {:?} {:?}", input.starts, input.tokens, input.counts)),
        ("occurrences", format!("{:?}", harvest.occurrences())),
        ("examples", format!("{:?} {:?}", examples.components, examples.strongest)),
        ("places", format!("{:?} {:?} {:?}", examples.sequences, examples.positions, examples.marks)),
        ("windows", format!("{:?} {:?}", examples.starts, examples.tokens)),
        ("window values", format!("{:?} {:?}", examples.importances, examples.activations)),
    ];
    if let Some(output) = harvest.output() {
        let table = output.finish(&handles, &[]);
        found.push(("output", format!("{:?} {:?} {:?}", table.starts, table.tokens, table.masses)));
        found.push(("dropped", format!("{:?} {:?}", table.dropped, output.total_and_dropped())));
        found.push(("token masses", format!("{:?}", output.token_masses())));
    }
    found
}

/// Both sides are equal, or the first part that differs is named.
pub fn assert_same(left: &[(&'static str, String)], right: &[(&'static str, String)], what: &str) {
    for ((name, left), (_, right)) in left.iter().zip(right) {
        let at = left.bytes().zip(right.bytes()).position(|(left, right)| left != right);
        assert!(left == right, "{what}: {name} differs at character {at:?}");
    }
}
