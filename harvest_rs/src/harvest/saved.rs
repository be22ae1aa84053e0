//! The whole harvest to bytes and back.

use std::io::{Read, Write};

use super::cofiring::Cofiring;
use super::engine::Harvest;
use super::exact_mass::ExactMass;
use super::examples::{Example, Sample};
use super::output_mass::Masses;
use super::settings::{Fault, Layer, Output, Settings};
use super::state::{Reader, Writer};
use super::totals::{BINS, Counts};
use super::windows::Window;

impl Harvest {
    /// Write everything counted so far.
    ///
    /// # Errors
    /// The sink could not take it.
    pub fn save(&mut self, sink: impl Write, threads: usize) -> std::io::Result<()> {
        self.settle(threads);
        let mut writer = Writer::new(sink);
        save_settings(&mut writer, &self.settings);
        writer.u64(self.positions);
        writer.halves(self.live.components());
        self.save_totals(&mut writer);
        writer.rows(&self.cofiring.rows);
        writer.rows(&self.input.rows);
        writer.words(&self.input.occurrences);
        self.save_output(&mut writer);
        for sample in self.examples.samples.iter_mut().flatten() {
            sample.examples.sort_unstable_by_key(|example| example.order);
            save_sample(&mut writer, sample);
        }
        writer.finish()
    }

    /// Read a state of `length` bytes that `verify` found whole.
    ///
    /// # Errors
    /// It is damaged.
    pub fn load(source: impl Read, length: u64) -> Result<Self, Fault> {
        let mut reader = Reader::new(source, length)?;
        let mut harvest = Self::new(load_settings(&mut reader)?)?;
        let components = harvest.settings.components();
        harvest.positions = reader.u64()?;
        for component in reader.halves()? {
            if component as usize >= components {
                return Err(damaged());
            }
            harvest.live.number(component);
        }
        harvest.load_totals(&mut reader)?;
        harvest.cofiring = Cofiring { rows: reader.rows()? };
        harvest.input.rows = reader.rows()?;
        harvest.input.occurrences = reader.words()?;
        harvest.load_output(&mut reader)?;
        for _ in 0..harvest.live.len() {
            harvest.examples.samples.push([load_sample(&mut reader)?, load_sample(&mut reader)?]);
        }
        Ok(harvest)
    }

    #[expect(clippy::cast_sign_loss, reason = "bits are kept")]
    fn save_totals<W: Write>(&self, writer: &mut Writer<W>) {
        for sum in self.totals.importance.iter().chain(&self.totals.activation) {
            writer.u128(*sum as u128);
        }
        for counts in &self.totals.live {
            writer.u64(counts.firings);
            writer.u128(counts.importance as u128);
            writer.u128(counts.activation as u128);
            counts.histogram.iter().for_each(|&count| writer.u64(count));
        }
    }

    #[expect(clippy::cast_possible_wrap, reason = "bits are kept")]
    fn load_totals<R: Read>(&mut self, reader: &mut Reader<R>) -> Result<(), Fault> {
        for sum in self.totals.importance.iter_mut().chain(&mut self.totals.activation) {
            *sum = reader.u128()? as i128;
        }
        for _ in 0..self.live.len() {
            let mut counts = Counts {
                firings: reader.u64()?,
                importance: reader.u128()? as i128,
                activation: reader.u128()? as i128,
                histogram: [0; BINS],
            };
            for count in &mut counts.histogram {
                *count = reader.u64()?;
            }
            self.totals.live.push(counts);
        }
        Ok(())
    }

    fn save_output<W: Write>(&self, writer: &mut Writer<W>) {
        let Some(output) = &self.output else { return };
        output.marginals.iter().chain(&output.kept_marginals).for_each(|&mass| writer.u128(mass));
        for (total, dropped) in &output.totals {
            writer.u128(*total);
            writer.u128(*dropped);
        }
        writer.u128(output.dropped);
        match &output.masses {
            Masses::Rows(rows) => writer.rows(rows),
            Masses::Exact(exact) => exact.panels().for_each(|panel| writer.words(&panel)),
        }
    }

