//! Bindings of the kernels that take float32 or bfloat16; a bfloat16 comes as the `uint16` of its bits.

use numpy::{PyReadonlyArrayDyn, PyReadwriteArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::arguments::{
    Input, Matrix, MatrixOut, Output, input, mixed_types, optional, optional_output, output, rows,
};
use crate::element::Element;
use crate::{divergence, masked_acts, source_acts};

type In<'py, T> = PyReadonlyArrayDyn<'py, T>;
type Out<'py, T> = PyReadwriteArrayDyn<'py, T>;

/// A number as it lies in memory, here and in numpy.
trait Stored: Element + numpy::Element {}
impl<T: Element + numpy::Element> Stored for T {}

/// Fill `out` (N, C) with `a (m - delta_mask)`, `m = g + (1 - g) r`, `r` draw `offset + n C + c` of `key`.
#[pyfunction]
#[pyo3(signature = (a, g, key, offset, delta_mask, binomial, components, out, threads))]
pub fn masked_acts_forward(
    py: Python<'_>,
    a: Matrix<'_>,
    g: Input<'_>,
    key: u64,
    offset: u64,
    delta_mask: Option<Input<'_>>,
    binomial: bool,
    components: usize,
    out: MatrixOut<'_>,
    threads: usize,
) -> PyResult<()> {
    let noise = masked_acts::Noise { key, offset, binomial };
    match (a, out) {
        (Matrix::Single(a), MatrixOut::Single(out)) => {
            masked_forward(py, a, g, noise, delta_mask, components, out, threads)
        }
        (Matrix::Half(a), MatrixOut::Half(out)) => {
            masked_forward(py, a, g, noise, delta_mask, components, out, threads)
        }
        _ => Err(mixed_types("a and out")),
    }
}

fn masked_forward<T: Stored>(
    py: Python<'_>,
    a: In<'_, T>,
    g: Input<'_>,
    noise: masked_acts::Noise,
    delta_mask: Option<Input<'_>>,
    components: usize,
    mut out: Out<'_, T>,
    threads: usize,
) -> PyResult<()> {
    let rows = rows("a", a.len(), components)?;
    let values = optional(delta_mask.as_ref(), "delta_mask", rows)?;
    let g = input(&g, "g", a.len())?;
    let out = output(&mut out, "out", a.len())?;
    let a = input(&a, "a", a.len())?;
    let delta = masked_acts::DeltaMask { values, components };
    py.detach(|| masked_acts::forward(a, g, noise, delta, out, threads));
    Ok(())
}

/// Fill the gradients of `masked_acts_forward` from `grad_out` (N, C), with the same draws.
#[pyfunction]
#[pyo3(signature = (a, g, key, offset, delta_mask, binomial, components, grad_out, grad_a, grad_g, threads))]
pub fn masked_acts_backward(
    py: Python<'_>,
    a: Matrix<'_>,
    g: Input<'_>,
    key: u64,
    offset: u64,
    delta_mask: Option<Input<'_>>,
    binomial: bool,
    components: usize,
    grad_out: Matrix<'_>,
    grad_a: MatrixOut<'_>,
    grad_g: Output<'_>,
    threads: usize,
) -> PyResult<()> {
    let noise = masked_acts::Noise { key, offset, binomial };
    match (a, grad_out, grad_a) {
        (Matrix::Single(a), Matrix::Single(grad), MatrixOut::Single(grad_a)) => {
            masked_backward(py, a, g, noise, delta_mask, components, (grad, grad_a, grad_g), threads)
        }
        (Matrix::Half(a), Matrix::Half(grad), MatrixOut::Half(grad_a)) => {
            masked_backward(py, a, g, noise, delta_mask, components, (grad, grad_a, grad_g), threads)
        }
        _ => Err(mixed_types("a, grad_out and grad_a")),
    }
}

fn masked_backward<T: Stored>(
    py: Python<'_>,
    a: In<'_, T>,
    g: Input<'_>,
    noise: masked_acts::Noise,
    delta_mask: Option<Input<'_>>,
    components: usize,
    (grad_out, mut grad_a, mut grad_g): (In<'_, T>, Out<'_, T>, Output<'_>),
    threads: usize,
) -> PyResult<()> {
    let rows = rows("a", a.len(), components)?;
    let values = optional(delta_mask.as_ref(), "delta_mask", rows)?;
    let g = input(&g, "g", a.len())?;
    let grad_out = input(&grad_out, "grad_out", a.len())?;
    let gradients = masked_acts::Gradients {
        a: output(&mut grad_a, "grad_a", a.len())?,
        g: output(&mut grad_g, "grad_g", a.len())?,
    };
    let a = input(&a, "a", a.len())?;
    let delta = masked_acts::DeltaMask { values, components };
    py.detach(|| masked_acts::backward(a, g, noise, delta, grad_out, gradients, threads));
    Ok(())
}

/// Fill `out` (N, C) with `a (m - delta_mask)`, `m = g + (1 - g) s`; `s` is (C) for all rows or (N, C).
#[pyfunction]
#[pyo3(signature = (a, g, s, delta_mask, components, out, threads))]
pub fn source_acts_forward(
    py: Python<'_>,
    a: Matrix<'_>,
    g: Input<'_>,
    s: Input<'_>,
    delta_mask: Option<Input<'_>>,
    components: usize,
    out: MatrixOut<'_>,
    threads: usize,
) -> PyResult<()> {
    match (a, out) {
        (Matrix::Single(a), MatrixOut::Single(out)) => {
            source_forward(py, a, (g, s, delta_mask), components, out, threads)
        }
        (Matrix::Half(a), MatrixOut::Half(out)) => {
            source_forward(py, a, (g, s, delta_mask), components, out, threads)
        }
        _ => Err(mixed_types("a and out")),
    }
}

fn source_forward<T: Stored>(
    py: Python<'_>,
    a: In<'_, T>,
    masks: (Input<'_>, Input<'_>, Option<Input<'_>>),
    components: usize,
    mut out: Out<'_, T>,
    threads: usize,
) -> PyResult<()> {
    let out = output(&mut out, "out", a.len())?;
    let inputs = masked(&a, &masks, components)?;
    py.detach(|| source_acts::forward(inputs, out, threads));
    Ok(())
}

/// Fill the wanted gradients of `source_acts_forward` from `grad_out` (N, C); `grad_s` is shaped like `s`.
#[pyfunction]
#[pyo3(signature = (a, g, s, delta_mask, components, grad_out, grad_a, grad_g, grad_s, grad_delta, threads))]
pub fn source_acts_backward(
    py: Python<'_>,
    a: Matrix<'_>,
    g: Input<'_>,
    s: Input<'_>,
    delta_mask: Option<Input<'_>>,
    components: usize,
    grad_out: Matrix<'_>,
    grad_a: Option<MatrixOut<'_>>,
    grad_g: Option<Output<'_>>,
    grad_s: Option<Output<'_>>,
    grad_delta: Option<Output<'_>>,
    threads: usize,
) -> PyResult<()> {
    let masks = (g, s, delta_mask);
    let others = [grad_g, grad_s, grad_delta];
    match (a, grad_out, grad_a) {
        (Matrix::Single(a), Matrix::Single(grad), None) => {
            source_backward(py, a, masks, components, grad, None, others, threads)
        }
        (Matrix::Single(a), Matrix::Single(grad), Some(MatrixOut::Single(grad_a))) => {
            source_backward(py, a, masks, components, grad, Some(grad_a), others, threads)
        }
        (Matrix::Half(a), Matrix::Half(grad), None) => {
            source_backward(py, a, masks, components, grad, None, others, threads)
        }
        (Matrix::Half(a), Matrix::Half(grad), Some(MatrixOut::Half(grad_a))) => {
            source_backward(py, a, masks, components, grad, Some(grad_a), others, threads)
        }
        _ => Err(mixed_types("a, grad_out and grad_a")),
    }
}

fn source_backward<T: Stored>(
    py: Python<'_>,
    a: In<'_, T>,
    masks: (Input<'_>, Input<'_>, Option<Input<'_>>),
    components: usize,
    grad_out: In<'_, T>,
    mut grad_a: Option<Out<'_, T>>,
    [mut grad_g, mut grad_s, mut grad_delta]: [Option<Output<'_>>; 3],
    threads: usize,
) -> PyResult<()> {
    let rows = rows("a", a.len(), components)?;
    let gradients = source_acts::Gradients {
        a: optional_output(grad_a.as_mut(), "grad_a", a.len())?,
        g: optional_output(grad_g.as_mut(), "grad_g", a.len())?,
        s: optional_output(grad_s.as_mut(), "grad_s", masks.1.len())?,
        delta: optional_output(grad_delta.as_mut(), "grad_delta", rows)?,
    };
    let grad_out = input(&grad_out, "grad_out", a.len())?;
    let inputs = masked(&a, &masks, components)?;
    py.detach(|| source_acts::backward(inputs, grad_out, gradients, threads));
    Ok(())
}

fn masked<'a, T: Stored>(
    a: &'a In<'_, T>,
    (g, s, delta_mask): &'a (Input<'_>, Input<'_>, Option<Input<'_>>),
    components: usize,
) -> PyResult<source_acts::Masked<'a, T>> {
    let rows = rows("a", a.len(), components)?;
    let sources = if s.len() == components { components } else { a.len() };
    Ok(source_acts::Masked {
        a: input(a, "a", a.len())?,
        g: input(g, "g", a.len())?,
        s: input(s, "s", sources)?,
        delta: optional(delta_mask.as_ref(), "delta_mask", rows)?,
        components,
    })
}

/// Fill `kl[n]` with the divergence of softmax(q) from softmax(t), `normalisers` (N, 2) for the way back.
#[pyfunction]
pub fn divergence_forward(
    py: Python<'_>,
    q: Matrix<'_>,
    t: Matrix<'_>,
    vocabulary: usize,
    mut kl: Output<'_>,
    mut normalisers: Output<'_>,
    threads: usize,
) -> PyResult<()> {
    let kl_rows = kl.len();
    let kl = output(&mut kl, "kl", kl_rows)?;
    let normalisers = output(&mut normalisers, "normalisers", 2 * kl_rows)?.as_chunks_mut::<2>().0;
    match (q, t) {
        (Matrix::Single(q), Matrix::Single(t)) => {
            let logits = logits(&q, &t, vocabulary, kl.len())?;
            py.detach(|| divergence::forward(logits, kl, normalisers, threads));
        }
        (Matrix::Half(q), Matrix::Half(t)) => {
            let logits = logits(&q, &t, vocabulary, kl.len())?;
            py.detach(|| divergence::forward(logits, kl, normalisers, threads));
        }
        _ => return Err(mixed_types("q and t")),
    }
    Ok(())
}

/// Fill `grad_q` (N, vocabulary) with `scale` times the gradient of the sum of `divergence_forward`.
#[pyfunction]
pub fn divergence_backward(
    py: Python<'_>,
    q: Matrix<'_>,
    t: Matrix<'_>,
    vocabulary: usize,
    normalisers: Input<'_>,
    scale: f32,
    grad_q: MatrixOut<'_>,
    threads: usize,
) -> PyResult<()> {
    let rows = normalisers.len() / 2;
    let normalisers = input(&normalisers, "normalisers", 2 * rows)?.as_chunks::<2>().0;
    match (q, t, grad_q) {
        (Matrix::Single(q), Matrix::Single(t), MatrixOut::Single(mut grad_q)) => {
            let grad_q = output(&mut grad_q, "grad_q", q.len())?;
            let logits = logits(&q, &t, vocabulary, rows)?;
            py.detach(|| divergence::backward(logits, normalisers, scale, grad_q, threads));
        }
        (Matrix::Half(q), Matrix::Half(t), MatrixOut::Half(mut grad_q)) => {
            let grad_q = output(&mut grad_q, "grad_q", q.len())?;
            let logits = logits(&q, &t, vocabulary, rows)?;
            py.detach(|| divergence::backward(logits, normalisers, scale, grad_q, threads));
        }
        _ => return Err(mixed_types("q, t and grad_q")),
    }
    Ok(())
}

fn logits<'a, T: Stored>(
    q: &'a In<'_, T>,
    t: &'a In<'_, T>,
    vocabulary: usize,
    rows: usize,
) -> PyResult<divergence::Logits<'a, T, T>> {
    Ok(divergence::Logits {
        q: input(q, "q", rows * vocabulary)?,
        t: input(t, "t", rows * vocabulary)?,
        vocabulary,
    })
}
