//! Numbers as they lie in memory: float32, or bfloat16, which is the upper half of a float32.
//!
//! Kernels compute in float32. What is stored in fewer bits is widened strip by strip, in the first-level
//! cache, which costs less than a wider matrix in memory would.

use multiversion::multiversion;

/// A stored number.
pub trait Element: Copy + Default + Send + Sync {
    /// The values as float32; `scratch`, of the same length, is filled only where they are not.
    fn widen<'a>(values: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32];
    /// Store float32 values, rounded to nearest, ties to even.
    fn narrow(values: &[f32], stored: &mut [Self]);
}

impl Element for f32 {
    fn widen<'a>(values: &'a [Self], _scratch: &'a mut [f32]) -> &'a [f32] {
        values
    }

    fn narrow(values: &[f32], stored: &mut [Self]) {
        stored.copy_from_slice(values);
    }
}

/// A bfloat16, as its bits.
pub type Bf16 = u16;

impl Element for Bf16 {
    fn widen<'a>(values: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32] {
        widen_bf16(values, scratch);
        scratch
    }

    fn narrow(values: &[f32], stored: &mut [Self]) {
        narrow_bf16(values, stored);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn widen_bf16(values: &[Bf16], wide: &mut [f32]) {
    let n = wide.len();
    let values = &values[..n];
    for i in 0..n {
        wide[i] = f32::from_bits(u32::from(values[i]) << 16);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
#[expect(clippy::cast_possible_truncation, reason = "the upper half of 32 bits")]
fn narrow_bf16(values: &[f32], stored: &mut [Bf16]) {
    let n = stored.len();
    let values = &values[..n];
    for i in 0..n {
        let bits = values[i].to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        // Rounding could carry the last bits of a NaN into an infinity.
        let nan = (bits >> 16) | 0x40;
        stored[i] = if values[i].is_nan() { nan } else { rounded } as Bf16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(value: f32) -> Bf16 {
        let mut bits = [0];
        Bf16::narrow(&[value], &mut bits);
        bits[0]
    }

    #[test]
    fn every_bfloat16_survives_the_way_there_and_back() {
        for bits in 0..=u16::MAX {
            let mut wide = [0.0];
            let value = Bf16::widen(&[bits], &mut wide)[0];
            if value.is_nan() {
                assert!(f32::from_bits(u32::from(stored(value)) << 16).is_nan());
            } else {
                assert_eq!(stored(value), bits);
            }
        }
    }

    #[test]
    fn rounding_is_to_nearest_with_ties_to_even() {
        assert_eq!(stored(f32::from_bits(0x3f80_8000)), 0x3f80);
        assert_eq!(stored(f32::from_bits(0x3f81_8000)), 0x3f82);
        assert_eq!(stored(f32::from_bits(0x3f80_8001)), 0x3f81);
        assert_eq!(stored(f32::INFINITY), 0x7f80);
    }
}
