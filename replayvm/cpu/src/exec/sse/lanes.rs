//! A vector as an array of lanes.

/// An integer that vectors are made of.
pub(in crate::exec) trait Lane: Copy {
    /// Bits.
    const BITS: u32;
    /// The low bits of a vector.
    fn cut(vector: u128) -> Self;
    /// Zero-extended.
    fn wide(self) -> u128;
}

macro_rules! lane {
    ($($lane:ty as $unsigned:ty),*) => {$(
        impl Lane for $lane {
            const BITS: u32 = <$lane>::BITS;
            #[inline]
            fn cut(vector: u128) -> Self {
                vector as $lane
            }
            #[inline]
            fn wide(self) -> u128 {
                u128::from(self as $unsigned)
            }
        }
    )*};
}
lane!(u8 as u8, i8 as u8, u16 as u16, i16 as u16, u32 as u32, i32 as u32, u64 as u64, i64 as u64);

/// The lanes of a vector, lowest first.
#[inline]
pub(in crate::exec) fn split<T: Lane, const N: usize>(vector: u128) -> [T; N] {
    std::array::from_fn(|i| T::cut(vector >> (i as u32 * T::BITS)))
}

/// The vector of those lanes.
#[inline]
pub(in crate::exec) fn join<T: Lane, const N: usize>(lanes: [T; N]) -> u128 {
    lanes.iter().enumerate().fold(0, |all, (i, lane)| all | (lane.wide() << (i as u32 * T::BITS)))
}

/// `f` of each pair of lanes.
#[inline]
pub(in crate::exec) fn zip<T: Lane, const N: usize>(a: u128, b: u128, f: impl Fn(T, T) -> T) -> u128 {
    let (a, b) = (split::<T, N>(a), split::<T, N>(b));
    join::<T, N>(std::array::from_fn(|i| f(a[i], b[i])))
}

/// `f` of each lane.
#[inline]
pub(in crate::exec) fn map<T: Lane, const N: usize>(a: u128, f: impl Fn(T) -> T) -> u128 {
    join::<T, N>(split::<T, N>(a).map(f))
}
