//! Blocks of a row-major (N, C) matrix, copied so that each column is contiguous.
//!
//! A kernel that treats every column differently and every row alike wants vectors along the rows. It works
//! on one block of `BLOCK_ROWS` by `BLOCK_COMPONENTS` at a time: `gather`, compute, `scatter`.

/// Components of one work item: 16 floats are one cache line of a row.
pub const BLOCK_COMPONENTS: usize = 16;
/// Rows of one work item: three columns of it fit in the first-level cache.
pub const BLOCK_ROWS: usize = 512;
/// Rows handled by one round of the inner loop; two 512-bit vectors.
pub const LANES: usize = 32;
/// Rounds of one item.
const CHUNKS: usize = BLOCK_ROWS / LANES;

/// One round's values.
pub type Lanes = [f32; LANES];
/// The rows of one component in one item, and one unused chunk: without it, the columns' distance would be a
/// power of two and the cache could hold only a few of their lines at once.
pub type Column = [Lanes; CHUNKS + 1];
/// All columns of one item.
pub type Tile = [Column; BLOCK_COMPONENTS];

/// One work item's place in a row-major (N, C) matrix.
#[derive(Clone, Copy)]
pub struct Block {
    /// Index of its first row.
    pub first_row: usize,
    /// Number of rows, at most `BLOCK_ROWS`.
    pub rows: usize,
    /// Index of its first column.
    pub first_component: usize,
    /// Number of columns, at most `BLOCK_COMPONENTS`.
    pub width: usize,
}

impl Block {
    /// Rounds that hold its rows; the last one may be padded.
    #[must_use]
    pub fn chunks(self) -> usize {
        self.rows.div_ceil(LANES)
    }
}

/// All items in a fixed order (row blocks outermost), each with its piece of every row of `out`.
///
/// The pieces are ordinary disjoint slices, so threads can write columns of one matrix without unsafe code.
pub fn blocks(out: &mut [f32], components: usize) -> impl Iterator<Item = (Block, Vec<&mut [f32]>)> + Send {
    out.chunks_mut(BLOCK_ROWS * components).enumerate().flat_map(move |(index, rows)| {
        let mut rest: Vec<&mut [f32]> = rows.chunks_mut(components).collect();
        (0..components).step_by(BLOCK_COMPONENTS).map(move |first_component| {
            let width = BLOCK_COMPONENTS.min(components - first_component);
            let block = Block { first_row: index * BLOCK_ROWS, rows: rest.len(), first_component, width };
            let pieces = rest.iter_mut().map(|row| row.split_off_mut(..width).unwrap_or_default());
            (block, pieces.collect())
        })
    })
}

/// A tile of zeros.
#[expect(clippy::large_stack_arrays, reason = "a constant: it is made on the heap")]
pub fn new_tile() -> Box<Tile> {
    Box::new([[[0.0; LANES]; CHUNKS + 1]; BLOCK_COMPONENTS])
}

/// Copy a block's columns into lanes; rows past the end become zero, which adds nothing to any gradient.
pub fn gather(matrix: &[f32], components: usize, block: Block, tile: &mut Tile) {
    let rows = matrix.chunks(components).skip(block.first_row).take(block.rows);
    for (index, row) in rows.enumerate() {
        let row = &row[block.first_component..block.first_component + block.width];
        let (chunk, lane) = (index / LANES, index % LANES);
        if let Ok(full) = <&[f32; BLOCK_COMPONENTS]>::try_from(row) {
            // The same as below, with a length the compiler knows.
            for column in 0..BLOCK_COMPONENTS {
                tile[column][chunk][lane] = full[column];
            }
        } else {
            for (column, &value) in tile.iter_mut().zip(row) {
                column[chunk][lane] = value;
            }
        }
    }
    for index in block.rows..block.chunks() * LANES {
        for column in tile.iter_mut() {
            column[index / LANES][index % LANES] = 0.0;
        }
    }
}

/// Write lanes back to the block's piece of every row.
pub fn scatter(tile: &Tile, pieces: &mut [&mut [f32]]) {
    for (index, piece) in pieces.iter_mut().enumerate() {
        let (chunk, lane) = (index / LANES, index % LANES);
        if let Ok(full) = <&mut [f32; BLOCK_COMPONENTS]>::try_from(&mut **piece) {
            for column in 0..BLOCK_COMPONENTS {
                full[column] = tile[column][chunk][lane];
            }
        } else {
            for (value, column) in piece.iter_mut().zip(tile) {
                *value = column[chunk][lane];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scatter_undoes_gather_for_every_block() {
        let (rows, components) = (1100_u16, 37_usize);
        let matrix: Vec<f32> =
            (0..rows).flat_map(|n| (0..37_u8).map(move |c| f32::from(n) + f32::from(c) / 64.0)).collect();
        let mut copy = vec![-1.0; matrix.len()];
        let mut tile = new_tile();
        let mut items = 0;
        for (block, mut pieces) in blocks(&mut copy, components) {
            gather(&matrix, components, block, &mut tile);
            scatter(&tile, &mut pieces);
            items += 1;
        }
        assert_eq!(matrix, copy);
        assert_eq!(items, 3 * 3);
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "these values are exact")]
    fn rows_past_the_end_are_zero() {
        let mut tile = new_tile();
        tile[1][0] = [9.0; LANES];
        let block = Block { first_row: 0, rows: 5, first_component: 0, width: 2 };
        gather(&[1.0; 10], 2, block, &mut tile);
        assert!(tile[1][0][..5].iter().all(|&value| value == 1.0));
        assert!(tile[1][0][5..].iter().all(|&value| value == 0.0));
    }
}
