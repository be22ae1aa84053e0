//! One row of a large table of exact sums, most of whose entries are zero: sparse until that costs more.

use multiversion::multiversion;

/// Sums by key below `width`.
///
/// The low 32 bits of each sum stand in `low`: at the key's place when dense, beside the sorted `keys` when
/// sparse. What goes beyond them is counted in `carries`, a row of its own with units of 2^32, so no sum ever
/// overflows. A sparse row collects additions in `pending` and works them in when these have become many,
/// which keeps the cost of an addition constant.
#[derive(Clone, Debug, Default)]
pub struct Row {
    width: u32,
    dense: bool,
    /// Whether the row turns dense after an eighth as many additions as it is wide.
    eager: bool,
    additions: u32,
    keys: Vec<u32>,
    low: Vec<u32>,
    pending: Vec<(u32, u32)>,
    carries: Option<Box<Row>>,
}

/// Fewest pending additions that are worth working in.
const PENDING: usize = 256;

/// Sums of one thread while rows are worked over: all zero between uses.
#[derive(Default)]
pub struct Scratch {
    sums: Vec<u64>,
    marks: Vec<u64>,
}

impl Scratch {
    fn reserve(&mut self, width: u32) {
        let width = width as usize;
        if self.sums.len() < width {
            self.sums.resize(width, 0);
            self.marks.resize(width.div_ceil(64), 0);
        }
    }

    #[inline(always)]
    fn add(&mut self, key: u32, amount: u64) {
        self.sums[key as usize] += amount;
        self.marks[(key >> 6) as usize] |= 1 << (key & 63);
    }

    fn count(&self) -> usize {
        self.marks.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Hand out every sum by ascending key and leave zeros.
    fn drain(&mut self, mut each: impl FnMut(u32, u64)) {
        let mut first = 0;
        for word in &mut self.marks {
            while *word != 0 {
                let key = first + word.trailing_zeros();
                *word &= *word - 1;
                each(key, std::mem::take(&mut self.sums[key as usize]));
            }
            first += 64;
        }
    }
}

/// Sums that are added to at once.
pub const RUN: usize = 64;

/// Add to the low words; whether anything goes beyond them.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
#[expect(clippy::cast_possible_truncation, reason = "the low halves")]
fn add_low(low: &mut [u32; RUN], amounts: &[u64; RUN]) -> bool {
    let mut high = 0;
    for (low, amount) in low.iter_mut().zip(amounts) {
        let sum = u64::from(*low) + (amount & 0xffff_ffff);
        *low = sum as u32;
        high |= (sum | amount) >> 32;
    }
    high != 0
}

impl Row {
    /// All sums zero.
    pub fn new(width: usize) -> Self {
        Self { width: u32::try_from(width).unwrap_or(u32::MAX), ..Self::default() }
    }

    /// All sums zero; the row turns dense early, which costs memory and saves time.
    pub fn eager(width: usize) -> Self {
        Self { eager: true, ..Self::new(width) }
    }

    /// Add `amount` to one sum. Call `settle_if_full` after every few thousand additions.
    #[inline(always)]
    pub fn add(&mut self, key: u32, amount: u32) {
        if self.dense {
            let low = &mut self.low[key as usize];
            let (sum, carry) = low.overflowing_add(amount);
            *low = sum;
            if carry {
                self.carry(key, 1);
            }
        } else {
            self.pending.push((key, amount));
        }
    }

    /// Add one to every one of these sums; they are different.
    #[inline]
    pub fn add_ones(&mut self, keys: &[u32]) {
        if self.dense {
            for &key in keys {
                let low = &mut self.low[key as usize];
                *low = low.wrapping_add(1);
                if *low == 0 {
                    self.carry(key, 1);
                }
            }
        } else {
            self.pending.extend(keys.iter().map(|&key| (key, 1)));
        }
    }

    /// Add the amount beside every key; the keys are different.
    #[inline]
    pub fn add_all(&mut self, entries: &[(u32, u32)]) {
        if self.dense {
            for &(key, amount) in entries {
                self.add(key, amount);
            }
        } else {
            self.pending.extend_from_slice(entries);
        }
    }

    /// Whether every sum has its place.
    pub fn is_dense(&self) -> bool {
        self.dense
    }

