//! One batch of a stream: whole sequences, and what the model computed at each of their positions.

use super::fixed_point::{ACTIVATION_LIMIT, LARGEST_PROBABILITY};
use super::settings::{Fault, Output, Settings};
use super::values::Values;

/// What one module computed, positions x components of that module, row-major.
pub struct LayerValues<'a> {
    /// Causal importances in [0, 1].
    pub importances: Values<'a>,
    /// Component activations.
    pub activations: Values<'a>,
}

/// B sequences of S tokens; position `b S + s` is token s of sequence b.
pub struct Batch<'a> {
    /// The number of each sequence in the whole stream (B); sampling depends on it and on nothing else.
    pub sequences: &'a [u64],
    /// Tokens in a sequence, S.
    pub length: usize,
    /// Token ids (B S).
    pub tokens: &'a [u32],
    /// One for every layer, in the order of the settings.
    pub layers: Vec<LayerValues<'a>>,
    /// Output probabilities, positions x vocabulary; there when output mass is counted.
    pub probabilities: Option<Values<'a>>,
    /// Where a position has several inputs at once instead of one token: which of the vocabulary are there
    /// (not zero), positions x vocabulary. Windows still show the tokens.
    pub features: Option<&'a [u8]>,
}

impl Batch<'_> {
    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.tokens.len()
    }

    /// `sequence 3, position 17` for a position of the batch.
    pub fn place(&self, position: usize) -> String {
        let length = self.length.max(1);
        format!("sequence {} of the batch, position {}", position / length, position % length)
    }

    /// # Errors
    /// An array has the wrong size, or a token id is outside the vocabulary.
    pub fn check(&self, settings: &Settings) -> Result<(), Fault> {
        let positions = self.positions();
        if self.sequences.len() * self.length != positions {
            return Err(Fault(format!(
                "{} sequences of {} tokens do not make {positions} token ids",
                self.sequences.len(),
                self.length
            )));
        }
        if self.layers.len() != settings.layers.len() {
            let (given, wanted) = (self.layers.len(), settings.layers.len());
            return Err(Fault(format!("the batch has values of {given} layers, expected {wanted}")));
        }
        for (layer, values) in settings.layers.iter().zip(&self.layers) {
            let named = [
                ("causal importances", values.importances.len()),
                ("component activations", values.activations.len()),
            ];
            for (what, count) in named {
                if count != positions * layer.width {
                    return Err(Fault(format!(
                        "layer {}: {count} {what}, expected {positions} positions x {} components",
                        layer.name, layer.width
                    )));
                }
            }
        }
        self.check_probabilities(settings)?;
        if let Some(flags) = self.features.filter(|flags| flags.len() != positions * settings.vocabulary) {
            return Err(Fault(format!(
                "{} flags of input features, expected {positions} positions x {} features",
                flags.len(),
                settings.vocabulary
            )));
        }
        if let Some(at) = self.tokens.iter().position(|&id| id as usize >= settings.vocabulary) {
            return Err(Fault(format!(
                "token id {} at {} is outside the vocabulary of {}",
                self.tokens[at],
                self.place(at),
                settings.vocabulary
            )));
        }
        Ok(())
    }

    fn check_probabilities(&self, settings: &Settings) -> Result<(), Fault> {
        match (&self.probabilities, settings.output) {
            (None, Output::Off) => Ok(()),
            (None, _) => Err(Fault("output mass is counted, but the batch has no probabilities".to_owned())),
            (Some(_), Output::Off) => {
                Err(Fault("the batch has probabilities, but no output mass is counted".to_owned()))
            }
            (Some(values), _) if values.len() != self.positions() * settings.vocabulary => {
                Err(Fault(format!(
                    "{} output probabilities, expected {} positions x {} tokens",
                    values.len(),
                    self.positions(),
                    settings.vocabulary
                )))
            }
            _ => Ok(()),
        }
    }

    /// The first value that a scan refused, by name; `None` when every value is in its range.
    pub fn refused(&self, settings: &Settings) -> Option<Fault> {
        for (layer, values) in settings.layers.iter().zip(&self.layers) {
            for index in 0..self.positions() * layer.width {
                let place = || {
                    let place = self.place(index / layer.width);
                    format!("layer {}, {place}, component {}", layer.name, index % layer.width)
                };
                let importance = values.importances.at(index);
                if !importance_allowed(importance) {
                    return Some(Fault(format!(
                        "{}: the causal importance is {importance}, allowed is 0 to 1",
                        place()
                    )));
                }
                let activation = values.activations.at(index);
                if !activation_allowed(activation) {
                    return Some(Fault(format!(
                        "{}: the component activation is {activation}, allowed is a number below \
                         {ACTIVATION_LIMIT} in magnitude",
                        place()
                    )));
                }
            }
        }
        let probabilities = self.probabilities?;
        let at = (0..probabilities.len()).find(|&index| !probability_allowed(probabilities.at(index)))?;
        Some(Fault(format!(
            "output, {}, token {}: the probability is {}, allowed is 0 to 1",
            self.place(at / settings.vocabulary),
            at % settings.vocabulary,
            probabilities.at(at)
        )))
    }
}

/// Whether this is a causal importance (NaN is not).
#[inline(always)]
pub fn importance_allowed(x: f32) -> bool {
    (0.0..=1.0).contains(&x)
}

/// Whether this activation can be summed (NaN cannot).
#[inline(always)]
pub fn activation_allowed(x: f32) -> bool {
    x.abs() < ACTIVATION_LIMIT
}

/// Whether this is a probability, but for rounding (NaN is not).
#[inline(always)]
pub fn probability_allowed(x: f32) -> bool {
    (0.0..=LARGEST_PROBABILITY).contains(&x)
}
