//! Time of each phase of a harvest on a synthetic stream, against reading the same memory plainly.
//!
//!     cargo run --release --no-default-features --example harvest_phases \
//!         [COMPONENTS [ACTIVE [THREADS [f32|f16|bf16]]]]

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a synthetic stream"
)]

use std::time::Instant;

use _harvest::harvest::batch::{Batch, LayerValues};
use _harvest::harvest::cofiring::Cofiring;
use _harvest::harvest::examples::Examples;
use _harvest::harvest::input_tokens::InputTokens;
use _harvest::harvest::output_mass::{Kept, OutputMass};
use _harvest::harvest::sampling::mix;
use _harvest::harvest::scan::{Importances, importances, scan};
use _harvest::harvest::settings::{Layer, Output, Settings};
use _harvest::harvest::tile::{Accumulator, Firings, Live, Tile};
use _harvest::harvest::totals::Totals;
use _harvest::harvest::values::Values;

const POSITIONS: usize = 4096;
const VOCABULARY: usize = 4096;
const BATCHES: u64 = 8;

fn unit(state: &mut u64) -> f32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    (mix(*state) >> 40) as f32 / 16_777_216.0
}

fn timed<T>(sums: &mut Vec<(String, f64)>, name: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = work();
    let seconds = start.elapsed().as_secs_f64();
    match sums.iter_mut().find(|entry| entry.0 == name) {
        Some(entry) => entry.1 = entry.1.min(seconds),
        None => sums.push((name.to_owned(), seconds)),
    }
    value
}

/// One batch, row-major.
struct Synthetic {
    importances: Vec<f32>,
    activations: Vec<f32>,
    probabilities: Vec<f32>,
    tokens: Vec<u32>,
}

/// Frequencies of components fall with their rank to the power 0.8 and add up to `active`.
fn synthetic(components: usize, active: usize) -> Synthetic {
    let mut state = 1;
    let weights: Vec<f32> = (0..components).map(|rank| (rank as f32 + 1.0).powf(-0.8)).collect();
    let total: f32 = weights.iter().sum();
    let rates: Vec<f32> = weights.iter().map(|weight| (weight / total * active as f32).min(0.9)).collect();
    let order = |index: usize| (index * 7919) % components;
    let mut importances = vec![0.0_f32; POSITIONS * components];
    for row in importances.chunks_mut(components) {
        for (index, value) in row.iter_mut().enumerate() {
            if unit(&mut state) < rates[order(index)] {
                *value = unit(&mut state).max(1e-3);
            }
        }
    }
    let activations: Vec<f32> = (0..POSITIONS * components).map(|_| unit(&mut state) - 0.5).collect();
    let mut probabilities = vec![0.0_f32; POSITIONS * VOCABULARY];
    for row in probabilities.chunks_mut(VOCABULARY) {
        // Normal logits, sharper at some positions than at others, as in a trained model.
        let scale = 3.0 + 6.0 * unit(&mut state);
        for p in row.iter_mut() {
            let normal = (0..12).map(|_| unit(&mut state)).sum::<f32>() - 6.0;
            *p = (scale * normal).exp();
        }
        let sum: f32 = row.iter().sum();
        for p in row {
            *p /= sum;
        }
    }
    let tokens: Vec<u32> =
        (0..POSITIONS).map(|_| (unit(&mut state).powi(3) * VOCABULARY as f32) as u32).collect();
    Synthetic { importances, activations, probabilities, tokens }
}

/// Numbers as they lie in memory.
enum Stored {
    Wide(Vec<f32>),
    Half(Vec<u16>),
    Brain(Vec<u16>),
}

impl Stored {
    /// Cut to the format; every value here is below one in magnitude.
    fn new(values: Vec<f32>, format: &str) -> Self {
        let half = |x: &f32| {
            let (sign, magnitude) = ((x.to_bits() >> 16) & 0x8000, (x.to_bits() & 0x7fff_ffff) >> 13);
            (sign | magnitude.saturating_sub(112 << 10)) as u16
        };
        match format {
            "f16" => Self::Half(values.iter().map(half).collect()),
            "bf16" => Self::Brain(values.iter().map(|x| (x.to_bits() >> 16) as u16).collect()),
            _ => Self::Wide(values),
        }
    }

    fn values(&self) -> Values<'_> {
        match self {
            Self::Wide(values) => Values::F32(values),
            Self::Half(values) => Values::F16(values),
            Self::Brain(values) => Values::Bf16(values),
        }
    }

    fn read(&self) -> u32 {
        match std::hint::black_box(self) {
            Self::Wide(values) => values.iter().fold(0, |bits, x| bits ^ x.to_bits()),
            Self::Half(values) | Self::Brain(values) => u32::from(values.iter().fold(0, |bits, x| bits ^ x)),
        }
    }

    fn copy_from(&mut self, other: &Self) {
        match (std::hint::black_box(self), other) {
            (Self::Wide(target), Self::Wide(values)) => target.copy_from_slice(values),
            (Self::Half(target), Self::Half(values)) | (Self::Brain(target), Self::Brain(values)) => {
                target.copy_from_slice(values);
            }
            _ => {}
        }
    }
}