    /// Add to consecutive sums of a dense row, from key `first` on; amounts beyond its width are zero.
    #[expect(clippy::cast_possible_truncation, reason = "the low halves")]
    pub fn add_run(&mut self, first: u32, amounts: &[u64; RUN]) {
        let low = &mut self.low[first as usize..];
        let carries = if let Some(run) = low.first_chunk_mut::<RUN>() {
            add_low(run, amounts)
        } else {
            let mut run = [0; RUN];
            let end = low.len();
            run[..end].copy_from_slice(low);
            let carries = add_low(&mut run, amounts);
            low.copy_from_slice(&run[..end]);
            carries
        };
        if carries {
            for (key, amount) in (first..self.width).zip(amounts) {
                // The low word wrapped if it is below the one that was added.
                let carry = (amount >> 32) + u64::from(self.low[key as usize] < *amount as u32);
                if carry != 0 {
                    self.carry(key, u128::from(carry));
                }
            }
        }
    }

    /// Add any amount to one sum.
    #[expect(clippy::cast_possible_truncation, reason = "the halves are taken apart")]
    pub fn add_large(&mut self, key: u32, amount: u128) {
        self.add(key, amount as u32);
        if amount >> 32 != 0 {
            self.carry(key, amount >> 32);
        }
    }

    #[cold]
    #[inline(never)]
    fn carry(&mut self, key: u32, amount: u128) {
        let width = self.width as usize;
        self.carries.get_or_insert_with(|| Box::new(Row::new(width))).add_large(key, amount);
    }

    /// Work pending additions in when there are many.
    #[inline(always)]
    pub fn settle_if_full(&mut self, scratch: &mut Scratch) {
        if self.pending.len() >= PENDING.max(self.keys.len()) {
            self.settle_here(scratch);
        }
        if let Some(carries) = &mut self.carries {
            carries.settle_if_full(scratch);
        }
    }

