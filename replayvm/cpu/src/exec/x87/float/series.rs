//! Power series in fixed point: coefficients and sums in units of 2^-127, variables in units of 2^-128.

use super::wide::high;

/// One.
pub(super) const ONE: u128 = 1 << 127;

/// 1 / n! for n from 0 on.
const fn inverse_factorials<const N: usize>() -> [u128; N] {
    let mut table = [ONE; N];
    let mut n = 1;
    while n < N {
        table[n] = table[n - 1] / n as u128;
        n += 1;
    }
    table
}

/// Every other element, beginning with `first`.
const fn every_other<const N: usize, const M: usize>(table: [u128; N], first: usize) -> [u128; M] {
    let mut picked = [0; M];
    let mut i = 0;
    while i < M {
        picked[i] = table[2 * i + first];
        i += 1;
    }
    picked
}

/// 1 / (2 n + 1) for n from 0 on.
const fn inverse_odds<const N: usize>() -> [u128; N] {
    let mut table = [ONE; N];
    let mut n = 0;
    while n < N {
        table[n] = ONE / (2 * n as u128 + 1);
        n += 1;
    }
    table
}

const FACTORIALS: [u128; 34] = inverse_factorials();

/// 1/1!, 1/2!, ...: of (e^z - 1) / z. For z below 0.7.
pub(super) static EXPONENTIAL: [u128; 31] = {
    let mut table = [0; 31];
    let mut i = 0;
    while i < 31 {
        table[i] = FACTORIALS[i + 1];
        i += 1;
    }
    table
};
/// 1/1!, 1/3!, ...: of sin(r) / r in z = r^2, signs alternating. For z below 0.7.
pub(super) static SINE: [u128; 16] = every_other(FACTORIALS, 1);
/// 1/0!, 1/2!, ...: of cos(r).
pub(super) static COSINE: [u128; 16] = every_other(FACTORIALS, 0);
/// 1, 1/3, 1/5, ...: of atanh(s) / s in z = s^2, and with alternating signs of atan(s) / s. For z below 0.03.
pub(super) static ODD: [u128; 26] = inverse_odds();

/// The sum of c\[k\] z^k.
pub(super) const fn positive(coefficients: &[u128], z: u128) -> u128 {
    let mut sum = 0;
    let mut i = coefficients.len();
    while i > 0 {
        i -= 1;
        sum = coefficients[i] + high(sum, z);
    }
    sum
}

/// The sum of c\[k\] (-z)^k, for falling terms.
pub(super) const fn alternating(coefficients: &[u128], z: u128) -> u128 {
    let mut sum = 0;
    let mut i = coefficients.len();
    while i > 0 {
        i -= 1;
        sum = coefficients[i] - high(sum, z);
    }
    sum
}

/// A sum that is less than one only by what has been cut off is made so.
pub(super) const fn below_one(sum: u128) -> u128 {
    if sum < ONE { sum } else { ONE - 1 }
}
