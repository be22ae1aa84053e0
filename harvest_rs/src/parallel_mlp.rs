//! C independent scalar-to-scalar networks, one for each subcomponent: the `mlp` importance function.
//!
//! `out[n, c] = b2[c] + sum_k w2[c, k] gelu(a[n, c] w1[c, k] + b1[c, k])`
//!
//! Matrices are row-major: activations (N, C), weights (C, H). The work is cut into the items of
//! `tiles`; within one it runs over the rows of one component and one hidden unit at a time. The backward pass computes the hidden
//! layer again instead of storing it: that is cheaper than the memory traffic.

use multiversion::multiversion;
use multiversion::target::target_cfg_f;

use crate::elementary::mul_add;
use crate::gelu::{gelu, gelu_and_slope};
use crate::tiles::{BLOCK_COMPONENTS, BLOCK_ROWS, LANES, Lanes, blocks, gather, new_tile, scatter};
use crate::workers::for_each;

/// The networks' parameters: `w1`, `b1`, `w2` are (C, H).
#[derive(Clone, Copy)]
pub struct Networks<'a> {
    /// Input weights.
    pub w1: &'a [f32],
    /// Hidden biases.
    pub b1: &'a [f32],
    /// Output weights.
    pub w2: &'a [f32],
    /// Number of components C.
    pub components: usize,
}

impl<'a> Networks<'a> {
    fn hidden(&self) -> usize {
        self.w1.len() / self.components.max(1)
    }

    fn of(&self, component: usize) -> [&'a [f32]; 3] {
        let range = component * self.hidden()..(component + 1) * self.hidden();
        [&self.w1[range.clone()], &self.b1[range.clone()], &self.w2[range]]
    }
}

/// Gradients of the parameters, in the layout of `Networks`; `b2` is (C).
pub struct ParameterGradients<'a> {
    /// Input weights.
    pub w1: &'a mut [f32],
    /// Hidden biases.
    pub b1: &'a mut [f32],
    /// Output weights.
    pub w2: &'a mut [f32],
    /// Output biases.
    pub b2: &'a mut [f32],
}

