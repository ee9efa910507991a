//! Byte strings that are compressed where that pays. The size before compression is declared, capped and checked.

use std::borrow::Cow;
use std::io::Read;

use rkyv::{Archive, Deserialize, Serialize};
use thiserror::Error;

const LEVEL: i32 = 7;
/// Decompression may look back this far: 2^23 bytes.
const WINDOW_LOG_MAX: u32 = 23;
/// A buffer starts no larger than this, whatever size is declared.
const FIRST_CAPACITY: usize = 1 << 20;

/// A byte string, compressed with zstd unless that would not make it smaller.
#[derive(Debug, Default, Archive, Serialize, Deserialize)]
pub(crate) struct Packed {
    /// Bytes before compression. Equal to the length of `bytes` if and only if that is not compressed.
    pub(crate) raw_bytes: u32,
    pub(crate) bytes: Vec<u8>,
}

/// Why a packed byte string does not unpack.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnpackError {
    /// More is declared than any writer packs.
    #[error("declares {declared} bytes unpacked, {cap} is the limit")]
    TooLarge {
        /// Bytes declared.
        declared: usize,
        /// The limit in bytes.
        cap: usize,
    },
    /// It holds more or less than is declared.
    #[error("unpacks to other than the {declared} bytes declared")]
    WrongSize {
        /// Bytes declared.
        declared: usize,
    },
    /// Zstd cannot read it.
    #[error("does not decompress: {0}")]
    Zstd(String),
}

impl Packed {
    /// Packs `raw`, or nothing where that is longer than `cap`.
    pub(crate) fn pack(raw: Vec<u8>, cap: usize) -> Option<Self> {
        let raw_bytes = u32::try_from(raw.len()).ok().filter(|_| raw.len() <= cap)?;
        // What cannot be compressed is stored as it is: a failure of the compressor is nothing worse.
        let bytes = match zstd::bulk::compress(&raw, LEVEL) {
            Ok(packed) if packed.len() < raw.len() => packed,
            _ => raw,
        };
        Some(Self { raw_bytes, bytes })
    }
}

impl ArchivedPacked {
    /// Bytes as stored.
    pub(crate) fn stored(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// Bytes that [`Self::unpack`] will give, as declared.
    pub(crate) fn declared(&self) -> usize {
        self.raw_bytes.to_native() as usize
    }

    /// The bytes, borrowed where they are not compressed; never more than `cap`.
    pub(crate) fn unpack(&self, cap: usize) -> Result<Cow<'_, [u8]>, UnpackError> {
        let declared = self.declared();
        if declared > cap {
            return Err(UnpackError::TooLarge { declared, cap });
        }
        if self.stored().len() == declared {
            return Ok(Cow::Borrowed(self.stored()));
        }
        let failed = |error: std::io::Error| UnpackError::Zstd(error.to_string());
        let mut decoder = zstd::stream::read::Decoder::with_buffer(self.stored()).map_err(failed)?;
        decoder.window_log_max(WINDOW_LOG_MAX).map_err(failed)?;
        let mut raw = Vec::with_capacity(declared.min(FIRST_CAPACITY));
        decoder.take(declared as u64 + 1).read_to_end(&mut raw).map_err(failed)?;
        if raw.len() != declared {
            return Err(UnpackError::WrongSize { declared });
        }
        Ok(Cow::Owned(raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(packed: &Packed, cap: usize) -> Result<Vec<u8>, UnpackError> {
        let bytes = rkyv::to_bytes::<rkyv::rancor::Error>(packed).unwrap();
        let archived = rkyv::access::<ArchivedPacked, rkyv::rancor::Error>(&bytes).unwrap();
        archived.unpack(cap).map(Cow::into_owned)
    }

    #[test]
    fn what_is_packed_unpacks() {
        for raw in [vec![], vec![7; 100_000], (0..=255).collect()] {
            let packed = Packed::pack(raw.clone(), 100_000).unwrap();
            assert_eq!(unpack(&packed, 100_000), Ok(raw));
        }
        assert!(Packed::pack(vec![0; 11], 10).is_none());
    }

    #[test]
    fn a_declared_size_is_never_trusted() {
        let packed = |raw_bytes| Packed { raw_bytes, bytes: zstd::bulk::compress(&[7; 50_000], 3).unwrap() };
        assert_eq!(unpack(&packed(50_000), 50_000).map(|raw| raw.len()), Ok(50_000));
        assert_eq!(unpack(&packed(49_999), 60_000), Err(UnpackError::WrongSize { declared: 49_999 }));
        assert_eq!(unpack(&packed(50_001), 60_000), Err(UnpackError::WrongSize { declared: 50_001 }));
        assert_eq!(
            unpack(&packed(u32::MAX), 50_000),
            Err(UnpackError::TooLarge { declared: u32::MAX as usize, cap: 50_000 })
        );
        let nonsense = Packed { raw_bytes: 100, bytes: b"nonsense".to_vec() };
        assert!(matches!(unpack(&nonsense, 100), Err(UnpackError::Zstd(_))));
    }
}
