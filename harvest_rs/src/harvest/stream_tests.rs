//! Whole harvests of random streams: against counting by hand, and against themselves cut differently.

use std::collections::BTreeMap;

use super::batch::{Batch, LayerValues};
use super::draws::Draws;
use super::engine::Harvest;
use super::fixed_point::{IMPORTANCE_DIGITS, probability_units, to_f64, units};
use super::settings::{Output, Settings};
use super::state::verify;
use super::streams::{Stream, assert_same, settings, tables};
use super::tile::Accumulator;
use super::values::Values;

const OUTPUTS: [Output; 4] = [Output::Off, Output::Nucleus(4_000_000_000), Output::Nucleus(1), Output::Exact];

#[test]
fn any_batch_split_and_any_threads_give_the_same_tables() {
    for (seed, output) in (0..).zip(OUTPUTS) {
        let stream = Stream::new(seed, settings(&[37, 5, 90], 150, output), 40, 13);
        let expected = tables(&mut stream.harvest(40, 1));
        for (batch, threads) in [(1, 1), (3, 2), (7, 5), (40, 3)] {
            let what = format!("{output:?} {batch} {threads}");
            assert_same(&tables(&mut stream.harvest(batch, threads)), &expected, &what);
        }
    }
}

#[test]
fn batches_longer_than_a_tile_are_the_same() {
    let stream = Stream::new(4, settings(&[20], 30, Output::Nucleus(1 << 31)), 3, 3001);
    let expected = tables(&mut stream.harvest(1, 1));
    assert_same(&tables(&mut stream.harvest(3, 2)), &expected, "one batch");
}

#[test]
fn merging_is_exact_and_associative() {
    for (seed, output) in (10..).zip(OUTPUTS) {
        let stream = Stream::new(seed, settings(&[37, 60], 90, output), 30, 11);
        let expected = tables(&mut stream.harvest(30, 1));
        let shard = |index: usize| {
            let mut harvest = Harvest::new(stream.settings.clone()).unwrap_or_else(|fault| panic!("{fault}"));
            for sequence in (index..30).step_by(3) {
                stream.add(&mut harvest, sequence..sequence + 1, 1);
            }
            harvest
        };
        let merged = |mut into: Harvest, from: Harvest| {
            into.merge(from).unwrap_or_else(|fault| panic!("{fault}"));
            into
        };
        let left = merged(merged(shard(0), shard(1)), shard(2));
        let right = merged(shard(0), merged(shard(2), shard(1)));
        let empty = Harvest::new(stream.settings.clone()).unwrap_or_else(|fault| panic!("{fault}"));
        for mut harvest in [left, right, merged(empty, stream.harvest(4, 1))] {
            assert_same(&tables(&mut harvest), &expected, &format!("{output:?}"));
        }
    }
}

#[test]
fn counts_beyond_32_bits_are_exact() {
    for (seed, doublings) in [(50, 20), (51, 33), (52, 45)] {
        let samples_off = Settings { uniform: 0, strongest: 0, ..settings(&[9, 6], 12, OUTPUTS[1]) };
        let stream = Stream::new(seed, samples_off, 9, 7).with_features(seed);
        let (mut once, mut harvest) = (stream.harvest(9, 1), stream.harvest(4, 1));
        for _ in 0..doublings {
            let bytes = saved(&mut harvest);
            let again = Harvest::load(&bytes[..], bytes.len() as u64);
            harvest
                .merge(again.unwrap_or_else(|fault| panic!("{fault}")))
                .unwrap_or_else(|fault| panic!("{fault}"));
        }
        // A further batch, so that sums are added to from above 2^32 too.
        stream.add(&mut harvest, 0..9, 2);
        harvest.settle(1);
        once.settle(1);
        let times = (1_u64 << doublings) + 1;
        let all = |counts: &[u64]| counts.iter().map(|count| count * times).collect::<Vec<_>>();
        let (handles, theirs) = (once.fired().1, harvest.fired().1);
        assert_eq!(harvest.positions(), once.positions() * times);
        assert_eq!(harvest.occurrences(), all(once.occurrences()));
        let (ours, totals) = (once.totals(), harvest.totals());
        assert_eq!((totals.firings, totals.histogram), (all(&ours.firings), all(&ours.histogram)));
        assert_eq!(harvest.cofiring(&theirs).counts, all(&once.cofiring(&handles).counts));
        assert_eq!(harvest.input(&theirs).counts, all(&once.input(&handles).counts));
        let masses = |harvest: &mut Harvest, wanted: &[u32]| {
            harvest.output().map(|output| output.finish(wanted, &[]).masses).unwrap_or_default()
        };
        #[expect(clippy::cast_precision_loss, reason = "rounded once, as a sum is")]
        let scaled: Vec<f64> = masses(&mut once, &handles).iter().map(|mass| mass * times as f64).collect();
        assert_eq!(masses(&mut harvest, &theirs), scaled);
    }
}

