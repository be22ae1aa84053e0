//! The nucleus of a distribution: its most probable tokens up to a share of its mass.
//!
//! Defined on probabilities in units: with total mass T, tokens in the order of descending mass, equal ones by
//! ascending id, are kept until their mass is at least T times the share. Floats only guess where to look.

use multiversion::multiversion;

use super::fixed_point::{LARGEST_PROBABILITY, probability_units};
use super::values::{Bf16, F16, F32, Format, Values, order_bits};

const LANES: usize = 16;

/// Buffers of one thread.
#[derive(Default)]
pub struct Selection {
    /// The row in units.
    units: Vec<u32>,
    /// Tokens at the level where the target is reached.
    edge: Vec<(u32, u32)>,
}

/// The mass that is enough for the share (in units of 2^-32) of `total`.
pub fn target(total: u64, share: u32) -> u64 {
    let product = u128::from(total) * u128::from(share);
    u64::try_from(product.div_ceil(1 << 32)).unwrap_or(u64::MAX)
}

/// Masses are compared with levels, eight to an octave: level 0 is zero, level 1 one unit, this one more than
/// any probability.
const TOP: u32 = 233;

/// The mass at a level.
fn level_mass(level: u32) -> u32 {
    if level < 8 { level } else { (8 + level % 8) << (level / 8 - 1) }
}

impl Selection {
    /// Append the nucleus of one row to `kept` as (token, mass), and add the whole row to `marginals`.
    ///
    /// Returns the row's mass and the kept mass, or `None` when a value is no probability.
    pub fn select(
        &mut self,
        row: Values<'_>,
        share: u32,
        marginals: &mut [u64],
        kept: &mut Vec<(u32, u32)>,
    ) -> Option<(u64, u64)> {
        self.units.resize(row.len(), 0);
        let total = quantise(row, &mut self.units, marginals)?;
        let target = target(total, share);
        let mut level = self.guess(target);
        // A wrong guess is put right one level at a time: masses from the level on reach the target, masses
        // from the next one on do not. Level 1 holds all the mass there is.
        loop {
            if level > 1 && exact_mass_from(&self.units, level_mass(level)) < target {
                level -= 1;
                continue;
            }
            let above = exact_mass_from(&self.units, level_mass(level + 1));
            if above >= target && level + 1 < TOP {
                level += 1;
                continue;
            }
            let sum = self.keep(level, above, target, kept);
            return Some((total, sum));
        }
    }

    /// Keep everything above the level, which has the mass `above`, and as much of the level as needed; tokens
    /// ascending. Returns the kept mass.
    #[expect(clippy::needless_bitwise_bool, reason = "no branch to mispredict")]
    fn keep(&mut self, level: u32, above: u64, target: u64, kept: &mut Vec<(u32, u32)>) -> u64 {
        let (least, floor) = (level_mass(level), level_mass(level + 1));
        let known = kept.len();
        collect(&self.units, least, kept);
        self.edge.clear();
        self.edge.extend(kept[known..].iter().filter(|entry| entry.1 < floor));
        self.edge.sort_unstable_by_key(|&(token, mass)| (u32::MAX - mass, token));
        let mut sum = above;
        let mut last = (0, floor);
        for &entry in self.edge.iter().take_while(|entry| {
            let needed = sum < target;
            sum += if needed { u64::from(entry.1) } else { 0 };
            needed
        }) {
            last = entry;
        }
        let mut end = known;
        for at in known..kept.len() {
            let (token, mass) = kept[at];
            kept[end] = (token, mass);
            end += usize::from((mass > last.1) | ((mass == last.1) & ((token <= last.0) | (mass >= floor))));
        }
        kept.truncate(end);
        sum
    }

