//! Windows of tokens around a firing.

use super::batch::Batch;

/// Consecutive tokens of one sequence with a component's values there; shorter where the sequence ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// Index of the firing among the tokens.
    pub mark: u32,
    /// Token ids, then bits of the importances, then bits of the activations.
    pub(super) words: Box<[u32]>,
}

impl Window {
    /// Tokens, importance bits and activation bits.
    pub fn parts(&self) -> (&[u32], &[u32], &[u32]) {
        let length = self.words.len() / 3;
        let (tokens, values) = self.words.split_at(length);
        let (importances, activations) = values.split_at(length);
        (tokens, importances, activations)
    }

    /// Bytes outside the struct itself, with what an allocation costs.
    pub fn memory_bytes(&self) -> usize {
        4 * self.words.len() + 16
    }
}

/// A window to cut: position in the batch, component.
pub type Place = (usize, u32);

/// The windows of `context` tokens on either side of these places, which are in the order of their positions.
///
/// Values are gathered row by row: all windows that reach over a row read it while it is in the cache.
pub fn cut(batch: &Batch<'_>, places: &[Place], context: usize) -> Vec<Window> {
    let positions = batch.positions();
    let widths: Vec<usize> = batch.layers.iter().map(|layer| layer.importances.len() / positions).collect();
    let mut cuts: Vec<Cut> = places.iter().map(|&place| Cut::new(batch, &widths, place, context)).collect();
    let total: usize = widths.iter().sum();
    let mut first = 0;
    let (Some(start), Some(end)) = (places.first(), places.last()) else { return Vec::new() };
    for row in start.0.saturating_sub(context)..(end.0 + context + 1).min(positions) {
        while first < cuts.len() && places[first].0 + context < row {
            first += 1;
        }
        // A few values are fetched one by one; of many, the row is rather read in its order.
        let reaching = places[first..].partition_point(|place| place.0 <= row + context);
        for (layer, &width) in batch.layers.iter().zip(&widths) {
            if reaching * 64 > total {
                layer.importances.warm(row * width..(row + 1) * width);
                layer.activations.warm(row * width..(row + 1) * width);
            }
        }
        for cut in cuts[first..].iter_mut().take_while(|cut| cut.position <= row + context) {
            if (cut.first..cut.last).contains(&row) {
                let layer = &batch.layers[cut.layer];
                let at = row * widths[cut.layer] + cut.column;
                let (index, length) = (row - cut.first, cut.last - cut.first);
                cut.words[length + index] = layer.importances.at(at).to_bits();
                cut.words[2 * length + index] = layer.activations.at(at).to_bits();
            }
        }
    }
    cuts.into_iter().map(Cut::finish).collect()
}

/// A window being filled.
struct Cut {
    position: usize,
    first: usize,
    last: usize,
    layer: usize,
    column: usize,
    words: Box<[u32]>,
}

impl Cut {
    fn new(batch: &Batch<'_>, widths: &[usize], (position, component): Place, context: usize) -> Self {
        let sequence = position / batch.length * batch.length;
        let first = position.saturating_sub(context).max(sequence);
        let last = (position + context + 1).min(sequence + batch.length);
        let (mut layer, mut column) = (0, component as usize);
        while column >= widths[layer] {
            column -= widths[layer];
            layer += 1;
        }
        let mut words = vec![0; 3 * (last - first)].into_boxed_slice();
        words[..last - first].copy_from_slice(&batch.tokens[first..last]);
        Self { position, first, last, layer, column, words }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a window has at most 2^17 + 1 tokens")]
    fn finish(self) -> Window {
        Window { mark: (self.position - self.first) as u32, words: self.words }
    }
}