    /// Work every pending addition in.
    pub fn settle(&mut self, scratch: &mut Scratch) {
        self.settle_here(scratch);
        self.pending = Vec::new();
        if let Some(carries) = &mut self.carries {
            carries.settle(scratch);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the halves are taken apart")]
    fn settle_here(&mut self, scratch: &mut Scratch) {
        if self.pending.is_empty() {
            return;
        }
        scratch.reserve(self.width);
        self.additions = self.additions.saturating_add(u32::try_from(self.pending.len()).unwrap_or(u32::MAX));
        for (key, low) in self.keys.iter().zip(&self.low) {
            scratch.add(*key, u64::from(*low));
        }
        for (key, amount) in self.pending.drain(..) {
            scratch.add(key, u64::from(amount));
        }
        let count = scratch.count();
        let (mut keys, mut low) = (std::mem::take(&mut self.keys), std::mem::take(&mut self.low));
        keys.clear();
        low.clear();
        let mut carries = Vec::new();
        let mut carry = |key, sum: u64| {
            if sum >> 32 != 0 {
                carries.push((key, sum >> 32));
            }
        };
        // A sparse entry takes twice the bytes of a dense one, and as many again may wait as pending.
        self.dense = 3 * count >= self.width as usize || (self.eager && self.additions >= self.width / 8);
        if self.dense {
            keys = Vec::new();
            low = vec![0; self.width as usize];
            scratch.drain(|key, sum| {
                low[key as usize] = sum as u32;
                carry(key, sum);
            });
            self.pending = Vec::new();
        } else {
            keys.reserve_exact(count);
            low.reserve_exact(count);
            scratch.drain(|key, sum| {
                keys.push(key);
                low.push(sum as u32);
                carry(key, sum);
            });
            if self.pending.capacity() > 8 * PENDING.max(count) {
                self.pending.shrink_to(2 * PENDING.max(count));
            }
        }
        (self.keys, self.low) = (keys, low);
        for (key, amount) in carries {
            self.carry(key, u128::from(amount));
        }
    }

    /// One sum of a settled row.
    pub fn get(&self, key: u32) -> u128 {
        let low = if self.dense {
            self.low[key as usize]
        } else {
            self.keys.binary_search(&key).map_or(0, |at| self.low[at])
        };
        u128::from(low) | self.carries.as_ref().map_or(0, |carries| carries.get(key) << 32)
    }

    /// Every sum above zero of a settled row, by ascending key.
    pub fn for_each(&self, mut each: impl FnMut(u32, u128)) {
        let mut visit = |key: u32, low: u32| {
            let high = self.carries.as_ref().map_or(0, |carries| carries.get(key) << 32);
            if u128::from(low) | high != 0 {
                each(key, u128::from(low) | high);
            }
        };
        if self.dense {
            for (key, low) in (0..).zip(&self.low) {
                visit(key, *low);
            }
        } else {
            // Every key with a carry has an entry here too.
            for (key, low) in self.keys.iter().zip(&self.low) {
                visit(*key, *low);
            }
        }
    }

    /// Bytes in memory.
    pub fn memory_bytes(&self) -> usize {
        let here = 4 * (self.keys.capacity() + self.low.capacity()) + 8 * self.pending.capacity();
        size_of::<Self>() + here + self.carries.as_ref().map_or(0, |carries| carries.memory_bytes())
    }

    /// The parts of a settled row, as they are saved: width, whether dense, keys, low words, carries.
    pub fn parts(&self) -> (u32, bool, &[u32], &[u32], Option<&Row>) {
        (self.width, self.dense, &self.keys, &self.low, self.carries.as_deref())
    }

    /// The row with these parts.
    pub fn from_parts(width: u32, dense: bool, keys: Vec<u32>, low: Vec<u32>, carries: Option<Row>) -> Self {
        let carries = carries.map(Box::new);
        Self { width, dense, keys, low, carries, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::harvest::draws::Draws;

    fn content(row: &mut Row, scratch: &mut Scratch) -> BTreeMap<u32, u128> {
        row.settle(scratch);
        let mut found = BTreeMap::new();
        row.for_each(|key, sum| {
            assert_eq!(row.get(key), sum);
            assert!(found.insert(key, sum).is_none());
        });
        assert!(found.keys().is_sorted());
        found
    }

    #[test]
    fn sums_are_exact_whatever_the_filling() {
        let mut scratch = Scratch::default();
        let mut draws = Draws::new(1);
        for round in 0..60 {
            let width = 1 + draws.below(2000);
            let used = 1 + draws.below(width);
            let mut row = Row::new(width as usize);
            let mut exact = BTreeMap::<u32, u128>::new();
            for step in 0..draws.below(6000) {
                let key = draws.below(used);
                let amount = if round % 2 == 0 { 1 } else { u32::MAX - draws.below(9) };
                if amount != 1 && step % 97 == 0 {
                    let large = u128::from(amount) << (step % 80);
                    row.add_large(key, large);
                    *exact.entry(key).or_default() += large;
                }
                row.add(key, amount);
                *exact.entry(key).or_default() += u128::from(amount);
                row.settle_if_full(&mut scratch);
            }
            assert_eq!(content(&mut row, &mut scratch), exact);
        }
    }

    #[test]
    fn ones_carry_beyond_32_bits() {
        let mut scratch = Scratch::default();
        for dense in [false, true] {
            let mut row = Row::new(4);
            row.add(2, u32::MAX);
            row.add(0, u32::MAX - 1);
            if dense {
                row.settle(&mut scratch);
                assert!(row.dense);
            }
            row.add_ones(&[0, 2]);
            row.add_ones(&[0, 2]);
            let sums = content(&mut row, &mut scratch);
            assert_eq!(sums, BTreeMap::from([(0, 1 << 32), (2, (1 << 32) + 1)]));
        }
    }

    #[test]
    fn runs_are_added_with_their_carries() {
        let mut scratch = Scratch::default();
        let mut draws = Draws::new(8);
        let mut row = Row::new(100);
        let mut exact = BTreeMap::<u32, u128>::new();
        for key in 0..100 {
            row.add(key, 1);
            exact.insert(key, 1);
        }
        row.settle(&mut scratch);
        for _ in 0..300 {
            let first = 64 * draws.below(2);
            let mut amounts = [0; RUN];
            for (key, amount) in (first..100).zip(&mut amounts) {
                *amount = draws.next() >> (20 + draws.below(44));
                *exact.entry(key).or_default() += u128::from(*amount);
            }
            row.add_run(first, &amounts);
            row.settle_if_full(&mut scratch);
        }
        assert_eq!(content(&mut row, &mut scratch), exact);
    }

    #[test]
    fn a_thin_row_stays_sparse() {
        let mut scratch = Scratch::default();
        let mut row = Row::new(1 << 20);
        for key in 0..20_000 {
            row.add(key * 50, 3);
            row.settle_if_full(&mut scratch);
        }
        assert_eq!(content(&mut row, &mut scratch).len(), 20_000);
        assert!(row.memory_bytes() < 400_000, "{}", row.memory_bytes());
    }
}