    fn load_output<R: Read>(&mut self, reader: &mut Reader<R>) -> Result<(), Fault> {
        let live = self.live.len();
        let Some(output) = &mut self.output else { return Ok(()) };
        for mass in output.marginals.iter_mut().chain(&mut output.kept_marginals) {
            *mass = reader.u128()?;
        }
        for _ in 0..live {
            output.totals.push((reader.u128()?, reader.u128()?));
        }
        output.dropped = reader.u128()?;
        match &mut output.masses {
            Masses::Rows(rows) => *rows = reader.rows()?,
            Masses::Exact(exact) => {
                let count = exact.panels().count();
                let panels: Vec<_> = (0..count).map(|_| reader.words()).collect::<Result<_, _>>()?;
                let vocabulary = self.settings.vocabulary;
                *exact = ExactMass::from_panels(vocabulary, &panels).ok_or_else(damaged)?;
            }
        }
        Ok(())
    }
}

fn damaged() -> Fault {
    Fault("the saved harvest state is damaged".to_owned())
}

fn save_settings<W: Write>(writer: &mut Writer<W>, settings: &Settings) {
    writer.u64(settings.layers.len() as u64);
    for layer in &settings.layers {
        writer.text(&layer.name);
        writer.u64(layer.width as u64);
    }
    writer.u64(settings.vocabulary as u64);
    writer.u64(u64::from(settings.threshold.to_bits()));
    for size in [settings.context, settings.uniform, settings.strongest] {
        writer.u64(size as u64);
    }
    writer.u64(match settings.output {
        Output::Off => 0,
        Output::Exact => 1 << 32,
        Output::Nucleus(share) => u64::from(share),
    });
    writer.u64(settings.seed);
}

fn load_settings<R: Read>(reader: &mut Reader<R>) -> Result<Settings, Fault> {
    let count = reader.length(16)?;
    let mut layers = Vec::new();
    for _ in 0..count {
        layers.push(Layer { name: reader.text()?, width: size(reader)? });
    }
    let vocabulary = size(reader)?;
    let threshold = f32::from_bits(u32::try_from(reader.u64()?).map_err(|_| damaged())?);
    let (context, uniform, strongest) = (size(reader)?, size(reader)?, size(reader)?);
    let output = match reader.u64()? {
        0 => Output::Off,
        share => u32::try_from(share).map_or(Output::Exact, Output::Nucleus),
    };
    let seed = reader.u64()?;
    Ok(Settings { layers, vocabulary, threshold, context, uniform, strongest, output, seed })
}

fn size<R: Read>(reader: &mut Reader<R>) -> Result<usize, Fault> {
    usize::try_from(reader.u64()?).map_err(|_| damaged())
}

fn save_sample<W: Write>(writer: &mut Writer<W>, sample: &Sample) {
    let (first, key, sequence, position) = sample.last.unwrap_or_default();
    writer.words(&[u64::from(sample.last.is_some()), first, key, sequence, u64::from(position)]);
    writer.u64(sample.examples.len() as u64);
    for Example { order: (first, key, sequence, position), window } in &sample.examples {
        writer.words(&[*first, *key, *sequence, u64::from(*position), u64::from(window.mark)]);
        writer.halves(&window.words);
    }
}

fn load_sample<R: Read>(reader: &mut Reader<R>) -> Result<Sample, Fault> {
    let five = |reader: &mut Reader<R>| -> Result<[u64; 5], Fault> {
        reader.words()?.try_into().map_err(|_| damaged())
    };
    let half = |word: u64| u32::try_from(word).map_err(|_| damaged());
    let [full, first, key, sequence, position] = five(reader)?;
    let last = if full == 0 { None } else { Some((first, key, sequence, half(position)?)) };
    let count = reader.length(56)?;
    let mut examples = Vec::with_capacity(count);
    for _ in 0..count {
        let [first, key, sequence, position, mark] = five(reader)?;
        let window = Window { mark: half(mark)?, words: reader.halves()?.into_boxed_slice() };
        examples.push(Example { order: (first, key, sequence, half(position)?), window });
    }
    Ok(Sample { examples, last })
}
