//! Component activations under a stochastic mask, with the noise made on the fly.
//!
//! out[n, c] = a[n, c] (m[n, c] - delta[n]), m = g + (1 - g) r, r = draw `offset + n C + c` of `key`;
//! `delta` is the weight delta's own mask (absent: 0). With binomial sampling r is rounded to 0 or 1.

use multiversion::multiversion;

use crate::element::Element;
use crate::noise::{Draws, stretches};
use crate::workers::{ELEMENTS, for_each, worth};

/// Which noise a pass uses; the same in the forward and the backward pass.
#[derive(Clone, Copy)]
pub struct Noise {
    /// Which stream of draws.
    pub key: u64,
    /// The draw for the first element.
    pub offset: u64,
    /// Round every draw to 0 or 1.
    pub binomial: bool,
}

/// The per-row values that go with a row-major (N, C) matrix.
#[derive(Clone, Copy)]
pub struct DeltaMask<'a> {
    /// One value a row; absent means zeros.
    pub values: Option<&'a [f32]>,
    /// Number of components C.
    pub components: usize,
}

impl DeltaMask<'_> {
    /// Spread the rows' values over the flat positions `start ..` of the matrix.
    fn spread(self, start: usize, flat: &mut [f32]) {
        let Some(values) = self.values else {
            flat.fill(0.0);
            return;
        };
        let mut row = start / self.components;
        let mut left = self.components - start % self.components;
        let mut rest = flat;
        while !rest.is_empty() {
            let (head, tail) = rest.split_at_mut(left.min(rest.len()));
            head.fill(values[row]);
            rest = tail;
            row += 1;
            left = self.components;
        }
    }
}

/// Flat positions handled at once; the scratch for them stays in the first-level cache.
const STRIP: usize = 1024;

/// Fill `out` from activations `a` and importances `g`, all (N, C).
pub fn forward<T: Element>(
    a: &[T],
    g: &[f32],
    noise: Noise,
    delta: DeltaMask<'_>,
    out: &mut [T],
    threads: usize,
) {
    let threads = worth(threads, out.len());
    for_each(
        threads,
        out.chunks_mut(ELEMENTS).enumerate(),
        || [[0.0; STRIP]; 3],
        |[flat, wide, result], (index, chunk)| {
            for (strip, out) in chunk.chunks_mut(STRIP).enumerate() {
                let start = index * ELEMENTS + strip * STRIP;
                let (flat, result) = (&mut flat[..out.len()], &mut result[..out.len()]);
                delta.spread(start, flat);
                let a = T::widen(&a[start..start + out.len()], &mut wide[..out.len()]);
                let g = &g[start..start + out.len()];
                stretches(noise.key, noise.offset.wrapping_add(start as u64), out.len(), |range, draws| {
                    let (a, g, out) = (&a[range.clone()], &g[range.clone()], &mut result[range.clone()]);
                    forward_strip(a, g, draws, noise.binomial, &flat[range], out);
                });
                T::narrow(result, out);
            }
        },
    );
}

/// Draw `index`, rounded to 0 or 1 when binomial.
#[inline(always)]
fn source(draws: Draws, index: u32, binomial: bool) -> f32 {
    let uniform = draws.at(index);
    let rounded = if uniform >= 0.5 { 1.0 } else { 0.0 };
    if binomial { rounded } else { uniform }
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
#[expect(clippy::cast_possible_truncation, reason = "a strip is short")]
fn forward_strip(a: &[f32], g: &[f32], draws: Draws, binomial: bool, delta: &[f32], out: &mut [f32]) {
    // Slices of one known length and a plain counter: iterators over so many would not become vector code.
    let n = out.len();
    let (a, g, delta) = (&a[..n], &g[..n], &delta[..n]);
    for i in 0..n {
        let r = source(draws, i as u32, binomial);
        out[i] = a[i] * (g[i] + (1.0 - g[i]) * r - delta[i]);
    }
}

/// Gradients of the masked activations, filled by `backward`.
pub struct Gradients<'a, T> {
    /// Of the activations (N, C).
    pub a: &'a mut [T],
    /// Of the importances (N, C).
    pub g: &'a mut [f32],
}

