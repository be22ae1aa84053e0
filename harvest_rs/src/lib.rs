//! `core._harvest`: the CPU kernels of a decomposition's training step, and the harvest of its statistics.
//!
//! This file lists the kernels, checks their arguments and releases the interpreter lock; the arithmetic is
//! in the modules, which know nothing of Python. Every kernel writes into arrays that the caller made, and
//! gives the same bits for any number of `threads`.

#[cfg(feature = "python")]
mod arguments;
pub mod divergence;
#[cfg(feature = "python")]
mod either;
pub mod element;
pub mod elementary;
pub mod gelu;
pub mod harvest;
#[cfg(feature = "python")]
mod harvest_binding;
pub mod leaky_hard;
pub mod masked_acts;
pub mod minimality;
pub mod noise;
pub mod parallel_mlp;
pub mod source_acts;
pub mod tiles;
pub mod workers;

/// The Python module.
#[cfg(feature = "python")]
#[pyo3::pymodule]
mod _harvest {
    use numpy::PyUntypedArrayMethods;
    use pyo3::prelude::*;

    use crate::arguments::{Input, Output, input, optional, output, rows};
    use crate::{leaky_hard, minimality, noise, parallel_mlp};

    #[pymodule_export]
    use crate::either::{
        divergence_backward, divergence_forward, masked_acts_backward, masked_acts_forward,
        source_acts_backward, source_acts_forward,
    };

    #[pymodule_export]
    use crate::harvest_binding::Harvest;

    /// Fill `out` (N, C) with C independent one-hidden-layer GELU networks applied to `a` (N, C).
    #[pyfunction]
    fn parallel_mlp_forward(
        py: Python<'_>,
        a: Input<'_>,
        w1: Input<'_>,
        b1: Input<'_>,
        w2: Input<'_>,
        b2: Input<'_>,
        mut out: Output<'_>,
        threads: usize,
    ) -> PyResult<()> {
        let components = b2.len();
        rows("a", a.len(), components)?;
        rows("w1", w1.len(), components)?;
        let weights = w1.len();
        let networks = parallel_mlp::Networks {
            w1: input(&w1, "w1", weights)?,
            b1: input(&b1, "b1", weights)?,
            w2: input(&w2, "w2", weights)?,
            components,
        };
        let b2 = input(&b2, "b2", components)?;
        let out = output(&mut out, "out", a.len())?;
        let a = input(&a, "a", a.len())?;
        py.detach(|| parallel_mlp::forward(a, networks, b2, out, threads));
        Ok(())
    }

    /// Fill the gradients of `parallel_mlp_forward` from `grad_out` (N, C).
    #[pyfunction]
    fn parallel_mlp_backward(
        py: Python<'_>,
        a: Input<'_>,
        w1: Input<'_>,
        b1: Input<'_>,
        w2: Input<'_>,
        grad_out: Input<'_>,
        mut grad_a: Output<'_>,
        mut grad_w1: Output<'_>,
        mut grad_b1: Output<'_>,
        mut grad_w2: Output<'_>,
        mut grad_b2: Output<'_>,
        threads: usize,
    ) -> PyResult<()> {
        let components = grad_b2.len();
        rows("a", a.len(), components)?;
        rows("w1", w1.len(), components)?;
        let weights = w1.len();
        let networks = parallel_mlp::Networks {
            w1: input(&w1, "w1", weights)?,
            b1: input(&b1, "b1", weights)?,
            w2: input(&w2, "w2", weights)?,
            components,
        };
        let mut gradients = parallel_mlp::ParameterGradients {
            w1: output(&mut grad_w1, "grad_w1", weights)?,
            b1: output(&mut grad_b1, "grad_b1", weights)?,
            w2: output(&mut grad_w2, "grad_w2", weights)?,
            b2: output(&mut grad_b2, "grad_b2", components)?,
        };
        let grad_out = input(&grad_out, "grad_out", a.len())?;
        let grad_a = output(&mut grad_a, "grad_a", a.len())?;
        let a = input(&a, "a", a.len())?;
        py.detach(|| parallel_mlp::backward(a, networks, grad_out, grad_a, &mut gradients, threads));
        Ok(())
    }