/// The threshold pass alone, and plain passes over the same memory, all on one thread.
fn passes(times: &mut Vec<(String, f64)>, ci: &Stored, activations: &Stored, copy: &mut Stored) {
    let components = ci.values().len() / POSITIONS;
    let sums = &mut vec![0; components];
    timed(times, "plain read of the importances", || std::hint::black_box(ci.read()));
    timed(times, "plain copy of the importances", || copy.copy_from(ci));
    let mut firings = Vec::new();
    timed(times, "threshold pass", || {
        let mut target = Importances { threshold: 0.0, sums, firings: &mut firings };
        for row in 0..POSITIONS {
            let columns = row * components..(row + 1) * components;
            std::hint::black_box(importances(ci.values(), columns, (0, row as u32), &mut target));
        }
    });
    timed(times, "plain read of both arrays", || std::hint::black_box(ci.read() ^ activations.read()));
}

fn main() {
    let format = std::env::args().nth(4).unwrap_or_else(|| "f32".to_owned());
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let number = |index: usize, default| numbers.get(index).copied().unwrap_or(default);
    let (components, active, threads) = (number(0, 8000), number(1, 50), number(2, 1));
    let exact = Settings {
        layers: vec![Layer { name: "all".to_owned(), width: components }],
        vocabulary: VOCABULARY,
        threshold: 0.0,
        context: 20,
        uniform: 64,
        strongest: 16,
        output: Output::Exact,
        seed: 0,
    };
    let nucleus = Settings { output: Output::Nucleus(4_252_017_623), ..exact.clone() };
    let Synthetic { importances, activations, probabilities, tokens } = synthetic(components, active);
    let [importances, activations, probabilities] =
        [importances, activations, probabilities].map(|values| Stored::new(values, &format));

    let mut copy = Stored::new(vec![0.0; POSITIONS * components], &format);
    let mut live = Live::new(components);
    let (mut totals, mut cofiring) = (Totals::new(components), Cofiring::default());
    let mut input = InputTokens::new(VOCABULARY);
    let (Some(mut truncated), Some(mut full)) = (OutputMass::new(&nucleus), OutputMass::new(&exact)) else {
        return;
    };
    let mut examples = Examples::new(&exact);
    let mut times = Vec::new();
    for batch in 0..BATCHES {
        let sequences: Vec<u64> = (0..16).map(|index| batch * 16 + index).collect();
        let batch = Batch {
            sequences: &sequences,
            length: POSITIONS / 16,
            tokens: &tokens,
            layers: vec![LayerValues {
                importances: importances.values(),
                activations: activations.values(),
            }],
            probabilities: Some(probabilities.values()),
            features: None,
        };
        passes(&mut times, &importances, &activations, &mut copy);
        let rows = 0..POSITIONS;
        let Ok(scanned) =
            timed(&mut times, "scan of both arrays", || scan(&batch, &exact, rows.clone(), threads))
        else {
            return;
        };
        let firings = timed(&mut times, "orders", || Firings::new(&scanned, POSITIONS, &mut live));
        let values = probabilities.values();
        let kept = timed(&mut times, "nucleus", || Kept::read(values, rows.clone(), &nucleus, threads));
        let whole =
            timed(&mut times, "exact: marginals", || Kept::read(values, rows.clone(), &exact, threads));
        let tile = |kept| Tile {
            batch: &batch,
            rows: rows.clone(),
            live: live.len(),
            components: live.components(),
            scan: &scanned,
            firings: &firings,
            kept,
            threads,
        };
        timed(&mut times, "totals", || totals.add_batch(&tile(None)));
        timed(&mut times, "cofiring", || cofiring.add_batch(&tile(None)));
        timed(&mut times, "input tokens", || input.add_batch(&tile(None)));
        timed(&mut times, "output mass, nucleus", || truncated.add_batch(&tile(kept.as_ref())));
        timed(&mut times, "output mass, exact", || full.add_batch(&tile(whole.as_ref())));
        timed(&mut times, "examples", || examples.add_batch(&tile(None)));
        if sequences[0] == 0 {
            let size = kept.as_ref().map_or(0, Kept::entries);
            println!("{} firings, {} tokens in nuclei", firings.positions.len(), size / POSITIONS);
        }
    }
    println!(
        "C {components}, {active} active, {threads} threads, {format}, {POSITIONS} positions, best of {BATCHES}:"
    );
    for (name, seconds) in times {
        println!("{name:32}{:9.2} ms", seconds * 1e3);
    }
}
