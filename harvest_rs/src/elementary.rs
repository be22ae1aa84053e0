//! Elementary functions as plain arithmetic, so that a loop over them becomes vector instructions.
//!
//! Every function takes a const parameter `FMA`: whether the machine code around it may use a fused
//! multiply-add. Without that instruction `f32::mul_add` is a slow library call, so it is avoided then.

/// `a * b + c`, fused where the hardware has it.
#[inline(always)]
pub fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Polynomial with the coefficients from the constant upwards (Horner's scheme).
#[inline(always)]
pub fn polynomial<const FMA: bool, const TERMS: usize>(x: f32, coefficients: &[f32; TERMS]) -> f32 {
    let mut sum = coefficients[TERMS - 1];
    let mut i = TERMS - 1;
    while i > 0 {
        i -= 1;
        sum = mul_add::<FMA>(sum, x, coefficients[i]);
    }
    sum
}

/// Adding this to a float of magnitude below 2^22 rounds it to an integer held in the low mantissa bits.
const ROUNDER: f32 = 12_582_912.0;

/// 2^f on [-1/2, 1/2], minimax in relative error (7.5e-8).
const EXP2: [f32; 6] = [1.000_000_1, 0.693_146_97, 0.240_221_2, 0.055_507_13, 0.009_675_54, 0.001_327_64];

/// 2^(integer + fraction) with `integer` already rounded by `ROUNDER`; the sum must lie in [-126, 127].
#[inline(always)]
fn exp2_split<const FMA: bool>(rounded: f32, fraction: f32) -> f32 {
    let scale = rounded.to_bits() << 23;
    f32::from_bits(polynomial::<FMA, 6>(fraction, &EXP2).to_bits().wrapping_add(scale))
}

/// 2^(a b) for a product in [-126, 127]; relative error below 3e-7 where the multiply-add is fused.
#[inline(always)]
pub fn exp2_product<const FMA: bool>(a: f32, b: f32) -> f32 {
    // The product is never rounded by itself: it is fused with both sums it enters.
    let rounded = mul_add::<FMA>(a, b, ROUNDER);
    exp2_split::<FMA>(rounded, mul_add::<FMA>(a, b, ROUNDER - rounded))
}

/// log2(1 + f) / f on [sqrt(1/2) - 1, sqrt(2) - 1], minimax in relative error (2.6e-8).
const LOG2: [f32; 9] = [
    std::f32::consts::LOG2_E,
    -0.721_347_35,
    0.480_910_65,
    -0.360_703_69,
    0.287_916_16,
    -0.238_944_55,
    0.215_716_26,
    -0.207_272_16,
    0.125_838_23,
];

/// NaN for NaN and infinity, else 0: added to a result, it lets a NaN through that bit tricks would hide.
#[inline(always)]
#[expect(clippy::eq_op, reason = "x - x is zero only for numbers")]
pub fn nan_or_zero(x: f32) -> f32 {
    x - x
}

/// The smallest base for which `power` with this exponent stays in the range of normal floats.
pub fn smallest_base(p: f32) -> f32 {
    // A power of 2^-125 at most; where the exponent is small the base itself is the limit.
    (-125.0 / p.abs()).exp2().max(f32::MIN_POSITIVE)
}

/// `x^p` for x >= 0 with p log2 x < 126; relative error about 2e-7. NaN stays NaN. Bases below `smallest`, which
/// is `smallest_base(p)`, count as that: their powers are 2^-125 or, for negative p, 2^125 at the most.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "an exponent fits in 9 bits")]
#[expect(clippy::cast_possible_wrap, reason = "the sign is wanted: exponents are centred")]
pub fn power<const FMA: bool>(x: f32, p: f32, smallest: f32) -> f32 {
    // Comparisons this way round keep a NaN in `x`.
    let x = if x < smallest { smallest } else { x };
    // Centre the mantissa on 1: [sqrt(1/2), sqrt(2)).
    let shifted = x.to_bits().wrapping_sub(std::f32::consts::FRAC_1_SQRT_2.to_bits());
    let exponent = ((shifted as i32) >> 23) as f32;
    let mantissa =
        f32::from_bits((shifted & 0x007f_ffff).wrapping_add(std::f32::consts::FRAC_1_SQRT_2.to_bits()));
    let f = mantissa - 1.0;
    let low = p * (f * polynomial::<FMA, 9>(f, &LOG2));
    // p * exponent is taken apart before `low` is added, which keeps the digits after the point.
    let rounded = mul_add::<FMA>(p, exponent, low) + ROUNDER;
    let fraction = mul_add::<FMA>(p, exponent, ROUNDER - rounded) + low;
    exp2_split::<FMA>(rounded, fraction) + nan_or_zero(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relative(measured: f32, exact: f64) -> f64 {
        (f64::from(measured) - exact).abs() / exact.abs()
    }

    #[test]
    fn exp2_is_accurate_over_its_range() {
        for i in -12_600_i16..12_700 {
            let x = f32::from(i) / 100.0;
            assert!(relative(exp2_product::<true>(x, 1.0), f64::from(x).exp2()) < 3e-7, "{x}");
            assert!(relative(exp2_product::<false>(x, 1.0), f64::from(x).exp2()) < 3e-7, "{x}");
        }
    }

    #[test]
    fn power_is_accurate_for_tiny_and_large_bases() {
        for p in [-1.1_f32, -0.5, 0.4, 0.9, 1.3, 2.0] {
            for i in -120_i16..60 {
                let x = (f32::from(i) / 3.0).exp2() * 1.1;
                let exact = f64::from(x).powf(f64::from(p));
                let smallest = smallest_base(p);
                assert!(relative(power::<true>(x, p, smallest), exact) < 5e-7, "{x}^{p}");
                assert!(relative(power::<false>(x, p, smallest), exact) < 4e-6, "{x}^{p}");
            }
        }
    }

    #[test]
    fn power_keeps_nan_and_does_not_divide_by_zero() {
        assert!(power::<true>(f32::NAN, 0.9, smallest_base(0.9)).is_nan());
        assert!(power::<true>(0.0, -0.5, smallest_base(-0.5)).is_finite());
        assert!(power::<true>(0.0, 0.9, smallest_base(0.9)) < 1e-30);
    }

    #[test]
    fn powers_too_small_for_a_float_are_next_to_nothing() {
        for p in [1.01_f32, 3.2, 4.0, 9.5, 60.0] {
            for x in [0.0, 1e-38, 1e-12, 1e-3] {
                let exact = f64::from(x).powf(f64::from(p));
                let measured = f64::from(power::<true>(x, p, smallest_base(p)));
                assert!((measured - exact).abs() <= 1e-6 * exact + 1e-37, "{x}^{p} {measured}");
            }
        }
    }
}
