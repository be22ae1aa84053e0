//! Sums as integers: every number is rounded once to a multiple of a fixed unit, then only integers are
//! added, so a sum has the same bits in any order, batch split, thread count or merge.
//!
//! | quantity | unit | range | bits kept |
//! |---|---|---|---|
//! | causal importance | 2^-40 | [0, 1] | all 24 of a float down to 2^-16, absolute error 2^-41 below |
//! | component activation | 2^-30 | below 2^20 in magnitude | all 24 down to 2^-6, absolute error 2^-31 below |
//! | output probability | 2^-31 | [0, `LARGEST_PROBABILITY`] | all 24 down to 2^-7, absolute error 2^-32 below |
//!
//! A mean over any number of positions is therefore off by at most half a unit. Rounding is to nearest, ties
//! to even. Sums over at most `TILE` positions fit in 64 bits; beyond that they are held in 128.

/// Positions whose sums are held in 64 bits before they go into 128.
pub const TILE: usize = 4096;

/// Binary digits after the point of a causal importance.
pub const IMPORTANCE_DIGITS: i32 = 40;

/// Binary digits after the point of a component activation.
pub const ACTIVATION_DIGITS: i32 = 30;

/// Binary digits after the point of a probability.
pub const PROBABILITY_DIGITS: i32 = 31;

/// Component activations must be smaller than this in magnitude: `TILE` of them stay below 2^62 units.
pub const ACTIVATION_LIMIT: f32 = 1_048_576.0;

/// The largest value taken for a probability: one, and what rounding in 16 bits may add.
pub const LARGEST_PROBABILITY: f32 = 1.015_625;

/// 1.5 x 2^52: added to a double below 2^51 it leaves the rounded integer in the low mantissa bits.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// The addend for a unit of 2^-digits.
#[expect(clippy::cast_precision_loss, reason = "powers of two are exact")]
const fn rounder(digits: i32) -> f64 {
    // Exact: a power of two only changes the exponent.
    ROUNDER / (1_u64 << digits) as f64
}

/// Bits of a double whose low mantissa bits hold `x` in units of 2^-DIGITS, with `OFFSET` on top.
#[inline(always)]
pub fn biased<const DIGITS: i32>(x: impl Into<f64>) -> u64 {
    (x.into() + const { rounder(DIGITS) }).to_bits()
}

/// What `biased` adds to the integer.
pub const fn offset<const DIGITS: i32>() -> u64 {
    rounder(DIGITS).to_bits()
}

/// `x` in units of 2^-DIGITS, rounded to nearest even; right for magnitudes below 2^(51 - DIGITS).
#[inline(always)]
#[expect(clippy::cast_possible_wrap, reason = "the difference of two close bit patterns is a small integer")]
pub fn units<const DIGITS: i32>(x: impl Into<f64>) -> i64 {
    biased::<DIGITS>(x).wrapping_sub(const { offset::<DIGITS>() }) as i64
}

/// A probability in units of 2^-31; right for [0, 2).
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "below 2^32 for a probability below two")]
pub fn probability_units(p: f32) -> u32 {
    biased::<PROBABILITY_DIGITS>(p) as u32
}

/// A sum of units as the nearest double.
#[expect(clippy::cast_precision_loss, reason = "rounded to nearest, which is the purpose")]
pub fn to_f64(sum: i128, digits: i32) -> f64 {
    sum as f64 * (-f64::from(digits)).exp2()
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "exactness is what is tested")]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::cast_possible_truncation)]
    fn units_are_rounded_to_nearest_even() {
        for x in [0.0_f32, 1.0, 0.5, 1e-3, 0.333_333, 7.7e-13, 4.547_474e-13, 1e-20] {
            let exact = (f64::from(x) * f64::from(IMPORTANCE_DIGITS).exp2()).round_ties_even();
            assert_eq!(units::<IMPORTANCE_DIGITS>(x), exact as i64, "{x}");
        }
        for x in [-3.25_f32, 1_048_575.9, -1_048_575.9, 2.5e-9, -1e-9, 1.396_983_9e-9] {
            let exact = (f64::from(x) * f64::from(ACTIVATION_DIGITS).exp2()).round_ties_even();
            assert_eq!(units::<ACTIVATION_DIGITS>(x), exact as i64, "{x}");
        }
        assert_eq!(probability_units(1.0), 1 << 31);
        assert_eq!(probability_units(0.0), 0);
        assert_eq!(probability_units(LARGEST_PROBABILITY), 2_181_038_080);
    }

    #[test]
    fn a_tile_of_the_largest_values_fits() {
        let largest = i128::from(units::<ACTIVATION_DIGITS>(ACTIVATION_LIMIT.next_down()));
        assert!(largest * i128::try_from(TILE).unwrap_or(0) < 1 << 62);
        assert_eq!(to_f64(3 << 29, ACTIVATION_DIGITS), 1.5);
    }
}
