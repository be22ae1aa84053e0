//! Counter-based uniform noise: draw i of a key is a pure function of (key, i).
//!
//! Nothing is stored between the forward and the backward pass: the backward pass asks for the same draws
//! again. The function is a 32-bit integer hash (two rounds of a multiply-and-shift finaliser with a key
//! word before each), chosen because every operation in it has a vector instruction.

use multiversion::multiversion;

use crate::workers::{ELEMENTS, for_each, worth};

/// The two key words of one stretch of 2^32 draws.
#[derive(Clone, Copy)]
pub struct Stream {
    first: u32,
    second: u32,
}

/// A stretch of consecutive draws: the counter of its first one and the stream it belongs to.
#[derive(Clone, Copy)]
pub struct Draws {
    stream: Stream,
    low: u32,
}

/// The `SplitMix64` finaliser.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Draws {
    /// Draws `counter`, `counter + 1`, ... of `key`; valid up to the next multiple of 2^32.
    #[expect(clippy::cast_possible_truncation, reason = "the two halves are wanted separately")]
    pub fn new(key: u64, counter: u64) -> Self {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let high = counter >> 32;
        let words = mix(mix(key.wrapping_add(GOLDEN)) ^ high.wrapping_mul(GOLDEN));
        Self { stream: Stream { first: words as u32, second: (words >> 32) as u32 }, low: counter as u32 }
    }

    /// Draw `index` of the stretch: uniform in [0, 1), a multiple of 2^-24.
    #[inline(always)]
    #[expect(clippy::cast_precision_loss, reason = "24 bits are exact in a float")]
    pub fn at(self, index: u32) -> f32 {
        const UNIT: f32 = 1.0 / 16_777_216.0;
        (self.bits(index) >> 8) as f32 * UNIT
    }

    #[inline(always)]
    fn bits(self, index: u32) -> u32 {
        let mut x = self.low.wrapping_add(index).wrapping_add(self.stream.first);
        x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
        x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
        x = (x ^ (x >> 16)) ^ self.stream.second;
        x = (x ^ (x >> 17)).wrapping_mul(0xed5a_d4bb);
        x = (x ^ (x >> 11)).wrapping_mul(0xac4c_1b51);
        x ^ (x >> 15)
    }
}

/// Cut the draws `counter .. counter + length` where the counter's upper half changes.
///
/// Calls `each` with the range of positions and the draws for it; almost always once.
pub fn stretches(key: u64, counter: u64, length: usize, mut each: impl FnMut(std::ops::Range<usize>, Draws)) {
    let mut done = 0;
    while done < length {
        let now = counter.wrapping_add(done as u64);
        let until_wrap = (1_u64 << 32) - (now & 0xffff_ffff);
        let take = usize::try_from(until_wrap).map_or(length - done, |wrap| wrap.min(length - done));
        each(done..done + take, Draws::new(key, now));
        done += take;
    }
}

/// Fill `out[i]` with draw `offset + i` of `key`.
pub fn fill(key: u64, offset: u64, out: &mut [f32], threads: usize) {
    let threads = worth(threads, out.len());
    for_each(
        threads,
        out.chunks_mut(ELEMENTS).enumerate(),
        || (),
        |(), (index, chunk)| {
            let counter = offset.wrapping_add((index * ELEMENTS) as u64);
            stretches(key, counter, chunk.len(), |range, draws| fill_stretch(draws, &mut chunk[range]));
        },
    );
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
#[expect(clippy::cast_possible_truncation, reason = "a stretch is no longer than 2^32")]
fn fill_stretch(draws: Draws, out: &mut [f32]) {
    for (index, value) in out.iter_mut().enumerate() {
        *value = draws.at(index as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(key: u64, offset: u64, n: usize) -> Vec<f32> {
        let mut out = vec![-1.0; n];
        fill(key, offset, &mut out, 1);
        out
    }

    #[test]
    fn draws_depend_on_key_and_counter_only() {
        let all = draws(7, 0, 100_000);
        assert_eq!(all[1234..1300], draws(7, 1234, 66)[..]);
        assert_ne!(all, draws(8, 0, 100_000));
        let mut threaded = vec![0.0; 100_000];
        fill(7, 0, &mut threaded, 3);
        assert_eq!(all, threaded);
        assert!(all.iter().all(|r| (0.0..1.0).contains(r)));
    }

    #[test]
    fn counters_beyond_32_bits_go_on_without_repeating() {
        let start = (1_u64 << 32) - 50;
        let across = draws(3, start, 100);
        assert_eq!(across[50..], draws(3, 1 << 32, 50)[..]);
        assert_ne!(across[50..], draws(3, 0, 50)[..]);
    }

    #[test]
    fn bins_of_value_pairs_are_equally_full() {
        // 16 x 16 bins of (draw i, draw i + lag) and of (key k, key k + 1): chi-square with 255 degrees of freedom.
        let n = 1 << 18;
        for key in [0, 1, 2, u64::MAX, 1 << 40] {
            let base = draws(key, 0, n + 64);
            for lag in [1, 2, 16, 20, 64] {
                assert!(chi_square(&base[..n], &base[lag..lag + n]) < 370.0, "key {key} lag {lag}");
            }
            assert!(chi_square(&base[..n], &draws(key.wrapping_add(1), 0, n)) < 370.0, "key {key}");
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    fn chi_square(x: &[f32], y: &[f32]) -> f64 {
        let mut bins = [0_u32; 256];
        for (&x, &y) in x.iter().zip(y) {
            bins[(x * 16.0) as usize * 16 + (y * 16.0) as usize] += 1;
        }
        let expected = x.len() as f64 / 256.0;
        bins.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum()
    }
}
