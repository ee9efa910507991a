//! What operations do, one family a file.
//!
//! A handler does an instruction whole or says [`Outcome::Slow`](crate::blocks::op::Outcome::Slow) having changed
//! nothing. It may take it for granted that no debug register is armed and that no alignment is checked.

/// Addition, subtraction, logic and comparison.
pub(crate) mod alu;
/// Exchanges, compared or added.
pub(crate) mod atomic;
/// Single bits, and multiplication.
pub(crate) mod bits;
/// Jumps, calls and returns.
pub(crate) mod control;
/// Data movement.
pub(crate) mod data;
/// Shifts and rotations.
pub(crate) mod shift;
/// The stack.
pub(crate) mod stack;

use crate::blocks::op::{Op, Outcome};
use crate::bus::Bus;
use crate::step::Cpu;

/// Leaves the instruction to the plain form's handler.
pub(crate) fn slow<B: Bus>(_: &mut Cpu, _: &mut B, _: &Op<B>) -> Outcome {
    Outcome::Slow
}

/// Leaves the instruction to the end of the block.
pub(crate) fn boundary<B: Bus>(_: &mut Cpu, _: &mut B, _: &Op<B>) -> Outcome {
    Outcome::Boundary
}

/// Nothing.
pub(crate) fn nothing<B: Bus>(_: &mut Cpu, _: &mut B, _: &Op<B>) -> Outcome {
    Outcome::Next
}

/// The handler of a size in bytes: constants first, then the size.
macro_rules! by_size {
    ($handler:ident, [$($constant:expr),*], $size:expr) => {
        match $size {
            1 => $handler::<B, $({ $constant },)* 1>,
            2 => $handler::<B, $({ $constant },)* 2>,
            4 => $handler::<B, $({ $constant },)* 4>,
            _ => $handler::<B, $({ $constant },)* 8>,
        }
    };
}
pub(crate) use by_size;

/// The handler of a size in bytes and a shape of address: constants first, then the size, then the shape. Words are rare
/// and share one shape.
macro_rules! by_size_and_shape {
    ($handler:ident, [$($constant:expr),*], $size:expr, $shape:expr) => {
        match ($size, $shape) {
            (1, ABSOLUTE) => $handler::<B, $({ $constant },)* 1, ABSOLUTE>,
            (1, BASE) => $handler::<B, $({ $constant },)* 1, BASE>,
            (1, INDEXED) => $handler::<B, $({ $constant },)* 1, INDEXED>,
            (1, _) => $handler::<B, $({ $constant },)* 1, ANY>,
            (2, _) => $handler::<B, $({ $constant },)* 2, ANY>,
            (4, ABSOLUTE) => $handler::<B, $({ $constant },)* 4, ABSOLUTE>,
            (4, BASE) => $handler::<B, $({ $constant },)* 4, BASE>,
            (4, INDEXED) => $handler::<B, $({ $constant },)* 4, INDEXED>,
            (4, _) => $handler::<B, $({ $constant },)* 4, ANY>,
            (_, ABSOLUTE) => $handler::<B, $({ $constant },)* 8, ABSOLUTE>,
            (_, BASE) => $handler::<B, $({ $constant },)* 8, BASE>,
            (_, INDEXED) => $handler::<B, $({ $constant },)* 8, INDEXED>,
            (_, _) => $handler::<B, $({ $constant },)* 8, ANY>,
        }
    };
}
pub(crate) use by_size_and_shape;

/// The handler of a condition: other constants after it.
macro_rules! by_condition {
    ($handler:ident, $condition:expr $(, $constant:expr)*) => {
        match $condition {
            0 => $handler::<B, 0 $(, { $constant })*>,
            1 => $handler::<B, 1 $(, { $constant })*>,
            2 => $handler::<B, 2 $(, { $constant })*>,
            3 => $handler::<B, 3 $(, { $constant })*>,
            4 => $handler::<B, 4 $(, { $constant })*>,
            5 => $handler::<B, 5 $(, { $constant })*>,
            6 => $handler::<B, 6 $(, { $constant })*>,
            7 => $handler::<B, 7 $(, { $constant })*>,
            8 => $handler::<B, 8 $(, { $constant })*>,
            9 => $handler::<B, 9 $(, { $constant })*>,
            10 => $handler::<B, 10 $(, { $constant })*>,
            11 => $handler::<B, 11 $(, { $constant })*>,
            12 => $handler::<B, 12 $(, { $constant })*>,
            13 => $handler::<B, 13 $(, { $constant })*>,
            14 => $handler::<B, 14 $(, { $constant })*>,
            _ => $handler::<B, 15 $(, { $constant })*>,
        }
    };
}
pub(crate) use by_condition;
