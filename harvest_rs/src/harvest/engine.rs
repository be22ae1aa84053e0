//! The harvest: batches in, tables of statistics out; whole states saved, loaded and merged.

use super::batch::Batch;
use super::cofiring::Cofiring;
use super::exact_mass::MOST_POSITIONS;
use super::examples::Examples;
use super::fixed_point::TILE;
use super::input_tokens::InputTokens;
use super::output_mass::{Kept, OutputMass};
use super::scan::{Scan, scan};
use super::settings::{Fault, Output, Settings};
use super::tile::{Accumulator, Firings, Live, Tile};
use super::totals::Totals;

/// Everything counted so far.
pub struct Harvest {
    pub(super) settings: Settings,
    pub(super) live: Live,
    pub(super) positions: u64,
    pub(super) totals: Totals,
    pub(super) cofiring: Cofiring,
    pub(super) input: InputTokens,
    pub(super) output: Option<OutputMass>,
    pub(super) examples: Examples,
}

/// Bytes held by each part.
pub type Memory = Vec<(&'static str, usize)>;

impl Harvest {
    /// Nothing counted.
    ///
    /// # Errors
    /// The settings contradict themselves.
    pub fn new(settings: Settings) -> Result<Self, Fault> {
        settings.check()?;
        Ok(Self {
            live: Live::new(settings.components()),
            positions: 0,
            totals: Totals::new(settings.components()),
            cofiring: Cofiring::default(),
            input: InputTokens::new(settings.vocabulary),
            output: OutputMass::new(&settings),
            examples: Examples::new(&settings),
            settings,
        })
    }

    /// What is counted.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Positions counted.
    pub fn positions(&self) -> u64 {
        self.positions
    }

    /// Count a batch. All of it is checked before any of it counts.
    ///
    /// # Errors
    /// Sizes, token ids or values are wrong; the harvest is as before.
    pub fn add_batch(&mut self, batch: &Batch<'_>, threads: usize) -> Result<(), Fault> {
        batch.check(&self.settings)?;
        let positions = self.positions + batch.positions() as u64;
        if self.settings.output == Output::Exact && positions > MOST_POSITIONS {
            return Err(Fault(format!(
                "exact output mass is counted for at most {MOST_POSITIONS} positions"
            )));
        }
        let mut read = Vec::new();
        for start in (0..batch.positions()).step_by(TILE) {
            let rows = start..(start + TILE).min(batch.positions());
            let scan = scan(batch, &self.settings, rows.clone(), threads)?;
            let kept = match batch.probabilities {
                None => None,
                Some(values) => Some(
                    Kept::read(values, rows.clone(), &self.settings, threads)
                        .ok_or_else(|| refusal(batch, &self.settings))?,
                ),
            };
            read.push((rows, scan, kept));
        }
        for (rows, scan, kept) in read {
            self.add_tile(batch, rows, &scan, kept.as_ref(), threads);
        }
        self.positions = positions;
        Ok(())
    }

    fn add_tile(
        &mut self,
        batch: &Batch<'_>,
        rows: std::ops::Range<usize>,
        scan: &Scan,
        kept: Option<&Kept>,
        threads: usize,
    ) {
        let firings = Firings::new(scan, rows.len(), &mut self.live);
        let (live, components) = (self.live.len(), self.live.components());
        let tile = Tile { batch, rows, live, components, scan, firings: &firings, kept, threads };
        self.totals.add_batch(&tile);
        self.cofiring.add_batch(&tile);
        self.input.add_batch(&tile);
        if let Some(output) = &mut self.output {
            output.add_batch(&tile);
        }
        self.examples.add_batch(&tile);
    }

    /// Count what `other` counted, on other sequences.
    ///
    /// # Errors
    /// The settings differ; the harvest is as before.
    pub fn merge(&mut self, other: Self) -> Result<(), Fault> {
        if self.settings != other.settings {
            return Err(Fault("harvests with different settings cannot be merged".to_owned()));
        }
        let positions = self.positions + other.positions;
        if self.settings.output == Output::Exact && positions > MOST_POSITIONS {
            return Err(Fault(format!(
                "exact output mass is counted for at most {MOST_POSITIONS} positions"
            )));
        }
        let numbers: Vec<u32> =
            other.live.components().iter().map(|&component| self.live.number(component)).collect();
        let live = self.live.len();
        self.positions = positions;
        self.totals.merge(other.totals, &numbers, live);
        self.cofiring.merge(other.cofiring, &numbers, live);
        self.input.merge(other.input, &numbers, live);
        if let (Some(ours), Some(theirs)) = (&mut self.output, other.output) {
            ours.merge(theirs, &numbers, live);
        }
        self.examples.merge(other.examples, &numbers, live);
        Ok(())
    }

    /// Work everything in that waits; tables and saving need it.
    pub fn settle(&mut self, threads: usize) {
        self.cofiring.settle(threads);
        self.input.settle(threads);
        if let Some(output) = &mut self.output {
            output.settle(threads);
        }
    }

    /// The components that fired, ascending, and their live numbers.
    pub fn fired(&self) -> (Vec<u32>, Vec<u32>) {
        let numbers = self.live.ordered();
        let components = self.live.components();
        (numbers.iter().map(|&number| components[number as usize]).collect(), numbers)
    }

    /// Numbers of all components.
    pub fn totals(&mut self) -> <Totals as Accumulator>::Table {
        self.totals.finish(&self.live.ordered(), self.live.components())
    }

    /// Co-firing of some live numbers of a settled harvest.
    pub fn cofiring(&mut self, wanted: &[u32]) -> <Cofiring as Accumulator>::Table {
        self.cofiring.finish(wanted, self.live.components())
    }

    /// Input tokens of some live numbers of a settled harvest.
    pub fn input(&mut self, wanted: &[u32]) -> <InputTokens as Accumulator>::Table {
        self.input.finish(wanted, self.live.components())
    }

    /// Positions of each input token.
    pub fn occurrences(&self) -> &[u64] {
        &self.input.occurrences
    }

    /// Output mass, when it is counted.
    pub fn output(&mut self) -> Option<&mut OutputMass> {
        self.output.as_mut()
    }

    /// Examples of some live numbers.
    pub fn examples(&mut self, wanted: &[u32]) -> <Examples as Accumulator>::Table {
        self.examples.finish(wanted, self.live.components())
    }

    /// Bytes held by each part.
    pub fn memory(&self) -> Memory {
        vec![
            ("components", self.live.memory_bytes() + self.totals.memory_bytes()),
            ("cofiring", self.cofiring.memory_bytes()),
            ("input_tokens", self.input.memory_bytes()),
            ("output_mass", self.output.as_ref().map_or(0, Accumulator::memory_bytes)),
            ("examples", self.examples.memory_bytes()),
        ]
    }
}

fn refusal(batch: &Batch<'_>, settings: &Settings) -> Fault {
    let unknown = || Fault("a probability of the batch is out of its range".to_owned());
    batch.refused(settings).unwrap_or_else(unknown)
}
