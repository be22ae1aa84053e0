//! Exact GELU, x Phi(x), and its derivative, sharing one exponential.
//!
//! With z = |x| the lower tail of the normal distribution is Phi(-z) = exp(-z^2 / 2) P(t), t = 1 / (1 + p z)
//! (the form of Abramowitz and Stegun 7.1.26; P here has degree 7 and was fitted in relative error, 4e-8 up
//! to z = 6). Then gelu(x) = max(x, 0) - z Phi(-z), so the exponential also gives the density in gelu'.

use crate::elementary::{exp2_product, mul_add, polynomial};

/// Scale of |x| inside t = 1 / (1 + p |x|).
const TAIL_SCALE: f32 = 0.33;

/// Mills-like ratio Phi(-z) exp(z^2 / 2) as a polynomial in t.
const TAIL: [f32; 8] = [
    -0.000_211_764_7,
    0.135_115_96,
    0.107_311_47,
    0.212_777_04,
    -0.137_792_07,
    0.374_665_54,
    -0.241_753_03,
    0.049_886_88,
];

/// Beyond this |x| the tail is below 1e-38 and would leave the normal float range.
const LARGEST: f32 = 13.2;

/// -log2(e) / 2: turns z^2 into the base-2 exponent of the normal density.
const HALF_LOG2_E: f32 = -0.5 * std::f32::consts::LOG2_E;

/// 1 / sqrt(2 pi).
const DENSITY_AT_ZERO: f32 = 0.398_942_3;

/// exp(-z^2 / 2) and P(t) for z = |x| (clamped), in this order, with z itself.
#[inline(always)]
fn tail<const FMA: bool>(x: f32) -> (f32, f32, f32) {
    let z = x.abs().min(LARGEST);
    let bell = exp2_product::<FMA>(z * HALF_LOG2_E, z);
    let t = 1.0 / mul_add::<FMA>(z, TAIL_SCALE, 1.0);
    (z, bell, polynomial::<FMA, 8>(t, &TAIL))
}

/// gelu(x); absolute error below 2e-7 for |x| < 10, NaN stays NaN.
#[inline(always)]
pub fn gelu<const FMA: bool>(x: f32) -> f32 {
    let (z, bell, ratio) = tail::<FMA>(x);
    // The comparison this way round keeps a NaN in `x`.
    let positive = if x < 0.0 { 0.0 } else { x };
    mul_add::<FMA>(-(z * bell), ratio, positive)
}

/// gelu(x) and gelu'(x) = Phi(x) + x phi(x); absolute error below 4e-7.
#[inline(always)]
pub fn gelu_and_slope<const FMA: bool>(x: f32) -> (f32, f32) {
    let (z, bell, ratio) = tail::<FMA>(x);
    let positive = if x < 0.0 { 0.0 } else { x };
    let value = mul_add::<FMA>(-(z * bell), ratio, positive);
    // Phi(-z) - z phi(z): the slope at -z; the slope at +z is one minus it.
    let left = bell * mul_add::<FMA>(-DENSITY_AT_ZERO, z, ratio);
    let slope = if x > 0.0 { 1.0 - left } else { left };
    (value, slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Phi(x) by Simpson's rule in double precision.
    fn normal_cdf(x: f64) -> f64 {
        let density = |u: f64| (-0.5 * u * u).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let n = 4000_u32;
        let h = x / f64::from(n);
        let mut sum = density(0.0) + density(x);
        for i in 1..n {
            sum += density(h * f64::from(i)) * if i % 2 == 1 { 4.0 } else { 2.0 };
        }
        0.5 + sum * h / 3.0
    }

    #[test]
    fn value_and_slope_match_the_exact_formula() {
        for i in -1000_i16..=1000 {
            let x = f32::from(i) / 100.0;
            let wide = f64::from(x);
            let phi = (-0.5 * wide * wide).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let (value, slope) = gelu_and_slope::<true>(x);
            let scale = wide.abs().max(1.0);
            assert!((f64::from(value) - wide * normal_cdf(wide)).abs() < 2e-7 * scale, "{x}: {value}");
            assert!((f64::from(slope) - normal_cdf(wide) - wide * phi).abs() < 4e-7, "{x}: {slope}");
            assert!((gelu::<false>(x) - value).abs() < 3e-7 * x.abs().max(1.0));
            assert_eq!(gelu::<true>(x).to_bits(), value.to_bits());
        }
    }

    #[test]
    fn far_values_saturate_and_nan_stays() {
        assert_eq!(gelu_and_slope::<true>(50.0), (50.0, 1.0));
        let (value, slope) = gelu_and_slope::<true>(-50.0);
        assert!(value.abs() < 1e-30 && slope.abs() < 1e-30);
        assert!(gelu::<true>(f32::NAN).is_nan());
    }
}