fn saved(harvest: &mut Harvest) -> Vec<u8> {
    let mut bytes = Vec::new();
    harvest.save(&mut bytes, 1).unwrap_or_else(|error| panic!("{error}"));
    bytes
}

#[test]
fn a_saved_harvest_goes_on_as_if_never_stopped() {
    for (seed, output) in (20..).zip(OUTPUTS) {
        let stream = Stream::new(seed, settings(&[37, 60], 90, output), 30, 11);
        let expected = tables(&mut stream.harvest(5, 1));
        let mut half = Harvest::new(stream.settings.clone()).unwrap_or_else(|fault| panic!("{fault}"));
        stream.add(&mut half, 0..15, 1);
        let bytes = saved(&mut half);
        assert_eq!(verify(&bytes[..]), Ok(()));
        let mut again =
            Harvest::load(&bytes[..], bytes.len() as u64).unwrap_or_else(|fault| panic!("{fault}"));
        assert!(saved(&mut again) == bytes, "saving again gives other bytes");
        for mut harvest in [half, again] {
            stream.add(&mut harvest, 15..30, 2);
            assert_same(&tables(&mut harvest), &expected, &format!("{output:?}"));
        }
    }
}

#[test]
fn a_damaged_state_is_found() {
    let stream = Stream::new(1, settings(&[12], 20, Output::Nucleus(1 << 31)), 6, 7);
    let bytes = saved(&mut stream.harvest(6, 1));
    let mut draws = Draws::new(77);
    for _ in 0..200 {
        let at = draws.below(u32::try_from(bytes.len()).unwrap_or(0)) as usize;
        assert!(verify(&bytes[..at]).is_err(), "cut at {at}");
        let mut changed = bytes.clone();
        changed[at] ^= 1 << draws.below(8);
        assert!(verify(&changed[..]).is_err(), "changed at {at}");
    }
    let mut longer = bytes.clone();
    longer.extend([0; 8]);
    assert!(verify(&longer[..]).is_err());
}

#[test]
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::float_cmp)]
fn counts_are_those_by_hand() {
    let stream = Stream::new(30, settings(&[9, 14], 25, Output::Exact), 12, 10);
    let mut harvest = stream.harvest(5, 2);
    harvest.settle(1);
    let positions = stream.tokens.len();
    let importance = |position: usize, component: usize| {
        let (layer, column) = if component < 9 { (0, component) } else { (1, component - 9) };
        stream.importances[layer][position * [9, 14][layer] + column]
    };
    let fires = |position: usize, component: usize| importance(position, component) > 0.1;
    let (components, handles) = harvest.fired();
    let totals = harvest.totals();
    let cofiring = harvest.cofiring(&handles);
    let input = harvest.input(&handles);
    let output = harvest.output().map(|output| output.finish(&handles, &[]));
    for component in 0..23 {
        let firings: Vec<usize> = (0..positions).filter(|&position| fires(position, component)).collect();
        assert_eq!(totals.firings[component], firings.len() as u64);
        let sum: i64 = (0..positions).map(|at| units::<IMPORTANCE_DIGITS>(importance(at, component))).sum();
        assert_eq!(totals.importance[component], to_f64(i128::from(sum), IMPORTANCE_DIGITS));
        let Ok(index) = components.binary_search(&(component as u32)) else {
            assert!(firings.is_empty());
            continue;
        };
        let (mut others, mut tokens, mut masses) = (BTreeMap::new(), BTreeMap::new(), vec![0_u64; 25]);
        for &position in &firings {
            for other in (0..23).filter(|&other| other != component && fires(position, other)) {
                *others.entry(other as u32).or_insert(0) += 1;
            }
            *tokens.entry(stream.tokens[position]).or_insert(0) += 1;
            for (token, mass) in masses.iter_mut().enumerate() {
                *mass += u64::from(probability_units(stream.probabilities[position * 25 + token]));
            }
        }
        let range = cofiring.starts[index]..cofiring.starts[index + 1];
        let pairs =
            cofiring.others[range.clone()].iter().copied().zip(cofiring.counts[range].iter().copied());
        assert_eq!(pairs.collect::<BTreeMap<u32, u64>>(), others);
        let range = input.starts[index]..input.starts[index + 1];
        let pairs = input.tokens[range.clone()].iter().copied().zip(input.counts[range].iter().copied());
        assert_eq!(pairs.collect::<BTreeMap<u32, u64>>(), tokens);
        let table = output.as_ref().unwrap_or_else(|| panic!("no output"));
        let found = &table.masses[table.starts[index]..table.starts[index + 1]];
        let exact: Vec<f64> =
            masses.iter().filter(|&&m| m != 0).map(|&m| m as f64 / 2.0_f64.powi(31)).collect();
        assert_eq!(found, exact);
    }
}