    /// Fill `lower` and `upper` with the two leaky hard sigmoids of `pre`.
    #[pyfunction]
    fn leaky_hard_forward(
        py: Python<'_>,
        pre: Input<'_>,
        mut lower: Output<'_>,
        mut upper: Output<'_>,
        threads: usize,
    ) -> PyResult<()> {
        let lower = output(&mut lower, "lower", pre.len())?;
        let upper = output(&mut upper, "upper", pre.len())?;
        let pre = input(&pre, "pre", pre.len())?;
        py.detach(|| leaky_hard::forward(pre, lower, upper, threads));
        Ok(())
    }

    /// Fill `grad_pre` from the gradients of `lower` and `upper`; either may be absent.
    #[pyfunction]
    #[pyo3(signature = (pre, grad_lower, grad_upper, grad_pre, threads))]
    fn leaky_hard_backward(
        py: Python<'_>,
        pre: Input<'_>,
        grad_lower: Option<Input<'_>>,
        grad_upper: Option<Input<'_>>,
        mut grad_pre: Output<'_>,
        threads: usize,
    ) -> PyResult<()> {
        let grad_lower = optional(grad_lower.as_ref(), "grad_lower", pre.len())?;
        let grad_upper = optional(grad_upper.as_ref(), "grad_upper", pre.len())?;
        let grad_pre = output(&mut grad_pre, "grad_pre", pre.len())?;
        let pre = input(&pre, "pre", pre.len())?;
        py.detach(|| leaky_hard::backward(pre, grad_lower, grad_upper, grad_pre, threads));
        Ok(())
    }

    /// Fill `out[i]` with draw `offset + i` of `key`: uniform in [0, 1), 24 bits.
    #[pyfunction]
    fn uniform_fill(
        py: Python<'_>,
        key: u64,
        offset: u64,
        mut out: Output<'_>,
        threads: usize,
    ) -> PyResult<()> {
        let length = out.len();
        let out = output(&mut out, "out", length)?;
        py.detach(|| noise::fill(key, offset, out, threads));
        Ok(())
    }

    /// Fill `sums[c]` with the sum over rows of `weights[n] (u[n, c] + eps)^p`.
    #[pyfunction]
    #[pyo3(signature = (u, weights, p, eps, sums, threads))]
    fn minimality_forward(
        py: Python<'_>,
        u: Input<'_>,
        weights: Option<Input<'_>>,
        p: f32,
        eps: f32,
        mut sums: Output<'_>,
        threads: usize,
    ) -> PyResult<()> {
        let components = sums.len();
        let rows = rows("u", u.len(), components)?;
        let weights = optional(weights.as_ref(), "weights", rows)?;
        let sums = output(&mut sums, "sums", components)?;
        let u = input(&u, "u", u.len())?;
        let shape = minimality::Power { p, eps, components };
        py.detach(|| minimality::forward(u, weights, shape, sums, threads));
        Ok(())
    }

    /// Fill `grad_u` (N, C) from `grad_sums` (C).
    #[pyfunction]
    #[pyo3(signature = (u, weights, p, eps, grad_sums, grad_u, threads))]
    fn minimality_backward(
        py: Python<'_>,
        u: Input<'_>,
        weights: Option<Input<'_>>,
        p: f32,
        eps: f32,
        grad_sums: Input<'_>,
        mut grad_u: Output<'_>,
        threads: usize,
    ) -> PyResult<()> {
        let components = grad_sums.len();
        let rows = rows("u", u.len(), components)?;
        let weights = optional(weights.as_ref(), "weights", rows)?;
        let grad_sums = input(&grad_sums, "grad_sums", components)?;
        let grad_u = output(&mut grad_u, "grad_u", u.len())?;
        let u = input(&u, "u", u.len())?;
        let shape = minimality::Power { p, eps, components };
        py.detach(|| minimality::backward(u, weights, shape, grad_sums, grad_u, threads));
        Ok(())
    }
}
