//! The leaky hard sigmoids: importances for the masks (lower) and for the minimality loss (upper).
//!
//! Both read the same pre-activation. lower = clamp(x, 0, 1); upper = clamp(x, 0, 1), but 1 + s (x - 1) above
//! one. The lower one's backward pass lets a gradient that would raise x through below zero, times s, so a
//! dead component can come back. s is `SLOPE`.

use multiversion::multiversion;

use crate::workers::{ELEMENTS, for_each, worth};

/// Slope of the leaks.
const SLOPE: f32 = 0.01;

/// Fill `lower` and `upper` from `pre` (same length).
pub fn forward(pre: &[f32], lower: &mut [f32], upper: &mut [f32], threads: usize) {
    let outputs = lower.chunks_mut(ELEMENTS).zip(upper.chunks_mut(ELEMENTS));
    let items = pre.chunks(ELEMENTS).zip(outputs);
    for_each(
        worth(threads, pre.len()),
        items,
        || (),
        |(), (pre, (lower, upper))| {
            forward_chunk(pre, lower, upper);
        },
    );
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn forward_chunk(pre: &[f32], lower: &mut [f32], upper: &mut [f32]) {
    for ((&x, lower), upper) in pre.iter().zip(lower).zip(upper) {
        // `clamp` keeps NaN.
        let clamped = x.clamp(0.0, 1.0);
        *lower = clamped;
        *upper = if x > 1.0 { 1.0 + SLOPE * (x - 1.0) } else { clamped };
    }
}

/// Fill `grad_pre` from the gradients of either output or both (same lengths).
pub fn backward(
    pre: &[f32],
    grad_lower: Option<&[f32]>,
    grad_upper: Option<&[f32]>,
    grad_pre: &mut [f32],
    threads: usize,
) {
    let items = pre.chunks(ELEMENTS).zip(grad_pre.chunks_mut(ELEMENTS)).enumerate();
    for_each(
        worth(threads, pre.len()),
        items,
        || (),
        |(), (index, (pre, grad_pre))| {
            let start = index * ELEMENTS;
            let part = |grad: &'_ [f32]| start..start + pre.len().min(grad.len() - start);
            match (grad_lower, grad_upper) {
                (Some(lower), Some(upper)) => {
                    both_chunk(pre, &lower[part(lower)], &upper[part(upper)], grad_pre);
                }
                (Some(lower), None) => lower_chunk(pre, &lower[part(lower)], grad_pre),
                (None, Some(upper)) => upper_chunk(pre, &upper[part(upper)], grad_pre),
                (None, None) => grad_pre.fill(0.0),
            }
        },
    );
}

#[inline(always)]
fn lower_gradient(x: f32, g: f32) -> f32 {
    let leak = if g < 0.0 { SLOPE * g } else { 0.0 };
    let inside = if x <= 1.0 { g } else { 0.0 };
    if x <= 0.0 { leak } else { inside }
}

#[inline(always)]
fn upper_gradient(x: f32, g: f32) -> f32 {
    let inside = if x <= 1.0 { g } else { SLOPE * g };
    // At exactly zero the upper sigmoid passes the gradient, as a clamp does.
    if x < 0.0 { 0.0 } else { inside }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn both_chunk(pre: &[f32], lower: &[f32], upper: &[f32], grad_pre: &mut [f32]) {
    for (((&x, &lower), &upper), grad) in pre.iter().zip(lower).zip(upper).zip(grad_pre) {
        *grad = lower_gradient(x, lower) + upper_gradient(x, upper);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn lower_chunk(pre: &[f32], lower: &[f32], grad_pre: &mut [f32]) {
    for ((&x, &lower), grad) in pre.iter().zip(lower).zip(grad_pre) {
        *grad = lower_gradient(x, lower);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn upper_chunk(pre: &[f32], upper: &[f32], grad_pre: &mut [f32]) {
    for ((&x, &upper), grad) in pre.iter().zip(upper).zip(grad_pre) {
        *grad = upper_gradient(x, upper);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "these values are exact")]
    use super::*;

    const POINTS: [f32; 7] = [-2.0, -0.5, 0.0, 0.25, 1.0, 1.5, 3.0];

    #[test]
    fn forward_clamps_and_leaks_above_one() {
        let (mut lower, mut upper) = ([9.0; 7], [9.0; 7]);
        forward(&POINTS, &mut lower, &mut upper, 1);
        assert_eq!(lower, [0.0, 0.0, 0.0, 0.25, 1.0, 1.0, 1.0]);
        assert_eq!(upper[..5], [0.0, 0.0, 0.0, 0.25, 1.0]);
        assert!((upper[5] - 1.005).abs() < 1e-6 && (upper[6] - 1.02).abs() < 1e-6);
    }

    #[test]
    fn lower_gradient_revives_only_when_it_would_raise_the_input() {
        let mut grad = [9.0; 7];
        backward(&POINTS, Some(&[-1.0; 7]), None, &mut grad, 1);
        assert_eq!(grad, [-0.01, -0.01, -0.01, -1.0, -1.0, 0.0, 0.0]);
        backward(&POINTS, Some(&[1.0; 7]), None, &mut grad, 1);
        assert_eq!(grad, [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn upper_gradient_leaks_above_one_and_both_add() {
        let mut grad = [9.0; 7];
        backward(&POINTS, None, Some(&[2.0; 7]), &mut grad, 1);
        assert_eq!(grad, [0.0, 0.0, 2.0, 2.0, 2.0, 0.02, 0.02]);
        backward(&POINTS, Some(&[-1.0; 7]), Some(&[2.0; 7]), &mut grad, 1);
        assert_eq!(grad, [-0.01, -0.01, 1.99, 1.0, 1.0, 0.02, 0.02]);
        backward(&POINTS, None, None, &mut grad, 1);
        assert_eq!(grad, [0.0; 7]);
    }

    #[test]
    fn nan_stays_visible() {
        let (mut lower, mut upper) = ([0.0], [0.0]);
        forward(&[f32::NAN], &mut lower, &mut upper, 1);
        assert!(lower[0].is_nan() && upper[0].is_nan());
    }
}
