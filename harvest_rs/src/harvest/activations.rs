//! Sums of component activations, of which every single one counts.

use std::ops::Range;

use multiversion::multiversion;

use super::fixed_point::{ACTIVATION_DIGITS, ACTIVATION_LIMIT, biased, offset, units};
use super::values::{Bf16, F16, F32, Format, Narrow, Values, order_bits};

/// Rows whose activations are added together before the sums in memory are touched.
pub const GROUP: usize = 8;

/// Activations that are added at once.
const LANES: usize = 16;

/// Activations in 16 bits that are added at once.
const NARROW_LANES: usize = 32;

/// Add at most `GROUP` whole rows of activations to `sums`; false when a value is out of range.
pub fn add_activations(values: Values<'_>, rows: Range<usize>, sums: &mut [i64]) -> bool {
    match values {
        Values::F32(values) => activations_f32(&values[rows], sums),
        Values::F16(values) => activations_f16(&values[rows], sums),
        Values::Bf16(values) => activations_bf16(&values[rows], sums),
    }
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2", "aarch64+neon"))]
fn activations_f32(rows: &[f32], sums: &mut [i64]) -> bool {
    activation_group::<F32>(whole_group(rows, sums.len(), &mut Vec::new(), F32::ZERO), sums)
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2", "aarch64+neon"))]
fn activations_f16(rows: &[u16], sums: &mut [i64]) -> bool {
    narrow_group::<F16>(whole_group(rows, sums.len(), &mut Vec::new(), F16::ZERO), sums)
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2", "aarch64+neon"))]
fn activations_bf16(rows: &[u16], sums: &mut [i64]) -> bool {
    narrow_group::<Bf16>(whole_group(rows, sums.len(), &mut Vec::new(), Bf16::ZERO), sums)
}

/// The rows one by one; of the last rows of a strip `zeros` stand for those that are missing.
#[inline(always)]
fn whole_group<'a, T: Copy>(rows: &'a [T], width: usize, zeros: &'a mut Vec<T>, zero: T) -> [&'a [T]; GROUP] {
    if rows.len() < GROUP * width {
        zeros.resize(width, zero);
    }
    std::array::from_fn(|index| rows.get(index * width..(index + 1) * width).unwrap_or(zeros))
}

#[inline(always)]
#[expect(clippy::cast_possible_wrap, reason = "wrapping sums whose true value is known to fit")]
fn activation_group<F: Format>(rows: [&[F::Raw]; GROUP], sums: &mut [i64]) -> bool {
    let bias = const { offset::<ACTIVATION_DIGITS>().wrapping_mul(GROUP as u64) };
    let mut largest = [0_u32; LANES];
    let (chunks, tail) = sums.as_chunks_mut::<LANES>();
    let (count, whole) = (chunks.len(), chunks.len() * LANES);
    let in_chunks = rows.map(|row| &row.as_chunks::<LANES>().0[..count]);
    for (index, sums) in chunks.iter_mut().enumerate() {
        let chunk = in_chunks.map(|row| &row[index]);
        for lane in 0..LANES {
            let mut sum = 0_u64.wrapping_sub(bias);
            for row in chunk {
                let x = F::widen(row[lane]);
                largest[lane] = largest[lane].max(order_bits(x.abs()));
                sum = sum.wrapping_add(biased::<ACTIVATION_DIGITS>(x));
            }
            sums[lane] = sums[lane].wrapping_add(sum as i64);
        }
    }
    for row in rows {
        for (raw, sum) in row[whole..].iter().zip(tail.iter_mut()) {
            let x = F::widen(*raw);
            largest[0] = largest[0].max(order_bits(x.abs()));
            *sum = sum.wrapping_add(units::<ACTIVATION_DIGITS>(x));
        }
    }
    largest.into_iter().all(|bits| bits < ACTIVATION_LIMIT.to_bits())
}

/// Numbers in 16 bits are whole numbers of units unless they are tiny, and then add up exactly as doubles: only
/// the sum is made an integer. Where there are others, each is, as in `activation_group`.
#[inline(always)]
fn narrow_group<F: Narrow>(rows: [&[u16]; GROUP], sums: &mut [i64]) -> bool {
    let (chunks, tail) = sums.as_chunks_mut::<NARROW_LANES>();
    let (count, whole) = (chunks.len(), chunks.len() * NARROW_LANES);
    let in_chunks = rows.map(|row| &row.as_chunks::<NARROW_LANES>().0[..count]);
    let mut ok = true;
    for (index, sums) in chunks.iter_mut().enumerate() {
        let chunk = in_chunks.map(|row| &row[index]);
        if are_whole::<F>(chunk) {
            for lane in 0..NARROW_LANES {
                let mut sum = 0.0;
                for row in chunk {
                    sum += f64::from(F::widen_finite(row[lane]));
                }
                sums[lane] = sums[lane].wrapping_add(units::<ACTIVATION_DIGITS>(sum));
            }
        } else {
            ok &= activation_group::<F>(chunk.map(<[u16; NARROW_LANES]>::as_slice), sums);
        }
    }
    ok & activation_group::<F>(rows.map(|row| &row[whole..]), tail)
}

/// Whether all are whole numbers of units, and so small that `units` is right for the sum of a group.
#[inline(always)]
fn are_whole<F: Narrow>(rows: [&[u16; NARROW_LANES]; GROUP]) -> bool {
    // The last digit of the smallest power of two allowed is one unit.
    let least = F::power(F::FRACTION.cast_signed() - ACTIVATION_DIGITS);
    let limit = F::power(16);
    let mut largest = [0_u16; NARROW_LANES];
    let mut smallest = [u16::MAX; NARROW_LANES];
    for row in rows {
        for lane in 0..NARROW_LANES {
            let magnitude = row[lane] & 0x7fff;
            largest[lane] = largest[lane].max(magnitude);
            // Zero, which is a whole number too, becomes the largest.
            smallest[lane] = smallest[lane].min(magnitude.wrapping_sub(1));
        }
    }
    let mut wrong = false;
    for lane in 0..NARROW_LANES {
        wrong |= largest[lane] >= limit;
        wrong |= smallest[lane] < least;
    }
    !wrong
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "small numbers")]
mod tests {
    use super::*;
    use crate::harvest::draws::Draws;

    /// Both 16-bit formats of the same bits.
    fn formats(bits: &[u16]) -> [Values<'_>; 2] {
        [Values::F16(bits), Values::Bf16(bits)]
    }

    /// Bits of numbers in the range of both formats: anything, of usual size, tiny, or zero.
    fn draw(draws: &mut Draws, kind: u32) -> u16 {
        let sign = (draws.below(2) << 15) as u16;
        let magnitude = match kind {
            0 => draws.below(0x4980),
            1 => 0x3c00 + draws.below(0x400),
            2 => draws.below(4) * draws.below(0x3600),
            _ => 0,
        };
        sign | magnitude.min(0x497f) as u16
    }

    #[test]
    fn sums_are_those_of_the_values_one_by_one() {
        let mut draws = Draws::new(9);
        for width in [1, 31, 32, 33, 64, 203] {
            for rows in 1..=GROUP {
                for round in 0..12 {
                    let bits: Vec<u16> = (0..rows * width).map(|_| draw(&mut draws, round % 4)).collect();
                    for values in formats(&bits) {
                        let mut expected = vec![7; width];
                        for index in 0..bits.len() {
                            expected[index % width] += units::<ACTIVATION_DIGITS>(values.at(index));
                        }
                        let mut sums = vec![7; width];
                        assert!(add_activations(values, 0..bits.len(), &mut sums));
                        assert_eq!(sums, expected, "{width} {rows} {round}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_largest_and_the_smallest_count_exactly() {
        // bfloat16 around one unit, 2^-30, and the most that is allowed; half precision at its ends.
        let brain = [0x30ff, 0x3100, 0x3080, 0x3081, 0x33ff, 0x3400, 0x3401, 0x497f, 0xc97f, 0x477f, 0x4780];
        let half = [0x0001, 0x8001, 0x03ff, 0x0400, 0x7bff, 0xfbff, 0x7800, 0x3c00];
        for (bits, is_half) in [(&brain[..], false), (&half[..], true)] {
            for &one in bits {
                for &other in bits {
                    let row: Vec<u16> =
                        (0..40).map(|column| if column % 3 == 0 { one } else { other }).collect();
                    let group = row.repeat(GROUP);
                    let values = if is_half { Values::F16(&group) } else { Values::Bf16(&group) };
                    let mut sums = vec![0; 40];
                    assert!(add_activations(values, 0..group.len(), &mut sums));
                    for (column, sum) in sums.into_iter().enumerate() {
                        let each = units::<ACTIVATION_DIGITS>(values.at(column));
                        assert_eq!(sum, GROUP as i64 * each, "{one:#x} {other:#x}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_activation_is_refused_wherever_it_stands() {
        let width = 70;
        for at in 0..GROUP * width {
            let mut bits = vec![0x3c00; GROUP * width];
            // Infinity, NaN, and for bfloat16 2^20 too.
            for (half, brain) in [(0x7c00, 0x7f80), (0xfc01, 0xffc0), (0x7e00, 0x4980), (0xfc00, 0xc980)] {
                bits[at] = half;
                assert!(!add_activations(Values::F16(&bits), 0..bits.len(), &mut vec![0; width]), "{at}");
                bits[at] = brain;
                assert!(!add_activations(Values::Bf16(&bits), 0..bits.len(), &mut vec![0; width]), "{at}");
            }
        }
    }
}