    /// The largest level whose masses and those above seem to reach the target.
    #[expect(clippy::cast_precision_loss, reason = "a guess")]
    fn guess(&self, target: u64) -> u32 {
        let (mut low, mut high) = (1, TOP);
        while high - low > 1 {
            let middle = u32::midpoint(low, high);
            if mass_from(&self.units, level_mass(middle)) >= target as f32 {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// Fill `units` with the row and add it to `marginals`; the sum, or `None` when a value is no probability.
pub fn quantise(row: Values<'_>, units: &mut [u32], marginals: &mut [u64]) -> Option<u64> {
    match row {
        Values::F32(row) => quantise_f32(row, units, marginals),
        Values::F16(row) => quantise_f16(row, units, marginals),
        Values::Bf16(row) => quantise_bf16(row, units, marginals),
    }
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2", "aarch64+neon"))]
fn quantise_f32(row: &[f32], units: &mut [u32], marginals: &mut [u64]) -> Option<u64> {
    quantise_row::<F32>(row, units, marginals)
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2", "aarch64+neon"))]
fn quantise_f16(row: &[u16], units: &mut [u32], marginals: &mut [u64]) -> Option<u64> {
    quantise_row::<F16>(row, units, marginals)
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2", "aarch64+neon"))]
fn quantise_bf16(row: &[u16], units: &mut [u32], marginals: &mut [u64]) -> Option<u64> {
    quantise_row::<Bf16>(row, units, marginals)
}

#[inline(always)]
fn quantise_row<F: Format>(row: &[F::Raw], units: &mut [u32], marginals: &mut [u64]) -> Option<u64> {
    let mut sums = [0_u64; LANES];
    let mut largest = [0_u32; LANES];
    let (chunks, tail) = row.as_chunks::<LANES>();
    let whole = chunks.len() * LANES;
    let outputs = units.as_chunks_mut::<LANES>().0.iter_mut().zip(marginals.as_chunks_mut::<LANES>().0);
    for (chunk, (units, marginals)) in chunks.iter().zip(outputs) {
        for lane in 0..LANES {
            let p = F::widen(chunk[lane]);
            largest[lane] = largest[lane].max(order_bits(p));
            units[lane] = probability_units(p);
            sums[lane] += u64::from(units[lane]);
            marginals[lane] += u64::from(units[lane]);
        }
    }
    let mut total = sums.iter().sum();
    for (raw, (units, marginal)) in tail.iter().zip(units[whole..].iter_mut().zip(&mut marginals[whole..])) {
        let p = F::widen(*raw);
        largest[0] = largest[0].max(order_bits(p));
        *units = probability_units(p);
        total += u64::from(*units);
        *marginal += u64::from(*units);
    }
    largest.into_iter().all(|bits| bits <= LARGEST_PROBABILITY.to_bits()).then_some(total)
}

/// Roughly the mass of all entries of at least `least`.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2", "aarch64+neon"))]
#[expect(clippy::cast_precision_loss, reason = "a guess")]
fn mass_from(units: &[u32], least: u32) -> f32 {
    let mut sums = [0.0_f32; 2 * LANES];
    let (chunks, tail) = units.as_chunks::<{ 2 * LANES }>();
    for chunk in chunks {
        for (sum, mass) in sums.iter_mut().zip(chunk) {
            *sum += if *mass >= least { *mass as f32 } else { 0.0 };
        }
    }
    let rest: f32 = tail.iter().filter(|&&mass| mass >= least).map(|&mass| mass as f32).sum();
    sums.iter().sum::<f32>() + rest
}

/// Exactly the mass of all entries of at least `least`.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2", "aarch64+neon"))]
fn exact_mass_from(units: &[u32], least: u32) -> u64 {
    let mut sums = [0_u64; LANES];
    let (chunks, tail) = units.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, mass) in sums.iter_mut().zip(chunk) {
            *sum += u64::from(if *mass >= least { *mass } else { 0 });
        }
    }
    let rest = tail.iter().filter(|&&mass| mass >= least).map(|&mass| u64::from(mass));
    sums.into_iter().chain(rest).sum()
}

/// Append the entries of at least `least`, tokens ascending.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2", "aarch64+neon"))]
#[expect(clippy::cast_possible_truncation, reason = "at most 2^20 tokens")]
fn collect(units: &[u32], least: u32, found: &mut Vec<(u32, u32)>) {
    for (index, chunk) in units.chunks(LANES).enumerate() {
        let mut largest = 0;
        for mass in chunk {
            largest = largest.max(*mass);
        }
        if largest >= least {
            // Written always, counted only when kept: no branch to mispredict.
            let mut end = found.len();
            found.resize(end + LANES, (0, 0));
            for (lane, mass) in chunk.iter().enumerate() {
                found[end] = ((index * LANES + lane) as u32, *mass);
                end += usize::from(*mass >= least);
            }
            found.truncate(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harvest::draws::Draws;

    fn by_sorting(row: &[f32], share: u32) -> (u64, Vec<(u32, u32)>) {
        let mut entries: Vec<(u32, u32)> = (0..).zip(row.iter().map(|&p| probability_units(p))).collect();
        let total = entries.iter().map(|entry| u64::from(entry.1)).sum();
        entries.sort_by_key(|&(token, mass)| (u32::MAX - mass, token));
        let (mut sum, mut kept) = (0, Vec::new());
        for (token, mass) in entries {
            if sum < target(total, share) {
                sum += u64::from(mass);
                kept.push((token, mass));
            }
        }
        kept.sort_unstable();
        (sum, kept)
    }

    #[test]
    fn selection_is_that_of_a_full_sort() {
        let mut draws = Draws::new(5);
        let mut selection = Selection::default();
        for round in 0..400_u16 {
            let width = 1 + draws.below(700) as usize;
            let sharpness = f32::from(round % 40) * 0.4;
            let mut row: Vec<f32> = (0..width).map(|_| (draws.unit() * sharpness).exp()).collect();
            if round % 3 == 0 {
                // Many equal ones.
                for p in &mut row {
                    *p = p.round();
                }
            }
            let total: f32 = row.iter().sum();
            for p in &mut row {
                *p /= total.max(1e-3);
            }
            if round % 50 == 0 {
                row.fill(0.0);
            }
            for share in [1, 1 << 31, 4_252_017_623, u32::MAX] {
                let (mut kept, mut marginals) = (Vec::new(), vec![0; width]);
                let sums = selection.select(Values::F32(&row), share, &mut marginals, &mut kept);
                kept.sort_unstable();
                let (expected_sum, expected) = by_sorting(&row, share);
                assert_eq!(sums, Some((marginals.iter().sum(), expected_sum)));
                assert_eq!(kept, expected, "round {round} share {share}");
            }
        }
    }

    #[test]
    fn what_is_no_probability_is_refused() {
        for wrong in [f32::NAN, -1e-9, 1.02, f32::INFINITY] {
            for width in [3, 40] {
                let mut row = vec![0.01; width];
                row[width - 2] = wrong;
                let (mut kept, mut marginals) = (Vec::new(), vec![0; width]);
                let mut selection = Selection::default();
                assert_eq!(selection.select(Values::F32(&row), 1 << 31, &mut marginals, &mut kept), None);
            }
        }
    }
}
