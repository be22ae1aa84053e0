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

impl Format for F16 {
    type Raw = u16;

    const ZERO: u16 = 0;

    #[inline(always)]
    fn widen(raw: u16) -> f32 {
        const RESCALE: f32 = f32::from_bits((127 + 112) << 23);
        let magnitude = u32::from(raw & 0x7fff);
        let sign = u32::from(raw & 0x8000) << 16;
        // The exponent moves by 127 - 15 = 112; the product also makes subnormals right.
        let finite = (f32::from_bits(magnitude << 13) * RESCALE).to_bits();
        let special = 0x7f80_0000 | (magnitude << 13);
        f32::from_bits(sign | if magnitude >= 0x7c00 { special } else { finite })
    }

    #[inline(always)]
    fn magnitude_bits(raw: u16) -> u32 {
        u32::from(raw & 0x7fff)
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
    fn bfloat16_is_the_upper_half() {
        assert_eq!(Bf16::widen(0x3f80), 1.0);
        assert_eq!(Bf16::widen(0xbfc0), -1.5);
        assert!(Bf16::widen(0x7fc0).is_nan());
    }
}
