//! The one pass over all importances and activations: sums of both, and every firing.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use multiversion::multiversion;

use super::activations::{GROUP, add_activations};
use super::batch::Batch;
use super::fixed_point::{IMPORTANCE_DIGITS, units};
use super::settings::{Fault, Settings};
use super::values::{Bf16, F16, F32, Format, Values, order_bits};
use crate::workers::for_each;

/// One component firing at one position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Firing {
    /// Its number among all components.
    pub component: u32,
    /// Position in the scanned rows.
    pub position: u32,
    /// Causal importance, above the threshold.
    pub importance: f32,
    /// Component activation.
    pub activation: f32,
}

/// What a scan of at most `TILE` rows finds.
pub struct Scan {
    /// Firings, layer by layer; those of one component by ascending position.
    pub firings: Vec<Vec<Firing>>,
    /// Sum of importances of every component, in units.
    pub importance_sums: Vec<i64>,
    /// Sum of activations of every component, in units.
    pub activation_sums: Vec<i64>,
}

/// Rows that one work item scans.
const STRIP: usize = 128;

/// Scan the positions `rows` of a batch that fits the settings.
///
/// # Errors
/// A value is not a number or out of its range.
pub fn scan(
    batch: &Batch<'_>,
    settings: &Settings,
    rows: Range<usize>,
    threads: usize,
) -> Result<Scan, Fault> {
    let strips = rows.len().div_ceil(STRIP);
    let layers = settings.layers.len();
    let mut firings = vec![Vec::new(); strips * layers];
    let sums: Vec<Mutex<(Vec<i64>, Vec<i64>)>> = settings
        .layers
        .iter()
        .map(|layer| Mutex::new((vec![0; layer.width], vec![0; layer.width])))
        .collect();
    let offsets = settings.offsets();
    let valid = std::sync::atomic::AtomicBool::new(true);
    for_each(
        threads,
        firings.iter_mut().enumerate(),
        || (Vec::new(), Vec::new()),
        |(importance_sums, activation_sums), (item, found)| {
            let (layer, strip) = (item / strips, item % strips);
            let width = settings.layers[layer].width;
            let first = rows.start + strip * STRIP;
            let last = (first + STRIP).min(rows.end);
            importance_sums.clear();
            importance_sums.resize(width, 0);
            activation_sums.clear();
            activation_sums.resize(width, 0);
            let mut ok = true;
            for start in (first..last).step_by(GROUP) {
                let end = (start + GROUP).min(last);
                let known = found.len();
                for row in start..end {
                    let mut target =
                        Importances { threshold: settings.threshold, sums: importance_sums, firings: found };
                    #[expect(clippy::cast_possible_truncation, reason = "at most TILE rows, 2^20 components")]
                    let place = (offsets[layer] as u32, (row - rows.start) as u32);
                    ok &= importances(
                        batch.layers[layer].importances,
                        row * width..(row + 1) * width,
                        place,
                        &mut target,
                    );
                }
                let activations = batch.layers[layer].activations;
                ok &= add_activations(activations, start * width..end * width, activation_sums);
                for firing in &mut found[known..] {
                    let row = rows.start + firing.position as usize;
                    let column = firing.component as usize - offsets[layer];
                    firing.activation = activations.at(row * width + column);
                }
            }
            if !ok {
                valid.store(false, std::sync::atomic::Ordering::Relaxed);
            }
            let mut totals = sums[layer].lock().unwrap_or_else(PoisonError::into_inner);
            add(&mut totals.0, importance_sums);
            add(&mut totals.1, activation_sums);
        },
    );
    if !valid.into_inner() {
        let unknown = || Fault("a value of the batch is out of its range".to_owned());
        return Err(batch.refused(settings).unwrap_or_else(unknown));
    }
    let (mut importance_sums, mut activation_sums) = (Vec::new(), Vec::new());
    for layer in sums {
        let (importance, activation) = layer.into_inner().unwrap_or_else(PoisonError::into_inner);
        importance_sums.extend(importance);
        activation_sums.extend(activation);
    }
    Ok(Scan { firings, importance_sums, activation_sums })
}