#[test]
fn features_are_counted_in_the_place_of_tokens() {
    let stream = Stream::new(40, settings(&[9], 12, Output::Off), 15, 6).with_features(41);
    let mut harvest = stream.harvest(4, 2);
    assert_same(&tables(&mut harvest), &tables(&mut stream.harvest(15, 1)), "another split");
    let (components, handles) = harvest.fired();
    let input = harvest.input(&handles);
    let active = |position: usize, feature: usize| stream.features[position * 12 + feature] != 0;
    for (index, &component) in components.iter().enumerate() {
        let mut counts = [0; 12];
        for position in 0..90 {
            if stream.importances[0][position * 9 + component as usize] > 0.1 {
                (0..12).for_each(|feature| counts[feature] += u64::from(active(position, feature)));
            }
        }
        let mut found = [0; 12];
        for at in input.starts[index]..input.starts[index + 1] {
            found[input.tokens[at] as usize] = input.counts[at];
        }
        assert_eq!(found, counts, "component {component}");
    }
    let occurrences: Vec<u64> =
        (0..12).map(|feature| (0..90).map(|position| u64::from(active(position, feature))).sum()).collect();
    assert_eq!(harvest.occurrences(), occurrences);
}

#[test]
fn wrong_values_are_named_and_change_nothing() {
    let stream = Stream::new(2, settings(&[5, 6], 20, Output::Exact), 4, 7);
    let mut harvest = stream.harvest(4, 1);
    let before = tables(&mut harvest);
    let numbers = [9, 10];
    let mut importances = vec![0.0; 14 * 6];
    let good = vec![0.0; 14 * 6];
    importances[9 * 6 + 2] = f32::NAN;
    let probabilities = vec![0.05; 14 * 20];
    let layer = |importances, activations| LayerValues {
        importances: Values::F32(importances),
        activations: Values::F32(activations),
    };
    let mut wrong = probabilities.clone();
    wrong[13 * 20 + 19] = -0.5;
    let place = "sequence 1 of the batch, position";
    for (second, activations, output, expected) in [
        (
            &importances,
            &good,
            &probabilities,
            format!("layer h.1, {place} 2, component 2: the causal importance is NaN"),
        ),
        (
            &good,
            &importances,
            &probabilities,
            format!("layer h.1, {place} 2, component 2: the component activation is NaN"),
        ),
        (&good, &good, &wrong, format!("output, {place} 6, token 19: the probability is -0.5")),
    ] {
        let batch = Batch {
            sequences: &numbers,
            length: 7,
            tokens: &[3; 14],
            layers: vec![layer(&good[..70], &good[..70]), layer(second, activations)],
            probabilities: Some(Values::F32(output)),
            features: None,
        };
        let fault = harvest.add_batch(&batch, 2).expect_err("it is wrong");
        assert!(fault.0.starts_with(&expected), "{fault}");
    }
    assert_same(&tables(&mut harvest), &before, "after refusals");
}

#[test]
fn empty_batches_and_silent_components_are_fine() {
    let stream = Stream::new(3, settings(&[8], 10, Output::Nucleus(1 << 30)), 2, 5);
    let mut harvest = Harvest::new(stream.settings.clone()).unwrap_or_else(|fault| panic!("{fault}"));
    stream.add(&mut harvest, 0..0, 2);
    assert_eq!((harvest.positions(), harvest.fired().0.len()), (0, 0));
    let silent = Stream { importances: vec![vec![0.0; 80]], ..stream };
    silent.add(&mut harvest, 0..2, 2);
    assert_eq!((harvest.positions(), harvest.fired().0.len()), (10, 0));
    assert_eq!(tables(&mut harvest)[0].1, "[] 10");
}