/// Fill `out` (N, C) with the networks' outputs.
pub fn forward(a: &[f32], networks: Networks<'_>, b2: &[f32], out: &mut [f32], threads: usize) {
    let components = networks.components;
    if out.is_empty() {
        return;
    }
    let tiles = || (new_tile(), new_tile());
    for_each(threads, blocks(out, components), tiles, |(input, output), (block, mut pieces)| {
        gather(a, components, block, input);
        for column in 0..block.width {
            let component = block.first_component + column;
            let outputs = &mut output[column][..block.chunks()];
            outputs.fill([b2[component]; LANES]);
            forward_column(&input[column][..block.chunks()], networks.of(component), outputs);
        }
        scatter(output, &mut pieces);
    });
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn forward_column(inputs: &[Lanes], network: [&[f32]; 3], outputs: &mut [Lanes]) {
    const FMA: bool = target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"));
    let [w1, b1, w2] = network;
    for ((&w1, &b1), &w2) in w1.iter().zip(b1).zip(w2) {
        for (a, out) in inputs.iter().zip(outputs.iter_mut()) {
            for lane in 0..LANES {
                let hidden = gelu::<FMA>(mul_add::<FMA>(a[lane], w1, b1));
                out[lane] = mul_add::<FMA>(w2, hidden, out[lane]);
            }
        }
    }
}

/// Fill `grad_a` (N, C) and the parameters' gradients from `grad_out` (N, C).
pub fn backward(
    a: &[f32],
    networks: Networks<'_>,
    grad_out: &[f32],
    grad_a: &mut [f32],
    gradients: &mut ParameterGradients<'_>,
    threads: usize,
) {
    let components = networks.components;
    let per_component = 3 * networks.hidden() + 1;
    let per_item = BLOCK_COMPONENTS * per_component;
    let row_blocks = (a.len() / components.max(1)).div_ceil(BLOCK_ROWS);
    let column_blocks = components.div_ceil(BLOCK_COMPONENTS);
    // Partial sums of every item: b2, then w1, b1, w2 for each of its components.
    let mut partials = vec![0.0; row_blocks * column_blocks * per_item];
    if !grad_a.is_empty() {
        let items = blocks(grad_a, components).zip(partials.chunks_mut(per_item));
        let tiles = || (new_tile(), new_tile(), new_tile());
        for_each(threads, items, tiles, |(input, upstream, downstream), ((block, mut pieces), partial)| {
            gather(a, components, block, input);
            gather(grad_out, components, block, upstream);
            let chunks = block.chunks();
            for (column, sums) in partial.chunks_mut(per_component).take(block.width).enumerate() {
                let network = networks.of(block.first_component + column);
                let grads = &mut downstream[column][..chunks];
                grads.fill([0.0; LANES]);
                backward_column(&input[column][..chunks], &upstream[column][..chunks], network, grads, sums);
            }
            scatter(downstream, &mut pieces);
        });
    }
    reduce(&partials, column_blocks * per_item, networks, gradients);
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn backward_column(
    inputs: &[Lanes],
    upstream: &[Lanes],
    network: [&[f32]; 3],
    downstream: &mut [Lanes],
    sums: &mut [f32],
) {
    const FMA: bool = target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"));
    let [w1, b1, w2] = network;
    let (sum_b2, sums) = sums.split_at_mut(1);
    let mut total = [0.0; LANES];
    for g in upstream {
        for lane in 0..LANES {
            total[lane] += g[lane];
        }
    }
    sum_b2[0] = add_lanes(total);
    let (sums_w1, sums) = sums.split_at_mut(w1.len());
    let (sums_b1, sums_w2) = sums.split_at_mut(w1.len());
    for k in 0..w1.len() {
        let (w1, b1, w2) = (w1[k], b1[k], w2[k]);
        let product = w1 * w2;
        let (mut sum_w1, mut sum_b1, mut sum_w2) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for ((a, g), down) in inputs.iter().zip(upstream).zip(downstream.iter_mut()) {
            for lane in 0..LANES {
                let (value, slope) = gelu_and_slope::<FMA>(mul_add::<FMA>(a[lane], w1, b1));
                let flow = g[lane] * slope;
                down[lane] = mul_add::<FMA>(flow, product, down[lane]);
                sum_w1[lane] = mul_add::<FMA>(flow, a[lane], sum_w1[lane]);
                sum_b1[lane] += flow;
                sum_w2[lane] = mul_add::<FMA>(g[lane], value, sum_w2[lane]);
            }
        }
        sums_w1[k] = w2 * add_lanes(sum_w1);
        sums_b1[k] = w2 * add_lanes(sum_b1);
        sums_w2[k] = add_lanes(sum_w2);
    }
}

/// Sum of lanes by halving, always in the same order.
#[inline(always)]
fn add_lanes(mut lanes: Lanes) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Add the items' partial sums over the row blocks, in double precision and in a fixed order.
fn reduce(partials: &[f32], per_row_block: usize, networks: Networks<'_>, out: &mut ParameterGradients<'_>) {
    let hidden = networks.hidden();
    let per_component = 3 * hidden + 1;
    for component in 0..networks.components {
        // Items hold whole blocks of components, so components follow one another in a row block.
        let start = component * per_component;
        let total = |index: usize| {
            narrow(partials.chunks(per_row_block).map(|block| f64::from(block[start + index])).sum())
        };
        out.b2[component] = total(0);
        for k in 0..hidden {
            let at = component * hidden + k;
            out.w1[at] = total(1 + k);
            out.b1[at] = total(1 + hidden + k);
            out.w2[at] = total(1 + 2 * hidden + k);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "results are single precision")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers without a pattern, in [-1, 1).
    fn noise(key: u64, n: usize) -> Vec<f32> {
        let mut values = vec![0.0; n];
        crate::noise::fill(key, 0, &mut values, 1);
        values.iter().map(|r| 2.0 * r - 1.0).collect()
    }

    struct Case {
        a: Vec<f32>,
        grad_out: Vec<f32>,
        /// w1, b1, w2.
        weights: [Vec<f32>; 3],
        b2: Vec<f32>,
    }

    impl Case {
        fn new(rows: usize, components: usize, hidden: usize) -> Self {
            Self {
                a: noise(1, rows * components).iter().map(|a| 3.0 * a).collect(),
                grad_out: noise(2, rows * components),
                weights: [3, 4, 5].map(|key| noise(key, components * hidden)),
                b2: noise(6, components),
            }
        }

        fn networks(&self) -> Networks<'_> {
            let [w1, b1, w2] = &self.weights;
            Networks { w1, b1, w2, components: self.b2.len() }
        }

        fn forward(&self, threads: usize) -> Vec<f32> {
            let mut out = vec![f32::NAN; self.a.len()];
            forward(&self.a, self.networks(), &self.b2, &mut out, threads);
            out
        }

        /// Gradients of a, w1, b1, w2, b2.
        fn backward(&self, threads: usize) -> [Vec<f32>; 5] {
            let unset = |like: &Vec<f32>| vec![f32::NAN; like.len()];
            let mut grad_a = unset(&self.a);
            let [mut w1, mut b1, mut w2] = self.weights.each_ref().map(unset);
            let mut b2 = unset(&self.b2);
            let mut gradients = ParameterGradients { w1: &mut w1, b1: &mut b1, w2: &mut w2, b2: &mut b2 };
            backward(&self.a, self.networks(), &self.grad_out, &mut grad_a, &mut gradients, threads);
            [grad_a, w1, b1, w2, b2]
        }

        /// The sum of outputs times upstream gradients: what `backward` differentiates.
        fn objective(&self) -> f64 {
            let pairs = self.forward(1).into_iter().zip(&self.grad_out);
            pairs.map(|(out, &grad)| f64::from(out) * f64::from(grad)).sum()
        }
    }

    #[test]
    fn output_is_the_sum_over_hidden_units() {
        let case = Case::new(70, 19, 3);
        let [w1, b1, w2] = &case.weights;
        for (index, out) in case.forward(1).into_iter().enumerate() {
            let component = index % 19;
            let units = component * 3..component * 3 + 3;
            let hidden = units.map(|k| w2[k] * gelu::<false>(case.a[index] * w1[k] + b1[k]));
            let expected = case.b2[component] + hidden.sum::<f32>();
            assert!((out - expected).abs() < 2e-6, "{index}: {out} {expected}");
        }
    }

    #[test]
    fn gradients_match_finite_differences() {
        let mut case = Case::new(600, 18, 2);
        let [grad_a, grad_w1, grad_b1, grad_w2, grad_b2] = case.backward(1);
        let step = 0.02_f32;
        let mut check = |pick: fn(&mut Case) -> &mut Vec<f32>, index: usize, measured: f32| {
            let original = pick(&mut case)[index];
            pick(&mut case)[index] = original + step;
            let above = case.objective();
            pick(&mut case)[index] = original - step;
            let below = case.objective();
            pick(&mut case)[index] = original;
            let expected = (above - below) / (2.0 * f64::from(step));
            assert!(
                (f64::from(measured) - expected).abs() < 1e-2 * expected.abs().max(1.0),
                "{measured} {expected}"
            );
        };
        for index in [0, 7, 35] {
            check(|case| &mut case.weights[0], index, grad_w1[index]);
            check(|case| &mut case.weights[1], index, grad_b1[index]);
            check(|case| &mut case.weights[2], index, grad_w2[index]);
            check(|case| &mut case.b2, index / 2, grad_b2[index / 2]);
            check(|case| &mut case.a, index * 300, grad_a[index * 300]);
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let case = Case::new(1100, 37, 4);
        assert_eq!(case.forward(1), case.forward(4));
        assert_eq!(case.backward(1), case.backward(3));
    }

    #[test]
    fn no_rows_give_zero_gradients() {
        let [grad_a, grad_w1, _, _, grad_b2] = Case::new(0, 3, 2).backward(2);
        assert!(grad_a.is_empty());
        assert!(grad_w1.iter().chain(&grad_b2).all(|&grad| grad == 0.0));
    }
}
