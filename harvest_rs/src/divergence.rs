//! Kullback-Leibler divergence of two softmax distributions, straight from the logits.
//!
//! For logits t and q, p = softmax(t) and lse the logarithm of the sum of exponentials,
//! `KL(p || softmax(q)) = sum_v p[v] (t[v] - q[v]) - lse(t) + lse(q)`.
//! Neither probabilities nor their logarithms are ever in memory.

use multiversion::multiversion;
use multiversion::target::target_cfg_f;

use crate::element::Element;
use crate::elementary::exp2_product;
use crate::workers::{ELEMENTS, for_each, worth};

/// Logits of both sides, row-major (N, vocabulary).
#[derive(Clone, Copy)]
pub struct Logits<'a, Q, T> {
    /// Of the distribution that is judged.
    pub q: &'a [Q],
    /// Of the distribution it is compared with.
    pub t: &'a [T],
    /// Columns.
    pub vocabulary: usize,
}

/// lse(q) and lse(t) of one row.
pub type Normalisers = [f32; 2];

/// Fill the divergence and the normalisers of each row.
pub fn forward<Q: Element, T: Element>(
    logits: Logits<'_, Q, T>,
    divergence: &mut [f32],
    normalisers: &mut [Normalisers],
    threads: usize,
) {
    let columns = logits.vocabulary;
    let rows = (ELEMENTS / columns).max(1);
    let items = divergence.chunks_mut(rows).zip(normalisers.chunks_mut(rows)).enumerate();
    let scratch = || (vec![0.0; columns], vec![0.0; columns]);
    for_each(worth(threads, logits.q.len()), items, scratch, |(wide_q, wide_t), (index, (out, norms))| {
        for (row, (out, norm)) in out.iter_mut().zip(norms).enumerate() {
            let all = (index * rows + row) * columns..(index * rows + row + 1) * columns;
            let q = Q::widen(&logits.q[all.clone()], wide_q);
            let t = T::widen(&logits.t[all], wide_t);
            (*out, *norm) = forward_row(q, t);
        }
    });
}

/// Partial sums of one row, so that the sums become vector instructions in an order of their own.
const LANES: usize = 16;

