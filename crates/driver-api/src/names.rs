//! The driver's functions by name.

#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "only in what the compiler evaluates: an index or a length beyond bounds does not compile"
)]

use crate::function::{DRIVER_FUNCTIONS, Function};

/// The rows of [`DRIVER_FUNCTIONS`], ordered by name: a runtime looks some 440 names up when it starts.
static BY_NAME: [u16; DRIVER_FUNCTIONS.len()] = {
    let mut rows = [0; DRIVER_FUNCTIONS.len()];
    let mut row = 0;
    while row < rows.len() {
        let mut place = row;
        while place > 0
            && is_less(DRIVER_FUNCTIONS[row].name, DRIVER_FUNCTIONS[rows[place - 1] as usize].name)
        {
            rows[place] = rows[place - 1];
            place -= 1;
        }
        rows[place] = row as u16;
        row += 1;
    }
    rows
};

/// `left < right`, for the compiler.
const fn is_less(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut at = 0;
    while at < left.len() && at < right.len() && left[at] == right[at] {
        at += 1;
    }
    at < right.len() && (at == left.len() || left[at] < right[at])
}

/// The driver's functions of a name, one for each ABI and kind of stream.
pub(crate) fn named(name: &str) -> impl Iterator<Item = &'static Function> {
    let row = |row: &u16| DRIVER_FUNCTIONS.get(usize::from(*row));
    let first = BY_NAME.partition_point(|at| row(at).is_some_and(|function| function.name < name));
    let rest = BY_NAME.get(first..).unwrap_or(&[]).iter().filter_map(row);
    rest.take_while(move |function| function.name == name)
}