/// Fill the gradients of `a` and `g` from `grad_out`, all (N, C), with the same draws as the forward pass.
pub fn backward<T: Element>(
    a: &[T],
    g: &[f32],
    noise: Noise,
    delta: DeltaMask<'_>,
    grad_out: &[T],
    gradients: Gradients<'_, T>,
    threads: usize,
) {
    let items = gradients.a.chunks_mut(ELEMENTS).zip(gradients.g.chunks_mut(ELEMENTS)).enumerate();
    for_each(
        worth(threads, a.len()),
        items,
        || [[0.0; STRIP]; 4],
        |[flat, wide_a, wide_grad, result], (index, (grad_a, grad_g))| {
            for (strip, (grad_a, grad_g)) in
                grad_a.chunks_mut(STRIP).zip(grad_g.chunks_mut(STRIP)).enumerate()
            {
                let start = index * ELEMENTS + strip * STRIP;
                let all = start..start + grad_a.len();
                let (flat, result) = (&mut flat[..grad_a.len()], &mut result[..grad_a.len()]);
                delta.spread(start, flat);
                let a = T::widen(&a[all.clone()], &mut wide_a[..flat.len()]);
                let grad_out = T::widen(&grad_out[all.clone()], &mut wide_grad[..flat.len()]);
                let inputs = [a, &g[all], grad_out];
                stretches(noise.key, noise.offset.wrapping_add(start as u64), flat.len(), |range, draws| {
                    let inputs = inputs.map(|input| &input[range.clone()]);
                    let (grad_a, grad_g) = (&mut result[range.clone()], &mut grad_g[range.clone()]);
                    backward_strip(inputs, draws, noise.binomial, &flat[range], grad_a, grad_g);
                });
                T::narrow(result, grad_a);
            }
        },
    );
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
#[expect(clippy::cast_possible_truncation, reason = "a strip is short")]
fn backward_strip(
    inputs: [&[f32]; 3],
    draws: Draws,
    binomial: bool,
    delta: &[f32],
    grad_a: &mut [f32],
    grad_g: &mut [f32],
) {
    let [a, g, grad_out] = inputs;
    let n = grad_a.len();
    let [a, g, grad_out] = [&a[..n], &g[..n], &grad_out[..n]];
    let (delta, grad_g) = (&delta[..n], &mut grad_g[..n]);
    for i in 0..n {
        let r = source(draws, i as u32, binomial);
        grad_a[i] = grad_out[i] * (g[i] + (1.0 - g[i]) * r - delta[i]);
        grad_g[i] = grad_out[i] * a[i] * (1.0 - r);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(n: u16, scale: f32) -> Vec<f32> {
        (0..n).map(|i| f32::from(i % 97) * scale - 0.3).collect()
    }

    #[test]
    fn forward_and_backward_follow_the_formula_with_the_published_draws() {
        let (rows, components) = (13_u16, 37_usize);
        let n = rows * 37;
        let (a, g, grad) = (ramp(n, 0.02), ramp(n, 0.01), ramp(n, 0.03));
        let delta_values = ramp(rows, 0.05);
        let mut r = vec![0.0; a.len()];
        crate::noise::fill(5, 1000, &mut r, 1);
        for (values, binomial) in
            [(None, false), (Some(&delta_values[..]), false), (Some(&delta_values[..]), true)]
        {
            let noise = Noise { key: 5, offset: 1000, binomial };
            let delta = DeltaMask { values, components };
            let (mut out, mut grad_a, mut grad_g) =
                (vec![0.0; a.len()], vec![0.0; a.len()], vec![0.0; a.len()]);
            forward(&a, &g, noise, delta, &mut out, 1);
            let gradients = Gradients { a: &mut grad_a, g: &mut grad_g };
            backward(&a, &g, noise, delta, &grad, gradients, 1);
            for i in 0..a.len() {
                let r = if binomial { r[i].round() } else { r[i] };
                let mask = g[i] + (1.0 - g[i]) * r - values.map_or(0.0, |values| values[i / components]);
                assert!((out[i] - a[i] * mask).abs() < 1e-6);
                assert!((grad_a[i] - grad[i] * mask).abs() < 1e-6);
                assert!((grad_g[i] - grad[i] * a[i] * (1.0 - r)).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let n = 60_000;
        let (a, g) = (ramp(n, 0.02), ramp(n, 0.01));
        let noise = Noise { key: 9, offset: 0, binomial: false };
        let values = ramp(n / 40, 0.05);
        let delta = DeltaMask { values: Some(&values), components: 40 };
        let (mut one, mut four) = (vec![0.0; a.len()], vec![0.0; a.len()]);
        forward(&a, &g, noise, delta, &mut one, 1);
        forward(&a, &g, noise, delta, &mut four, 4);
        assert_eq!(one, four);
    }
}