fn add(totals: &mut [i64], sums: &[i64]) {
    for (total, sum) in totals.iter_mut().zip(sums) {
        *total = total.wrapping_add(*sum);
    }
}

/// Where the importances of one layer are counted.
pub struct Importances<'a> {
    /// A component fires above it.
    pub threshold: f32,
    /// Sum of every component of the layer, in units.
    pub sums: &'a mut [i64],
    /// Firings are added here, without their activations.
    pub firings: &'a mut Vec<Firing>,
}

/// Count one row; false when a value is out of range. `place` is its first component and its position.
pub fn importances(
    values: Values<'_>,
    row: Range<usize>,
    place: (u32, u32),
    target: &mut Importances<'_>,
) -> bool {
    match values {
        Values::F32(values) => importances_f32(&values[row], place, target),
        Values::F16(values) => importances_f16(&values[row], place, target),
        Values::Bf16(values) => importances_bf16(&values[row], place, target),
    }
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2", "aarch64+neon"))]
fn importances_f32(row: &[f32], place: (u32, u32), target: &mut Importances<'_>) -> bool {
    importance_row::<F32, 16>(row, place, target)
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2", "aarch64+neon"))]
fn importances_f16(row: &[u16], place: (u32, u32), target: &mut Importances<'_>) -> bool {
    importance_row::<F16, 32>(row, place, target)
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2", "aarch64+neon"))]
fn importances_bf16(row: &[u16], place: (u32, u32), target: &mut Importances<'_>) -> bool {
    importance_row::<Bf16, 32>(row, place, target)
}

/// N numbers are looked at together: a cache line of them.
#[inline(always)]
fn importance_row<F: Format, const N: usize>(
    row: &[F::Raw],
    place: (u32, u32),
    target: &mut Importances<'_>,
) -> bool {
    let (chunks, tail) = row.as_chunks::<N>();
    let mut ok = true;
    let mut found = [0_u8; 64];
    // Importances are mostly exact zeros, which add nothing: whole chunks are skipped. Those that are not
    // zero are first marked and then looked at, because a branch at each of them would be guessed wrong.
    for (block, chunks) in chunks.chunks(64).enumerate() {
        let mut count = 0;
        for (index, chunk) in (0..).zip(chunks) {
            let mut bits = 0;
            for raw in chunk {
                bits |= F::magnitude_bits(*raw);
            }
            // At most 63 were found before: the masks spare a check of bounds.
            found[count & 63] = index;
            count += usize::from(bits != 0);
        }
        for &index in &found[..count.min(64)] {
            let index = usize::from(index);
            ok &= importance_chunk::<F>(&chunks[index], (block * 64 + index) * N, place, target);
        }
    }
    ok & importance_chunk::<F>(tail, row.len() - tail.len(), place, target)
}

/// Count what is not zero among at most 64 importances.
#[inline(always)]
fn importance_chunk<F: Format>(
    chunk: &[F::Raw],
    start: usize,
    (component, position): (u32, u32),
    target: &mut Importances<'_>,
) -> bool {
    let mut there = 0_u64;
    for (lane, raw) in chunk.iter().enumerate() {
        there |= u64::from(F::magnitude_bits(*raw) != 0) << lane;
    }
    let mut ok = true;
    while there != 0 {
        let lane = there.trailing_zeros() as usize;
        there &= there - 1;
        let importance = F::widen(chunk[lane]);
        ok &= order_bits(importance) <= 1.0_f32.to_bits();
        let sum = &mut target.sums[start + lane];
        *sum = sum.wrapping_add(units::<IMPORTANCE_DIGITS>(importance));
        if importance > target.threshold {
            #[expect(clippy::cast_possible_truncation, reason = "fewer than 2^20 components")]
            let component = component + (start + lane) as u32;
            target.firings.push(Firing { component, position, importance, activation: 0.0 });
        }
    }
    ok
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small numbers")]
mod tests {
    use super::*;
    use crate::harvest::batch::LayerValues;
    use crate::harvest::draws::Draws;
    use crate::harvest::fixed_point::ACTIVATION_DIGITS;
    use crate::harvest::settings::Output;
    use crate::harvest::streams::settings;

    fn batch<'a>(rows: usize, importances: Values<'a>, activations: Values<'a>) -> Batch<'a> {
        const TOKENS: [u32; 300] = [0; 300];
        let layers = vec![LayerValues { importances, activations }];
        Batch {
            sequences: &[0],
            length: rows,
            tokens: &TOKENS[..rows],
            layers,
            probabilities: None,
            features: None,
        }
    }

    /// Importances of which a share `rate` is not zero, as single precision and as the bits of bfloat16.
    fn draw(draws: &mut Draws, count: usize, rate: f32) -> (Vec<f32>, Vec<u16>) {
        let value = |draws: &mut Draws| {
            if draws.unit() < rate { (draws.below(256) + 1) as f32 / 256.0 } else { -0.0 }
        };
        let wide: Vec<f32> = (0..count).map(|_| value(draws)).collect();
        let narrow = wide.iter().map(|x| (x.to_bits() >> 16) as u16).collect();
        (wide, narrow)
    }

    #[test]
    fn wide_rows_are_scanned_as_one_by_one() {
        let mut draws = Draws::new(6);
        for (width, rows, rate) in
            [(1, 7, 0.5), (31, 130, 0.1), (1024, 9, 1.0), (2500, 6, 0.01), (5003, 131, 0.002)]
        {
            let settings = settings(&[width], 1, Output::Off);
            let (wide, narrow) = draw(&mut draws, rows * width, rate);
            let activations: Vec<f32> = (0..rows * width).map(|_| draws.unit() * 8.0 - 4.0).collect();
            let (mut sums, mut activation_sums) = (vec![0; width], vec![0; width]);
            let mut expected = Vec::new();
            for (index, (&importance, &activation)) in wide.iter().zip(&activations).enumerate() {
                let (position, component) = ((index / width) as u32, (index % width) as u32);
                sums[index % width] += units::<IMPORTANCE_DIGITS>(importance);
                activation_sums[index % width] += units::<ACTIVATION_DIGITS>(activation);
                if importance > settings.threshold {
                    expected.push(Firing { component, position, importance, activation });
                }
            }
            for values in [Values::F32(&wide), Values::Bf16(&narrow)] {
                let batch = batch(rows, values, Values::F32(&activations));
                let found = scan(&batch, &settings, 0..rows, 2).unwrap_or_else(|fault| panic!("{fault}"));
                assert_eq!(found.firings.concat(), expected, "{width}");
                assert_eq!(
                    (&found.importance_sums, &found.activation_sums),
                    (&sums, &activation_sums),
                    "{width}"
                );
            }
        }
    }

    #[test]
    fn a_wrong_value_is_found_wherever_it_stands() {
        let (width, rows) = (1100, 6);
        let settings = settings(&[width], 1, Output::Off);
        let good = vec![0.0; rows * width];
        for at in (0..rows * width).step_by(7) {
            for (value, first) in [
                (f32::NAN, true),
                (-1e-20, true),
                (1.001, true),
                (f32::NEG_INFINITY, false),
                (-1_048_576.0, false),
            ] {
                let mut wrong = good.clone();
                wrong[at] = value;
                let (importances, activations) = if first { (&wrong, &good) } else { (&good, &wrong) };
                let batch = batch(rows, Values::F32(importances), Values::F32(activations));
                assert!(scan(&batch, &settings, 0..rows, 1).is_err(), "{value} at {at}");
            }
        }
    }
}