/// e^(x - top) for x <= top; NaN for NaN.
#[inline(always)]
fn exponential<const FMA: bool>(x: f32, top: f32) -> f32 {
    // 2^-125 is as good as nothing beside the 2^0 of the largest. This way round a NaN becomes -87.
    let below = x - top;
    let kept = if below > -87.0 { below } else { -87.0 };
    exp2_product::<FMA>(kept, std::f32::consts::LOG2_E)
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// The largest value; NaNs are passed over.
#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    let mut tops = [f32::NEG_INFINITY; LANES];
    let whole = values.len() - values.len() % LANES;
    for start in (0..whole).step_by(LANES) {
        for lane in 0..LANES {
            tops[lane] = larger(values[start + lane], tops[lane]);
        }
    }
    tops.into_iter().chain(values[whole..].iter().copied()).fold(f32::NEG_INFINITY, |top, x| larger(x, top))
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
#[expect(clippy::cast_possible_truncation, reason = "computed in double, kept in single precision")]
fn forward_row(q: &[f32], t: &[f32]) -> (f32, Normalisers) {
    const FMA: bool = target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"));
    let n = q.len();
    let t = &t[..n];
    let whole = n - n % LANES;
    let (top_q, top_t) = (largest(q), largest(t));
    let (mut sums_q, mut sums_t, mut crosses) = ([0.0_f32; LANES], [0.0_f32; LANES], [0.0_f32; LANES]);
    for start in (0..whole).step_by(LANES) {
        for lane in 0..LANES {
            let (x, y) = (q[start + lane], t[start + lane]);
            let p = exponential::<FMA>(y, top_t);
            sums_q[lane] += exponential::<FMA>(x, top_q);
            sums_t[lane] += p;
            crosses[lane] += p * (y - x);
        }
    }
    let (mut sum_q, mut sum_t, mut cross) = (0.0_f64, 0.0_f64, 0.0_f64);
    for lane in 0..LANES {
        sum_q += f64::from(sums_q[lane]);
        sum_t += f64::from(sums_t[lane]);
        cross += f64::from(crosses[lane]);
    }
    for i in whole..n {
        let p = exponential::<FMA>(t[i], top_t);
        sum_q += f64::from(exponential::<FMA>(q[i], top_q));
        sum_t += f64::from(p);
        cross += f64::from(p * (t[i] - q[i]));
    }
    let norm_q = f64::from(top_q) + sum_q.ln();
    let norm_t = f64::from(top_t) + sum_t.ln();
    ((cross / sum_t - norm_t + norm_q) as f32, [norm_q as f32, norm_t as f32])
}

/// Fill the gradient of `q` for an upstream gradient `scale` of the sum of divergences: scale (softmax(q) - p).
pub fn backward<Q: Element, T: Element>(
    logits: Logits<'_, Q, T>,
    normalisers: &[Normalisers],
    scale: f32,
    grad_q: &mut [Q],
    threads: usize,
) {
    let columns = logits.vocabulary;
    let rows = (ELEMENTS / columns).max(1);
    let items = grad_q.chunks_mut(rows * columns).enumerate();
    let row = || vec![0.0; columns];
    let scratch = || (row(), row(), row());
    for_each(worth(threads, logits.q.len()), items, scratch, |(wide_q, wide_t, result), (index, out)| {
        for (row, out) in out.chunks_mut(columns).enumerate() {
            let row = index * rows + row;
            let all = row * columns..(row + 1) * columns;
            let q = Q::widen(&logits.q[all.clone()], wide_q);
            let t = T::widen(&logits.t[all], wide_t);
            backward_row(q, t, normalisers[row], scale, result);
            Q::narrow(result, out);
        }
    });
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn backward_row(q: &[f32], t: &[f32], normalisers: Normalisers, scale: f32, out: &mut [f32]) {
    const FMA: bool = target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"));
    let n = out.len();
    let (q, t) = (&q[..n], &t[..n]);
    let [norm_q, norm_t] = normalisers;
    for i in 0..n {
        out[i] = scale * (exponential::<FMA>(q[i], norm_q) - exponential::<FMA>(t[i], norm_t));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(n: usize, step: f64, height: f64) -> Vec<f32> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "test data")]
        (0..n).map(|i| (height * (i as f64 * step).sin()) as f32).collect()
    }

    fn softmax(row: &[f32]) -> Vec<f64> {
        let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f64> = row.iter().map(|&x| f64::from(x - top).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.iter().map(|power| power / sum).collect()
    }

    #[test]
    fn divergence_and_gradient_follow_the_formula() {
        let (rows, vocabulary) = (9, 531);
        let (q, t) = (wave(rows * vocabulary, 0.37, 20.0), wave(rows * vocabulary, 0.11, 9.0));
        let logits = Logits { q: &q, t: &t, vocabulary };
        let (mut kl, mut norms) = (vec![0.0; rows], vec![[0.0; 2]; rows]);
        let mut grad = vec![0.0_f32; q.len()];
        forward(logits, &mut kl, &mut norms, 2);
        backward(logits, &norms, 0.5, &mut grad, 2);
        for row in 0..rows {
            let all = row * vocabulary..(row + 1) * vocabulary;
            let (p, r) = (softmax(&t[all.clone()]), softmax(&q[all.clone()]));
            let exact: f64 = p.iter().zip(&r).map(|(p, r)| p * (p.ln() - r.ln())).sum();
            assert!((f64::from(kl[row]) - exact).abs() < 1e-5 * exact.max(1.0), "{} {exact}", kl[row]);
            for (i, &found) in grad[all].iter().enumerate() {
                assert!((f64::from(found) - 0.5 * (r[i] - p[i])).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn equal_logits_diverge_by_nothing() {
        let t = wave(4096, 0.01, 12.0);
        let (mut kl, mut norms) = ([1.0], [[0.0; 2]]);
        forward(Logits { q: &t, t: &t, vocabulary: 4096 }, &mut kl, &mut norms, 1);
        assert!(kl[0].abs() < 1e-6);
    }

    #[test]
    fn what_is_not_a_number_is_not_hidden() {
        for spoilt in [f32::NAN, f32::INFINITY] {
            let (mut q, t) = (wave(100, 0.3, 2.0), wave(100, 0.2, 2.0));
            q[77] = spoilt;
            let (mut kl, mut norms) = ([1.0], [[0.0; 2]]);
            forward(Logits { q: &q, t: &t, vocabulary: 100 }, &mut kl, &mut norms, 1);
            assert!(!kl[0].is_finite());
        }
    }
}
