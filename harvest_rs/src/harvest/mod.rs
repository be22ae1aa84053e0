//! Streams of causal importances into component statistics: exact, mergeable, in bounded memory.
//!
//! A batch is scanned once for firings (`scan`), these are put in order by component and by position
//! (`tile`), and every statistic is an `Accumulator` over them: totals, co-firing, input tokens, output
//! mass, examples. All numbers are integers (`fixed_point`), so the result has the same bits for any batch
//! split, number of threads and order of merging.

mod activations;
pub mod batch;
pub mod cofiring;
#[cfg(test)]
mod draws;
pub mod engine;
pub mod exact_mass;
pub mod examples;
pub mod fixed_point;
pub mod input_tokens;
mod kept_mass;
pub mod nucleus;
pub mod output_mass;
pub mod panels;
pub mod row;
pub mod sampling;
mod saved;
pub mod scan;
pub mod settings;
pub mod state;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod streams;
pub mod tile;
pub mod totals;
pub mod values;
pub mod windows;
