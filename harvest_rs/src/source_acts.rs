//! Component activations under masks made from given sources: an adversary's.
//!
//! out[n, c] = a[n, c] (m[n, c] - delta[n]), m = g + (1 - g) s; the sources s are one row for all
//! positions or one row each.

use multiversion::multiversion;

use crate::element::Element;
use crate::workers::{ELEMENTS, for_each, worth};

/// The inputs of both passes: matrices are row-major (N, C).
#[derive(Clone, Copy)]
pub struct Masked<'a, T> {
    /// Activations (N, C).
    pub a: &'a [T],
    /// Importances (N, C).
    pub g: &'a [f32],
    /// Sources, (C) shared by all rows or (N, C).
    pub s: &'a [f32],
    /// Mask of the weight delta, one a row; absent means zeros.
    pub delta: Option<&'a [f32]>,
    /// Number of components C.
    pub components: usize,
}

impl<T> Masked<'_, T> {
    fn shared(&self) -> bool {
        self.s.len() == self.components
    }

    fn sources(&self, row: usize) -> &[f32] {
        let start = if self.shared() { 0 } else { row * self.components };
        &self.s[start..start + self.components]
    }

    fn delta(&self, row: usize) -> f32 {
        self.delta.map_or(0.0, |delta| delta[row])
    }

    /// Rows of one work item.
    fn item_rows(&self) -> usize {
        (ELEMENTS / self.components).max(1)
    }
}

/// Fill `out` (N, C).
pub fn forward<T: Element>(inputs: Masked<'_, T>, out: &mut [T], threads: usize) {
    let (columns, rows) = (inputs.components, inputs.item_rows());
    let items = out.chunks_mut(rows * columns).enumerate();
    let scratch = || (vec![0.0; columns], vec![0.0; columns]);
    for_each(worth(threads, inputs.g.len()), items, scratch, |(wide, result), (index, out)| {
        for (row, out) in out.chunks_mut(columns).enumerate() {
            let row = index * rows + row;
            let all = row * columns..(row + 1) * columns;
            let a = T::widen(&inputs.a[all.clone()], wide);
            forward_row(a, &inputs.g[all], inputs.sources(row), inputs.delta(row), result);
            T::narrow(result, out);
        }
    });
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn forward_row(a: &[f32], g: &[f32], s: &[f32], delta: f32, out: &mut [f32]) {
    let n = out.len();
    let (a, g, s) = (&a[..n], &g[..n], &s[..n]);
    for i in 0..n {
        out[i] = a[i] * (g[i] + (1.0 - g[i]) * s[i] - delta);
    }
}

/// Gradients to fill; what is absent is not wanted.
pub struct Gradients<'a, T> {
    /// Of the activations (N, C).
    pub a: Option<&'a mut [T]>,
    /// Of the importances (N, C).
    pub g: Option<&'a mut [f32]>,
    /// Of the sources, shaped as they are.
    pub s: Option<&'a mut [f32]>,
    /// Of the delta mask (N).
    pub delta: Option<&'a mut [f32]>,
}

/// One work item's piece of each gradient.
struct Piece<'a, T> {
    a: Option<&'a mut [T]>,
    g: Option<&'a mut [f32]>,
    s: Option<&'a mut [f32]>,
    delta: Option<&'a mut [f32]>,
}

/// What one thread reuses from row to row.
struct Scratch {
    a: Vec<f32>,
    grad_out: Vec<f32>,
    grads: [Vec<f32>; 3],
}

/// Fill the wanted gradients from `grad_out` (N, C).
pub fn backward<T: Element>(
    inputs: Masked<'_, T>,
    grad_out: &[T],
    gradients: Gradients<'_, T>,
    threads: usize,
) {
    let (columns, rows) = (inputs.components, inputs.item_rows());
    let count = inputs.g.len().div_ceil(rows * columns);
    let shared = inputs.shared() && gradients.s.is_some();
    // Sums over rows go item by item into rows of their own, added up in their order afterwards.
    let mut partials = vec![0.0_f32; if shared { count * columns } else { 0 }];
    let (own, total) = if shared { (None, gradients.s) } else { (gradients.s, None) };
    let of_s = if shared {
        pieces(Some(&mut partials[..]), columns, count)
    } else {
        pieces(own, rows * columns, count)
    };
    let items = pieces(gradients.a, rows * columns, count)
        .into_iter()
        .zip(pieces(gradients.g, rows * columns, count))
        .zip(of_s)
        .zip(pieces(gradients.delta, rows, count))
        .map(|(((a, g), s), delta)| Piece { a, g, s, delta })
        .enumerate();
    let row = || vec![0.0; columns];
    let scratch = || Scratch { a: row(), grad_out: row(), grads: [row(), row(), row()] };
    for_each(worth(threads, inputs.g.len()), items, scratch, |scratch, (index, piece)| {
        backward_item(inputs, grad_out, index * rows, shared, piece, scratch);
    });
    if let Some(total) = total {
        total.fill(0.0);
        for partial in partials.chunks(columns) {
            add(partial, total);
        }
    }
}

fn pieces<T>(whole: Option<&mut [T]>, size: usize, count: usize) -> Vec<Option<&mut [T]>> {
    match whole {
        Some(whole) => whole.chunks_mut(size).map(Some).collect(),
        None => (0..count).map(|_| None).collect(),
    }
}

