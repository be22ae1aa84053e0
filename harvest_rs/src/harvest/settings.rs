//! What a harvest counts, and the faults it reports.

/// What becomes of the model's output probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// There are none.
    Off,
    /// Each position keeps its most probable tokens up to this share of its mass, in units of 2^-32.
    Nucleus(u32),
    /// Every probability counts.
    Exact,
}

/// One decomposed module: its name and how many components it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Module path, as errors name it.
    pub name: String,
    /// Its components, at least one.
    pub width: usize,
}

/// Everything that decides what is counted; two harvests merge only when it is equal.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Modules in the order in which their components are numbered.
    pub layers: Vec<Layer>,
    /// Token ids lie below this.
    pub vocabulary: usize,
    /// A component fires where its causal importance is above this (at least zero).
    pub threshold: f32,
    /// Tokens on either side of a firing that an example shows.
    pub context: usize,
    /// Uniformly sampled examples per component.
    pub uniform: usize,
    /// Strongest examples per component.
    pub strongest: usize,
    /// Output mass.
    pub output: Output,
    /// Seed of the uniform sample.
    pub seed: u64,
}

/// The largest number of components or tokens: ids fit in 32 bits with room for counts of them.
pub const MOST: usize = 1 << 20;

/// What is wrong, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub String);

impl std::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

impl Settings {
    /// Components of all layers together.
    pub fn components(&self) -> usize {
        self.layers.iter().map(|layer| layer.width).sum()
    }

    /// The number of the first component of each layer.
    pub fn offsets(&self) -> Vec<usize> {
        let mut next = 0;
        self.layers
            .iter()
            .map(|layer| {
                let first = next;
                next += layer.width;
                first
            })
            .collect()
    }

    /// # Errors
    /// A size is zero or above 2^20, or a threshold or share is no number in its range.
    pub fn check(&self) -> Result<(), Fault> {
        let sizes = [("components", self.components()), ("tokens in the vocabulary", self.vocabulary)];
        for (what, size) in sizes {
            if size == 0 || size > MOST {
                return Err(Fault(format!("{size} {what}: between 1 and {MOST} are possible")));
            }
        }
        if let Some(empty) = self.layers.iter().find(|layer| layer.width == 0) {
            return Err(Fault(format!("layer {} has no components", empty.name)));
        }
        if !(self.threshold >= 0.0 && self.threshold < 1.0) {
            return Err(Fault(format!("the firing threshold {} is not in [0, 1)", self.threshold)));
        }
        for (what, size) in [("context", self.context), ("examples", self.uniform.max(self.strongest))] {
            if size > 1 << 16 {
                return Err(Fault(format!("{what} {size} is above {}", 1 << 16)));
            }
        }
        if self.output == Output::Nucleus(0) {
            return Err(Fault("a nucleus keeps a share above zero of the output mass".to_owned()));
        }
        Ok(())
    }
}
