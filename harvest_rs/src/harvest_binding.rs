//! The harvest as a Python class: arrays in without a copy, numpy arrays out, the lock released meanwhile.

use std::fs::File;
use std::io::{BufReader, BufWriter};

use numpy::{IntoPyArray, PyArray1, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::harvest::batch::{Batch, LayerValues};
use crate::harvest::engine;
use crate::harvest::settings::{Fault, Layer, Output, Settings};
use crate::harvest::state::verify;
use crate::harvest::values::Values;

impl From<Fault> for PyErr {
    fn from(fault: Fault) -> Self {
        PyValueError::new_err(fault.0)
    }
}

type Vector<'py, T> = Bound<'py, PyArray1<T>>;

/// Values as Python holds them: a format and an array of numbers or of their bits.
type Tagged<'py> = (String, Bound<'py, PyAny>);

/// A borrowed array that lives as long as the call.
enum Held<'py> {
    Floats(PyReadonlyArrayDyn<'py, f32>),
    Half(PyReadonlyArrayDyn<'py, u16>),
    Brain(PyReadonlyArrayDyn<'py, u16>),
}

impl<'py> Held<'py> {
    fn new((format, array): Tagged<'py>) -> PyResult<Self> {
        Ok(match format.as_str() {
            "f32" => Self::Floats(array.extract()?),
            "f16" => Self::Half(array.extract()?),
            "bf16" => Self::Brain(array.extract()?),
            _ => return Err(PyValueError::new_err(format!("format {format}: known are f32, f16 and bf16"))),
        })
    }

    fn values(&self) -> PyResult<Values<'_>> {
        let scattered = |_| PyValueError::new_err("an array of values is not contiguous (row-major)");
        Ok(match self {
            Self::Floats(array) => Values::F32(array.as_slice().map_err(scattered)?),
            Self::Half(array) => Values::F16(array.as_slice().map_err(scattered)?),
            Self::Brain(array) => Values::Bf16(array.as_slice().map_err(scattered)?),
        })
    }
}

/// Token ids as 32 bits, each checked against the vocabulary.
fn token_ids(ids: &[i64], length: usize, vocabulary: usize) -> PyResult<Vec<u32>> {
    ids.iter()
        .enumerate()
        .map(|(at, &id)| {
            u32::try_from(id).ok().filter(|&id| (id as usize) < vocabulary).ok_or_else(|| {
                let (sequence, position) = (at / length.max(1), at % length.max(1));
                PyValueError::new_err(format!(
                    "token id {id} at sequence {sequence} of the batch, position {position} is outside the \
                     vocabulary of {vocabulary}"
                ))
            })
        })
        .collect()
}

/// Statistics of a stream of causal importances.
#[pyclass(module = "core._harvest")]
pub struct Harvest {
    harvest: engine::Harvest,
}

#[pymethods]
impl Harvest {
    /// `share` is the output mass kept, in units of 2^-32: 0 for no output, 2^32 for all of it.
    #[new]
    #[pyo3(signature = (layers, vocabulary, *, threshold, context, uniform, strongest, share, seed))]
    fn new(
        layers: Vec<(String, usize)>,
        vocabulary: usize,
        threshold: f32,
        context: usize,
        uniform: usize,
        strongest: usize,
        share: u64,
        seed: u64,
    ) -> PyResult<Self> {
        let layers = layers.into_iter().map(|(name, width)| Layer { name, width }).collect();
        let output = match share {
            0 => Output::Off,
            share => u32::try_from(share).map_or(Output::Exact, Output::Nucleus),
        };
        let settings = Settings { layers, vocabulary, threshold, context, uniform, strongest, output, seed };
        Ok(Self { harvest: engine::Harvest::new(settings)? })
    }

    /// Count B sequences of S tokens; `layers` holds (importances, activations) of every layer, `features`
    /// which of the vocabulary are the inputs of every position, where these are not the tokens.
    #[pyo3(signature = (sequences, tokens, layers, probabilities, threads, features=None))]
    fn add_batch(
        &mut self,
        py: Python<'_>,
        sequences: PyReadonlyArrayDyn<'_, u64>,
        tokens: PyReadonlyArrayDyn<'_, i64>,
        layers: Vec<(Tagged<'_>, Tagged<'_>)>,
        probabilities: Option<Tagged<'_>>,
        threads: usize,
        features: Option<PyReadonlyArrayDyn<'_, u8>>,
    ) -> PyResult<()> {
        let scattered =
            |_| PyValueError::new_err("sequences, tokens or features are not contiguous (row-major)");
        let length = tokens.shape().last().copied().unwrap_or(0);
        let ids = tokens.as_slice().map_err(scattered)?;
        let ids = token_ids(ids, length, self.harvest.settings().vocabulary)?;
        let mut held = Vec::with_capacity(layers.len());
        for (importances, activations) in layers {
            held.push((Held::new(importances)?, Held::new(activations)?));
        }
        let mut values = Vec::with_capacity(held.len());
        for (importances, activations) in &held {
            values
                .push(LayerValues { importances: importances.values()?, activations: activations.values()? });
        }
        let output = probabilities.map(Held::new).transpose()?;
        let probabilities = output.as_ref().map(Held::values).transpose()?;
        let sequences = sequences.as_slice().map_err(scattered)?;
        let features = features.as_ref().map(|flags| flags.as_slice().map_err(scattered)).transpose()?;
        let batch = Batch { sequences, length, tokens: &ids, layers: values, probabilities, features };
        let harvest = &mut self.harvest;
        py.detach(|| harvest.add_batch(&batch, threads))?;
        Ok(())
    }

    /// Count what another harvest counted on other sequences; that one is empty afterwards.
    fn merge(&mut self, py: Python<'_>, mut other: PyRefMut<'_, Self>) -> PyResult<()> {
        let empty = engine::Harvest::new(other.harvest.settings().clone())?;
        if other.harvest.settings() != self.harvest.settings() {
            return Err(Fault("harvests with different settings cannot be merged".to_owned()).into());
        }
        let theirs = std::mem::replace(&mut other.harvest, empty);
        let harvest = &mut self.harvest;
        py.detach(|| harvest.merge(theirs))?;
        Ok(())
    }

    /// Positions counted.
    #[getter]
    fn positions(&self) -> u64 {
        self.harvest.positions()
    }

    /// Bytes held by each part.
    fn memory_bytes(&self) -> Vec<(&'static str, usize)> {
        self.harvest.memory()
    }

    /// Write the whole state to a new file.
    fn save(&mut self, py: Python<'_>, path: std::path::PathBuf, threads: usize) -> PyResult<()> {
        let harvest = &mut self.harvest;
        let write = || harvest.save(BufWriter::with_capacity(1 << 20, File::create(path)?), threads);
        // With the system's number of the error, so that a full disk is told as such.
        py.detach(write).map_err(|error| match error.raw_os_error() {
            Some(number) => {
                let reason = error.to_string();
                let reason = reason.split(" (os error").next().unwrap_or_default().to_owned();
                PyOSError::new_err((number, reason))
            }
            None => error.into(),
        })
    }

    /// The harvest saved in a file.
    #[staticmethod]
    fn load(py: Python<'_>, path: std::path::PathBuf) -> PyResult<Self> {
        let harvest = py.detach(|| -> PyResult<engine::Harvest> {
            verify(File::open(&path)?)?;
            let file = File::open(&path)?;
            let length = file.metadata()?.len();
            Ok(engine::Harvest::load(BufReader::with_capacity(1 << 20, file), length)?)
        })?;
        Ok(Self { harvest })
    }

    #[expect(clippy::type_complexity, reason = "what the constructor takes")]
    /// Layers, vocabulary, threshold, context, uniform, strongest, share, seed, as given to the constructor.
    fn settings(&self) -> (Vec<(String, usize)>, usize, f32, usize, usize, usize, u64, u64) {
        let Settings { layers, vocabulary, threshold, context, uniform, strongest, output, seed } =
            self.harvest.settings().clone();
        let layers = layers.into_iter().map(|layer| (layer.name, layer.width)).collect();
        let share = match output {
            Output::Off => 0,
            Output::Nucleus(share) => u64::from(share),
            Output::Exact => 1 << 32,
        };
        (layers, vocabulary, threshold, context, uniform, strongest, share, seed)
    }

    /// Work in what waits (before tables); returns the components that fired, ascending, and their handles.
    fn settle<'py>(&mut self, py: Python<'py>, threads: usize) -> (Vector<'py, u32>, Vector<'py, u32>) {
        let harvest = &mut self.harvest;
        py.detach(|| harvest.settle(threads));
        let (components, handles) = harvest.fired();
        (components.into_pyarray(py), handles.into_pyarray(py))
    }

    /// Of every component: firings; importance and activation summed over all positions, then over firings;
    /// histogram of importances at firings.
    #[expect(clippy::type_complexity, reason = "one array for each number")]
    fn totals<'py>(
        &mut self,
        py: Python<'py>,
    ) -> (
        Vector<'py, u64>,
        Vector<'py, f64>,
        Vector<'py, f64>,
        Vector<'py, f64>,
        Vector<'py, f64>,
        Vector<'py, u64>,
    ) {
        let table = self.harvest.totals();
        (
            table.firings.into_pyarray(py),
            table.importance.into_pyarray(py),
            table.activation.into_pyarray(py),
            table.firing_importance.into_pyarray(py),
            table.firing_activation.into_pyarray(py),
            table.histogram.into_pyarray(py),
        )
    }

    /// Of the components with these handles: where each starts, other components, positions with both.
    fn cofiring<'py>(
        &mut self,
        py: Python<'py>,
        handles: Vec<u32>,
    ) -> (Vector<'py, usize>, Vector<'py, u32>, Vector<'py, u64>) {
        let harvest = &mut self.harvest;
        let table = py.detach(|| harvest.cofiring(&handles));
        (table.starts.into_pyarray(py), table.others.into_pyarray(py), table.counts.into_pyarray(py))
    }

    /// Of the components with these handles: where each starts, input tokens, firings at each.
    fn input_tokens<'py>(
        &mut self,
        py: Python<'py>,
        handles: Vec<u32>,
    ) -> (Vector<'py, usize>, Vector<'py, u32>, Vector<'py, u64>) {
        let table = self.harvest.input(&handles);
        (table.starts.into_pyarray(py), table.tokens.into_pyarray(py), table.counts.into_pyarray(py))
    }

    /// Of the components with these handles: where each starts, output tokens, mass of each, mass dropped.
    #[expect(clippy::type_complexity, reason = "one array for each number")]
    fn output_tokens<'py>(
        &mut self,
        py: Python<'py>,
        handles: Vec<u32>,
    ) -> Option<(Vector<'py, usize>, Vector<'py, u32>, Vector<'py, f64>, Vector<'py, f64>)> {
        use crate::harvest::tile::Accumulator;
        let table = self.harvest.output()?.finish(&handles, &[]);
        Some((
            table.starts.into_pyarray(py),
            table.tokens.into_pyarray(py),
            table.masses.into_pyarray(py),
            table.dropped.into_pyarray(py),
        ))
    }

    #[expect(clippy::type_complexity, reason = "one array for each number")]
    /// Positions of each input token; and its output mass at all positions, and the part that was kept.
    fn tokens<'py>(
        &mut self,
        py: Python<'py>,
    ) -> (Vector<'py, u64>, Option<(Vector<'py, f64>, Vector<'py, f64>)>) {
        let occurrences = self.harvest.occurrences().to_vec().into_pyarray(py);
        let output = self.harvest.output().map(|output| {
            let (all, kept) = output.token_masses();
            (all.into_pyarray(py), kept.into_pyarray(py))
        });
        (occurrences, output)
    }

    /// Output mass of all positions, and how much of it was dropped.
    fn output_totals(&mut self) -> Option<(f64, f64)> {
        self.harvest.output().map(|output| output.total_and_dropped())
    }

    /// Examples of the components with these handles: of each example component, whether it is one of the
    /// strongest, sequence, position, index in its window, where its window starts; then the windows' tokens,
    /// importances and activations.
    #[expect(clippy::type_complexity, reason = "one array for each number")]
    fn examples<'py>(
        &mut self,
        py: Python<'py>,
        handles: Vec<u32>,
    ) -> (
        (Vector<'py, u32>, Vector<'py, bool>, Vector<'py, u64>, Vector<'py, u32>, Vector<'py, u32>),
        Vector<'py, usize>,
        (Vector<'py, u32>, Vector<'py, f32>, Vector<'py, f32>),
    ) {
        let table = self.harvest.examples(&handles);
        (
            (
                table.components.into_pyarray(py),
                table.strongest.into_pyarray(py),
                table.sequences.into_pyarray(py),
                table.positions.into_pyarray(py),
                table.marks.into_pyarray(py),
            ),
            table.starts.into_pyarray(py),
            (
                table.tokens.into_pyarray(py),
                table.importances.into_pyarray(py),
                table.activations.into_pyarray(py),
            ),
        )
    }
}