fn backward_item<T: Element>(
    inputs: Masked<'_, T>,
    grad_out: &[T],
    first_row: usize,
    shared: bool,
    mut piece: Piece<'_, T>,
    scratch: &mut Scratch,
) {
    let columns = inputs.components;
    let rows = (inputs.g.len() / columns - first_row).min(inputs.item_rows());
    for row in 0..rows {
        let all = (first_row + row) * columns..(first_row + row + 1) * columns;
        let here = row * columns..(row + 1) * columns;
        let a = T::widen(&inputs.a[all.clone()], &mut scratch.a);
        let grad = T::widen(&grad_out[all.clone()], &mut scratch.grad_out);
        let [grad_a, grad_g, grad_s] = &mut scratch.grads;
        let (sources, delta) = (inputs.sources(first_row + row), inputs.delta(first_row + row));
        let sum = backward_row([a, &inputs.g[all], sources, grad], delta, grad_a, grad_g, grad_s);
        if let Some(to) = &mut piece.a {
            T::narrow(grad_a, &mut to[here.clone()]);
        }
        if let Some(to) = &mut piece.g {
            to[here.clone()].copy_from_slice(grad_g);
        }
        match &mut piece.s {
            Some(to) if shared => add(grad_s, to),
            Some(to) => to[here].copy_from_slice(grad_s),
            None => {}
        }
        if let Some(to) = &mut piece.delta {
            to[row] = -sum;
        }
    }
}

fn add(values: &[f32], sums: &mut [f32]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}

/// Partial sums of one row, so that the sum becomes vector instructions in an order of its own.
const LANES: usize = 16;

/// Fill three gradients of one row; returns the sum of `grad a`, the delta mask's gradient but for its sign.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn backward_row(
    inputs: [&[f32]; 4],
    delta: f32,
    grad_a: &mut [f32],
    grad_g: &mut [f32],
    grad_s: &mut [f32],
) -> f32 {
    let [a, g, s, grad] = inputs;
    let n = grad_a.len();
    let [a, g, s, grad] = [&a[..n], &g[..n], &s[..n], &grad[..n]];
    let (grad_g, grad_s) = (&mut grad_g[..n], &mut grad_s[..n]);
    for i in 0..n {
        let product = grad[i] * a[i];
        grad_a[i] = grad[i] * (g[i] + (1.0 - g[i]) * s[i] - delta);
        grad_g[i] = product * (1.0 - s[i]);
        grad_s[i] = product * (1.0 - g[i]);
    }
    let mut lanes = [0.0_f32; LANES];
    let whole = n - n % LANES;
    for start in (0..whole).step_by(LANES) {
        for lane in 0..LANES {
            lanes[lane] += grad[start + lane] * a[start + lane];
        }
    }
    let mut sum: f32 = lanes.iter().sum();
    for i in whole..n {
        sum += grad[i] * a[i];
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|i| f32::from(u16::try_from(i % 97).unwrap_or(0)) * scale - 0.3).collect()
    }

    fn close(a: f32, b: f32) -> bool {
        (a - b).abs() <= 1e-5 * (1.0 + b.abs())
    }

    #[test]
    fn forward_and_backward_follow_the_formula() {
        let (rows, columns) = (700, 37);
        let n = rows * columns;
        let (a, g, grad, delta) = (ramp(n, 0.02), ramp(n, 0.01), ramp(n, 0.03), ramp(rows, 0.05));
        for s in [ramp(columns, 0.01), ramp(n, 0.011)] {
            let inputs = Masked { a: &a, g: &g, s: &s, delta: Some(&delta), components: columns };
            let (mut out, mut grad_a, mut grad_g) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
            let (mut grad_s, mut grad_delta) = (vec![9.0; s.len()], vec![0.0; rows]);
            forward(inputs, &mut out, 2);
            let wanted = Gradients {
                a: Some(&mut grad_a[..]),
                g: Some(&mut grad_g[..]),
                s: Some(&mut grad_s[..]),
                delta: Some(&mut grad_delta[..]),
            };
            backward(inputs, &grad, wanted, 2);
            let (mut sum_s, mut sum_delta) = (vec![0.0; s.len()], vec![0.0; rows]);
            for i in 0..n {
                let (row, source) = (i / columns, if s.len() == n { i } else { i % columns });
                let mask = g[i] + (1.0 - g[i]) * s[source] - delta[row];
                assert!(close(out[i], a[i] * mask));
                assert!(close(grad_a[i], grad[i] * mask));
                assert!(close(grad_g[i], grad[i] * a[i] * (1.0 - s[source])));
                sum_s[source] += grad[i] * a[i] * (1.0 - g[i]);
                sum_delta[row] -= grad[i] * a[i];
            }
            assert!(grad_s.iter().zip(&sum_s).all(|(&x, &y)| close(x, y)));
            assert!(grad_delta.iter().zip(&sum_delta).all(|(&x, &y)| close(x, y)));
        }
    }

    #[test]
    fn gradients_that_are_not_wanted_change_nothing_and_threads_neither() {
        let (rows, columns) = (3000, 40);
        let n = rows * columns;
        let (a, g, s, grad) = (ramp(n, 0.02), ramp(n, 0.01), ramp(columns, 0.01), ramp(n, 0.03));
        let inputs = Masked { a: &a, g: &g, s: &s, delta: None, components: columns };
        let mut results = Vec::new();
        for threads in [1, 4] {
            let mut grad_s = vec![0.0; columns];
            let wanted = Gradients { a: None, g: None, s: Some(&mut grad_s[..]), delta: None };
            backward(inputs, &grad, wanted, threads);
            results.push(grad_s);
        }
        assert_eq!(results[0], results[1]);
        assert!(results[0].iter().any(|&value| value != 0.0));
    }
}
