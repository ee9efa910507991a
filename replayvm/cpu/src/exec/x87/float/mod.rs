//! 80-bit floating point in integers: values in, value and exceptions out. Knows nothing of the register stack, of
//! instructions or of the host's floating point.

/// Addition, subtraction, multiplication, division, square root.
mod arithmetic;
/// From and to integers and packed decimals.
mod convert;
/// The register format, its classes, and the memory formats.
mod format;
/// Exponential and logarithms.
mod logarithm;
/// Partial remainders, scaling, taking apart.
mod remainder;
/// The one rounding.
mod round;
/// Power series.
mod series;
/// Sine, cosine, tangent, arctangent.
mod trigonometry;
/// 128-bit numbers, for what cannot be exact.
mod wide;

pub(super) use arithmetic::{add, compare, divide, multiply, square_root, subtract};
pub(super) use convert::{from_decimal, from_integer, round_to_integral, to_decimal, to_integer};
pub(super) use format::{Class, Extended, from_double, from_single, to_double, to_single};
pub(super) use logarithm::{exponential, logarithm, logarithm_of_next};
pub(super) use remainder::{Quotient, extract, remainder, scale};
pub(super) use round::{Control, Outcome, Rounding, constant, flag};
pub(super) use trigonometry::{arctangent, circular, tangent};
pub(super) use wide::Wide;
