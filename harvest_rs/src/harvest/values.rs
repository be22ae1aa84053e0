//! Arrays of floating-point numbers as they lie in memory: 32 bits, or 16 bits of either kind.

/// How one number is stored and widened.
pub trait Format {
    /// The stored form.
    type Raw: Copy + Send + Sync;

    /// Zero, as it is stored.
    const ZERO: Self::Raw;

    /// The number itself; exact for every format.
    fn widen(raw: Self::Raw) -> f32;

    /// Zero exactly for plus and minus zero.
    fn magnitude_bits(raw: Self::Raw) -> u32;
}

/// An integer that is larger for a larger number from zero up, and larger still for negatives and NaN.
///
/// One integer maximum over these finds both the largest number and every number that may not be there.
#[inline(always)]
pub fn order_bits(x: f32) -> u32 {
    // The sum turns minus zero into zero and is exact for everything else.
    (x + 0.0).to_bits()
}

/// A number in 16 bits. Magnitudes are compared as the integers they are stored as, whose order is theirs.
pub trait Narrow: Format<Raw = u16> {
    /// Binary digits of the fraction that is stored.
    const FRACTION: u32;

    /// The stored magnitude of a power of two; zero for those below the normal numbers.
    fn power(exponent: i32) -> u16;

    /// As `widen`, of a finite number.
    fn widen_finite(raw: u16) -> f32;
}

/// IEEE single precision.
pub struct F32;

/// IEEE half precision, as its bits.
pub struct F16;

/// The upper half of single precision, as its bits.
pub struct Bf16;

impl Format for F32 {
    type Raw = f32;

    const ZERO: f32 = 0.0;

    #[inline(always)]
    fn widen(raw: f32) -> f32 {
        raw
    }

    #[inline(always)]
    fn magnitude_bits(raw: f32) -> u32 {
        raw.to_bits() & 0x7fff_ffff
    }
}

impl Format for Bf16 {
    type Raw = u16;

    const ZERO: u16 = 0;

    #[inline(always)]
    fn widen(raw: u16) -> f32 {
        f32::from_bits(u32::from(raw) << 16)
    }

    #[inline(always)]
    fn magnitude_bits(raw: u16) -> u32 {
        u32::from(raw & 0x7fff)
    }
}

/// Moves the exponent of half precision by 127 - 15 = 112; the product also makes subnormals right.
const RESCALE: f32 = f32::from_bits((127 + 112) << 23);

impl Format for F16 {
    type Raw = u16;

    const ZERO: u16 = 0;

    #[inline(always)]
    fn widen(raw: u16) -> f32 {
        let magnitude = u32::from(raw & 0x7fff);
        let sign = u32::from(raw & 0x8000) << 16;
        let finite = (f32::from_bits(magnitude << 13) * RESCALE).to_bits();
        let special = 0x7f80_0000 | (magnitude << 13);
        f32::from_bits(sign | if magnitude >= 0x7c00 { special } else { finite })
    }

    #[inline(always)]
    fn magnitude_bits(raw: u16) -> u32 {
        u32::from(raw & 0x7fff)
    }
}

impl Narrow for Bf16 {
    const FRACTION: u32 = 7;

    fn power(exponent: i32) -> u16 {
        u16::try_from(127 + exponent).unwrap_or(0) << Self::FRACTION
    }

    #[inline(always)]
    fn widen_finite(raw: u16) -> f32 {
        Self::widen(raw)
    }
}

impl Narrow for F16 {
    const FRACTION: u32 = 10;

    fn power(exponent: i32) -> u16 {
        u16::try_from(15 + exponent).unwrap_or(0) << Self::FRACTION
    }

    #[inline(always)]
    fn widen_finite(raw: u16) -> f32 {
        // The sign is drawn out over the bits above it, of which only the highest is kept.
        let bits = (i32::from(raw.cast_signed()) << 13).cast_unsigned() & 0x8fff_ffff;
        f32::from_bits(bits) * RESCALE
    }
}

/// A borrowed array of one of the formats.
#[derive(Clone, Copy)]
pub enum Values<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// Half precision.
    F16(&'a [u16]),
    /// bfloat16.
    Bf16(&'a [u16]),
}

impl Values<'_> {
    /// How many numbers there are.
    pub fn len(&self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::F16(values) | Values::Bf16(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Read one number of every cache line of a range, in order, so that the whole range is in the cache.
    pub fn warm(&self, range: std::ops::Range<usize>) {
        let bits = match self {
            Values::F32(values) => {
                values[range].iter().step_by(16).fold(0, |bits, value| bits ^ value.to_bits())
            }
            Values::F16(values) | Values::Bf16(values) => {
                values[range].iter().step_by(32).fold(0, |bits, value| bits ^ u32::from(*value))
            }
        };
        std::hint::black_box(bits);
    }

    /// Number `index`.
    #[inline]
    pub fn at(&self, index: usize) -> f32 {
        match self {
            Values::F32(values) => values[index],
            Values::F16(values) => F16::widen(values[index]),
            Values::Bf16(values) => Bf16::widen(values[index]),
        }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "widening is exact")]
#[expect(clippy::excessive_precision, reason = "the values that the bits stand for")]
mod tests {
    use super::*;

    #[test]
    fn half_precision_widens_exactly() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0x3c01, 1.0 + 1.0 / 1024.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 6.103_515_625e-5),
            (0x0001, 5.960_464_477_539_063e-8),
            (0x03ff, 6.097_555_160_522_461e-5),
            (0x3555, 0.333_251_953_125),
        ] {
            assert_eq!(F16::widen(bits), value, "{bits:#x}");
        }
        assert!(F16::widen(0x7e00).is_nan());
        assert_eq!(F16::widen(0x7c00), f32::INFINITY);
        assert_eq!(F16::widen(0xfc00), f32::NEG_INFINITY);
        assert_eq!(F16::widen(0x8000).to_bits(), 0x8000_0000);
    }

    #[test]
    fn finite_numbers_widen_alike_in_both_ways() {
        for bits in 0..=u16::MAX {
            if F16::widen(bits).is_finite() {
                assert_eq!(F16::widen_finite(bits).to_bits(), F16::widen(bits).to_bits(), "{bits:#x}");
            }
        }
    }

    #[test]
    fn powers_are_stored_as_they_widen() {
        for exponent in -14_i16..16 {
            let value = f32::from(exponent).exp2();
            assert_eq!(F16::widen(F16::power(exponent.into())), value);
            assert_eq!(Bf16::widen(Bf16::power(exponent.into())), value);
        }
        assert_eq!(F16::power(-20), 0);
    }

    #[test]
    fn bfloat16_is_the_upper_half() {
        assert_eq!(Bf16::widen(0x3f80), 1.0);
        assert_eq!(Bf16::widen(0xbfc0), -1.5);
        assert!(Bf16::widen(0x7fc0).is_nan());
    }
}
