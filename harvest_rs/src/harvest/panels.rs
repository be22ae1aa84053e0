//! Sums over firings of rows of output mass, made to run from the cache.
//!
//! The vocabulary is cut into panels of 64 tokens. A panel's masses at the positions of one tile are packed
//! once (one megabyte), and then every component sums its positions in registers.

use multiversion::multiversion;

use super::fixed_point::probability_units;
use super::values::Values;

/// Tokens in a panel.
pub const PANEL: usize = 64;

/// Tokens that are added at once.
pub const LANES: usize = 8;

/// Sums of the tokens of a panel, in units.
pub type Sums = [[u64; LANES]; PANEL / LANES];

/// Fill `target` with the probabilities from `start` on, in units.
pub fn pack(values: Values<'_>, start: usize, target: &mut [u32]) {
    match values {
        Values::F32(values) => pack_f32(&values[start..start + target.len()], target),
        Values::F16(_) | Values::Bf16(_) => {
            for (index, units) in target.iter_mut().enumerate() {
                *units = probability_units(values.at(start + index));
            }
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn pack_f32(values: &[f32], target: &mut [u32]) {
    for (units, p) in target.iter_mut().zip(values) {
        *units = probability_units(*p);
    }
}

/// Add the packed rows at `positions` to `sums`.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub fn add_rows(packed: &[[u32; PANEL]], positions: &[u32], sums: &mut Sums) {
    let mut held = *sums;
    for &position in positions {
        let row = &packed[position as usize].as_chunks::<LANES>().0[..PANEL / LANES];
        for block in 0..PANEL / LANES {
            for lane in 0..LANES {
                held[block][lane] += u64::from(row[block][lane]);
            }
        }
    }
    *sums = held;
}

/// The same where most packed rows may be empty: only those that are `occupied` are read.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub fn add_occupied(packed: &[[u32; PANEL]], occupied: &[bool], positions: &[u32], sums: &mut Sums) -> bool {
    let mut held = *sums;
    let mut any = false;
    for &position in positions {
        if occupied[position as usize] {
            any = true;
            let row = &packed[position as usize].as_chunks::<LANES>().0[..PANEL / LANES];
            for block in 0..PANEL / LANES {
                for lane in 0..LANES {
                    held[block][lane] += u64::from(row[block][lane]);
                }
            }
        }
    }
    *sums = held;
    any
}
