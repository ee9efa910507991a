//! Operands: registers, memory, immediates.
