//! Checks on what Python hands over: one message form for every wrong argument.

use numpy::{Element, PyReadonlyArrayDyn, PyReadwriteArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// A float32 array that is only read.
pub type Input<'py> = PyReadonlyArrayDyn<'py, f32>;
/// A float32 array that is filled.
pub type Output<'py> = PyReadwriteArrayDyn<'py, f32>;

/// A matrix in float32, or in bfloat16 as the bits of its numbers.
#[derive(FromPyObject)]
pub enum Matrix<'py> {
    /// Float32.
    Single(PyReadonlyArrayDyn<'py, f32>),
    /// Bfloat16.
    Half(PyReadonlyArrayDyn<'py, u16>),
}

/// The same, to be filled.
#[derive(FromPyObject)]
pub enum MatrixOut<'py> {
    /// Float32.
    Single(PyReadwriteArrayDyn<'py, f32>),
    /// Bfloat16.
    Half(PyReadwriteArrayDyn<'py, u16>),
}

/// The error for matrices of two types where one is needed.
pub fn mixed_types(names: &str) -> PyErr {
    PyTypeError::new_err(format!("{names} must be all float32 or all bfloat16 (as uint16)"))
}

/// The values of a contiguous input with `length` elements.
pub fn input<'a, T: Element>(
    array: &'a PyReadonlyArrayDyn<'_, T>,
    name: &str,
    length: usize,
) -> PyResult<&'a [T]> {
    check(name, array.len(), length)?;
    array.as_slice().map_err(|_| not_contiguous(name))
}

/// The values of an input that may be absent.
pub fn optional<'a>(array: Option<&'a Input<'_>>, name: &str, length: usize) -> PyResult<Option<&'a [f32]>> {
    array.map(|array| input(array, name, length)).transpose()
}

/// The values of an output that may be absent.
pub fn optional_output<'a, T: Element>(
    array: Option<&'a mut PyReadwriteArrayDyn<'_, T>>,
    name: &str,
    length: usize,
) -> PyResult<Option<&'a mut [T]>> {
    array.map(|array| output(array, name, length)).transpose()
}

/// The values of a contiguous output with `length` elements.
pub fn output<'a, T: Element>(
    array: &'a mut PyReadwriteArrayDyn<'_, T>,
    name: &str,
    length: usize,
) -> PyResult<&'a mut [T]> {
    check(name, array.len(), length)?;
    array.as_slice_mut().map_err(|_| not_contiguous(name))
}

/// How many rows an array of `elements` has with `columns` columns.
pub fn rows(name: &str, elements: usize, columns: usize) -> PyResult<usize> {
    if columns == 0 || !elements.is_multiple_of(columns) {
        return Err(PyValueError::new_err(format!(
            "{name} has {elements} elements, which is not a whole number of rows of {columns}"
        )));
    }
    Ok(elements / columns)
}

fn check(name: &str, actual: usize, expected: usize) -> PyResult<()> {
    if actual == expected {
        return Ok(());
    }
    Err(PyValueError::new_err(format!("{name} has {actual} elements, expected {expected}")))
}

fn not_contiguous(name: &str) -> PyErr {
    PyValueError::new_err(format!("{name} is not contiguous (row-major)"))
}
