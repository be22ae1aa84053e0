//! Sums over positions of the p-th power of the importances, one sum for each subcomponent.
//!
//! `sums[c] = sum_n w[n] (u[n, c] + eps)^p` for u >= 0 (row-major (N, C)); without weights w = 1. The sums feed
//! the importance-minimality loss, which is cheap from there on.

use multiversion::multiversion;
use multiversion::target::target_cfg_f;

use crate::elementary::{nan_or_zero, power, smallest_base};
use crate::workers::{for_each, worth};

/// The summand (u + eps)^p and its place in a matrix of C columns.
#[derive(Clone, Copy)]
pub struct Power {
    /// Exponent.
    pub p: f32,
    /// Added to every importance, so that the gradient at zero is finite.
    pub eps: f32,
    /// Number of components C.
    pub components: usize,
}

/// Rows of one work item; the items' sums are added in double precision.
const BLOCK_ROWS: usize = 512;
/// Rows summed in single precision before they are added to a double.
const STRIP_ROWS: usize = 32;

/// Fill `sums` (C).
pub fn forward(u: &[f32], weights: Option<&[f32]>, shape: Power, sums: &mut [f32], threads: usize) {
    let components = shape.components;
    if u.is_empty() {
        sums.fill(0.0);
        return;
    }
    let blocks = (u.len() / components).div_ceil(BLOCK_ROWS);
    let mut partials = vec![0.0_f64; blocks * components];
    let items = u.chunks(BLOCK_ROWS * components).zip(partials.chunks_mut(components)).enumerate();
    let scratch = || (vec![0.0; STRIP_ROWS * components], vec![0.0; components]);
    for_each(worth(threads, u.len()), items, scratch, |(powers, strip_sums), (index, (rows, partial))| {
        for (strip, rows) in rows.chunks(STRIP_ROWS * components).enumerate() {
            let powers = &mut powers[..rows.len()];
            raise(rows, shape, shape.p, powers);
            strip_sums.fill(0.0);
            for (row, powers) in powers.chunks(components).enumerate() {
                let weight = weights.map_or(1.0, |w| w[index * BLOCK_ROWS + strip * STRIP_ROWS + row]);
                add_row(powers, weight, strip_sums);
            }
            for (total, &sum) in partial.iter_mut().zip(strip_sums.iter()) {
                *total += f64::from(sum);
            }
        }
    });
    for (component, sum) in sums.iter_mut().enumerate() {
        *sum = narrow(partials.iter().skip(component).step_by(components).sum());
    }
}

/// Fill `grad_u` (N, C) with `grad_sums[c] w[n] p (u + eps)^(p - 1)`.
pub fn backward(
    u: &[f32],
    weights: Option<&[f32]>,
    shape: Power,
    grad_sums: &[f32],
    grad_u: &mut [f32],
    threads: usize,
) {
    if u.is_empty() {
        return;
    }
    let length = BLOCK_ROWS * shape.components;
    let items = u.chunks(length).zip(grad_u.chunks_mut(length)).enumerate();
    for_each(
        worth(threads, u.len()),
        items,
        || (),
        |(), (index, (u, grad_u))| {
            // In strips, so that what `raise` writes is still in the cache when it is scaled.
            let strip = STRIP_ROWS * shape.components;
            for (strip_index, (u, grad_u)) in u.chunks(strip).zip(grad_u.chunks_mut(strip)).enumerate() {
                raise(u, shape, shape.p - 1.0, grad_u);
                for (row, grads) in grad_u.chunks_mut(shape.components).enumerate() {
                    let at = index * BLOCK_ROWS + strip_index * STRIP_ROWS + row;
                    scale_row(grads, shape.p * weights.map_or(1.0, |w| w[at]), grad_sums);
                }
            }
        },
    );
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
#[expect(clippy::float_cmp, reason = "the fast paths are for exactly these exponents")]
fn raise(u: &[f32], shape: Power, exponent: f32, out: &mut [f32]) {
    const FMA: bool = target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"));
    let eps = shape.eps;
    let pairs = u.iter().zip(out);
    if exponent == 0.0 {
        pairs.for_each(|(&u, out)| *out = 1.0 + nan_or_zero(u));
    } else if exponent == 1.0 {
        pairs.for_each(|(&u, out)| *out = u + eps);
    } else if exponent == 2.0 {
        pairs.for_each(|(&u, out)| *out = (u + eps) * (u + eps));
    } else {
        let smallest = smallest_base(exponent);
        pairs.for_each(|(&u, out)| *out = power::<FMA>(u + eps, exponent, smallest));
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn add_row(powers: &[f32], weight: f32, sums: &mut [f32]) {
    for (&power, sum) in powers.iter().zip(sums) {
        *sum += weight * power;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn scale_row(grads: &mut [f32], scale: f32, grad_sums: &[f32]) {
    for (grad, &grad_sum) in grads.iter_mut().zip(grad_sums) {
        *grad *= grad_sum * scale;
    }
}

#[expect(clippy::cast_possible_truncation, reason = "results are single precision")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn importances(n: u16) -> Vec<f32> {
        (0..n).map(|i| f32::from(i % 89) / 88.0 * if i % 3 == 0 { 0.0 } else { 1.0 }).collect()
    }

    #[test]
    fn sums_and_gradients_match_double_precision() {
        let components = 7_usize;
        let u = importances(7 * 1300);
        let weights: Vec<f32> = (0..1300_u16).map(|n| f32::from(n % 5) / 4.0).collect();
        for p in [0.4_f32, 0.9, 1.0, 1.7, 2.0] {
            let shape = Power { p, eps: 1e-6, components };
            let mut sums = vec![0.0; components];
            forward(&u, Some(&weights), shape, &mut sums, 1);
            let term = |n: usize, c: usize, p: f64| (f64::from(u[n * 7 + c]) + 1e-6).powf(p);
            for (c, &sum) in sums.iter().enumerate() {
                let exact: f64 = (0..1300).map(|n| f64::from(weights[n]) * term(n, c, f64::from(p))).sum();
                assert!((f64::from(sum) / exact - 1.0).abs() < 1e-6, "p {p} c {c}");
            }
            let mut grad = vec![0.0; u.len()];
            backward(&u, Some(&weights), shape, &[2.0; 7], &mut grad, 1);
            for (i, &grad) in grad.iter().enumerate() {
                let factor = 2.0 * f64::from(p) * f64::from(weights[i / 7]);
                let exact = factor * term(i / 7, i % 7, f64::from(p) - 1.0);
                assert!((f64::from(grad) - exact).abs() <= 1e-6 * exact, "p {p} at {i}");
            }
        }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "every bit must agree")]
    fn threads_do_not_change_a_bit_and_nan_stays() {
        let mut u = importances(60_000);
        let shape = Power { p: 0.9, eps: 1e-12, components: 20 };
        let (mut one, mut four) = ([0.0; 20], [0.0; 20]);
        forward(&u, None, shape, &mut one, 1);
        forward(&u, None, shape, &mut four, 4);
        assert_eq!(one, four);
        u[25] = f32::NAN;
        forward(&u, None, shape, &mut one, 1);
        assert!(one[5].is_nan() && one[4].is_finite());
    }
}
