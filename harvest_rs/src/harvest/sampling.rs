//! Keys of firings: the uniform sample of a component is its firings with the smallest keys.
//!
//! A key is a pure function of (seed, component, sequence, position), so the sample does not depend on the
//! order, the batch size or who looked at which sequence, and samples merge exactly.

/// The `SplitMix64` finaliser: a bijection in which every output bit depends on every input bit.
#[inline(always)]
pub fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The half of a key that says where: token `position` of sequence number `sequence`.
#[inline]
pub fn place_key(sequence: u64, position: u64) -> u64 {
    mix(mix(sequence.wrapping_add(GOLDEN)).wrapping_add(position.wrapping_mul(GOLDEN)))
}

/// The half of a key that says which component.
#[inline]
pub fn component_key(seed: u64, component: u32) -> u64 {
    mix(mix(seed ^ GOLDEN).wrapping_add(u64::from(component) + 1))
}

/// The key of a firing.
#[inline(always)]
pub fn firing_key(place: u64, component: u64) -> u64 {
    mix(place ^ component)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_uniform_over_positions() {
        // 4000 components, each keeping 8 of 64 positions: chi-square with 63 degrees of freedom.
        let mut kept = [0_u32; 64];
        for component in 0..4000 {
            let key = component_key(3, component);
            let mut order: Vec<usize> = (0..64).collect();
            order.sort_by_key(|&at| firing_key(place_key(at as u64 / 16, at as u64 % 16), key));
            order[..8].iter().for_each(|&at| kept[at] += 1);
        }
        // Without replacement the variance is smaller by 7/8.
        let chi: f64 = kept.iter().map(|&count| (f64::from(count) - 500.0).powi(2) / (500.0 * 0.875)).sum();
        assert!(chi < 120.0, "{chi}");
    }

    #[test]
    fn keys_of_two_components_are_unrelated() {
        let (a, b) = (component_key(0, 0), component_key(0, 1));
        let mut both = 0;
        for at in 0..10_000 {
            let place = place_key(at, 5);
            both += u32::from(firing_key(place, a) >> 63 == firing_key(place, b) >> 63);
        }
        assert!((4800..5200).contains(&both), "{both}");
    }
}
