//! The one pass over all importances and activations: sums of both, and every firing.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use multiversion::multiversion;

use super::batch::Batch;
use super::fixed_point::{ACTIVATION_DIGITS, ACTIVATION_LIMIT, IMPORTANCE_DIGITS, biased, offset, units};
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

/// Rows whose activations are added before the sums in memory are touched.
const GROUP: usize = 8;

const LANES: usize = 16;

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

struct Importances<'a> {
    threshold: f32,
    sums: &'a mut [i64],
    firings: &'a mut Vec<Firing>,
}

/// Scan one row; false when a value is out of range. `place` is its first component and its position.
fn importances(
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
    importance_row::<F32>(row, place, target)
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2", "aarch64+neon"))]
fn importances_f16(row: &[u16], place: (u32, u32), target: &mut Importances<'_>) -> bool {
    importance_row::<F16>(row, place, target)
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2", "aarch64+neon"))]
fn importances_bf16(row: &[u16], place: (u32, u32), target: &mut Importances<'_>) -> bool {
    importance_row::<Bf16>(row, place, target)
}

#[inline(always)]
fn importance_row<F: Format>(row: &[F::Raw], place: (u32, u32), target: &mut Importances<'_>) -> bool {
    let (chunks, tail) = row.as_chunks::<LANES>();
    let mut ok = true;
    for (index, chunk) in chunks.iter().enumerate() {
        // Importances are mostly exact zeros, which add nothing: whole chunks are skipped.
        let mut bits = 0;
        for raw in chunk {
            bits |= F::magnitude_bits(*raw);
        }
        if bits != 0 {
            ok &= importance_chunk::<F>(chunk, index * LANES, place, target);
        }
    }
    ok & importance_chunk::<F>(tail, row.len() - tail.len(), place, target)
}

#[inline(always)]
fn importance_chunk<F: Format>(
    chunk: &[F::Raw],
    start: usize,
    (component, position): (u32, u32),
    target: &mut Importances<'_>,
) -> bool {
    let mut largest = 0;
    for (raw, sum) in chunk.iter().zip(&mut target.sums[start..]) {
        let x = F::widen(*raw);
        largest = largest.max(order_bits(x));
        *sum = sum.wrapping_add(units::<IMPORTANCE_DIGITS>(x));
    }
    if largest > order_bits(target.threshold) {
        for (lane, raw) in chunk.iter().enumerate() {
            let importance = F::widen(*raw);
            if importance > target.threshold {
                #[expect(clippy::cast_possible_truncation, reason = "fewer than 2^20 components")]
                let component = component + (start + lane) as u32;
                target.firings.push(Firing { component, position, importance, activation: 0.0 });
            }
        }
    }
    largest <= 1.0_f32.to_bits()
}

/// Add whole rows of activations to `sums`; false when a value is out of range.
fn add_activations(values: Values<'_>, rows: Range<usize>, sums: &mut [i64]) -> bool {
    match values {
        Values::F32(values) => activations_f32(&values[rows], sums),
        Values::F16(values) => activations_f16(&values[rows], sums),
        Values::Bf16(values) => activations_bf16(&values[rows], sums),
    }
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2", "aarch64+neon"))]
fn activations_f32(rows: &[f32], sums: &mut [i64]) -> bool {
    activation_rows::<F32>(rows, sums)
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2", "aarch64+neon"))]
fn activations_f16(rows: &[u16], sums: &mut [i64]) -> bool {
    activation_rows::<F16>(rows, sums)
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2", "aarch64+neon"))]
fn activations_bf16(rows: &[u16], sums: &mut [i64]) -> bool {
    activation_rows::<Bf16>(rows, sums)
}

#[inline(always)]
#[expect(clippy::cast_possible_wrap, reason = "wrapping sums whose true value is known to fit")]
fn activation_rows<F: Format>(rows: &[F::Raw], sums: &mut [i64]) -> bool {
    let width = sums.len();
    let mut largest = [0_u32; LANES];
    let (chunks, tail) = sums.as_chunks_mut::<LANES>();
    let whole = chunks.len() * LANES;
    for (index, sums) in chunks.iter_mut().enumerate() {
        let mut lanes = [0_u64; LANES];
        for row in rows.chunks_exact(width) {
            let chunk = &row[index * LANES..(index + 1) * LANES];
            for lane in 0..LANES {
                let x = F::widen(chunk[lane]);
                largest[lane] = largest[lane].max(order_bits(x.abs()));
                lanes[lane] = lanes[lane].wrapping_add(biased::<ACTIVATION_DIGITS>(x));
            }
        }
        let bias = const { offset::<ACTIVATION_DIGITS>() }.wrapping_mul((rows.len() / width) as u64);
        for lane in 0..LANES {
            sums[lane] = sums[lane].wrapping_add(lanes[lane].wrapping_sub(bias) as i64);
        }
    }
    for row in rows.chunks_exact(width) {
        for (raw, sum) in row[whole..].iter().zip(tail.iter_mut()) {
            let x = F::widen(*raw);
            largest[0] = largest[0].max(order_bits(x.abs()));
            *sum = sum.wrapping_add(units::<ACTIVATION_DIGITS>(x));
        }
    }
    largest.into_iter().all(|bits| bits < ACTIVATION_LIMIT.to_bits())
}
