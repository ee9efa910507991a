//! Guest memory as a device reaches it: every write is noted, so that the CPU and whoever watches learn of it.

use crate::machine::GuestRam;

/// A piece of guest memory that a descriptor names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// First byte, guest-physical.
    pub(super) gpa: u64,
    /// Bytes.
    pub(super) len: u32,
}

/// What a device has written: first byte, guest-physical, and bytes.
pub type DeviceWrite = (u64, u64);

/// Guest RAM with the one way in which devices write to it.
#[derive(Debug)]
pub(super) struct DeviceMemory<'m> {
    /// RAM, and the hidden pages in which disks keep what is written.
    pub(super) ram: &'m mut GuestRam,
    /// All writes to RAM, in order.
    pub(super) writes: &'m mut Vec<DeviceWrite>,
}

impl DeviceMemory<'_> {
    /// Whether all of these are RAM.
    pub(super) fn contains(&self, spans: &[Span]) -> bool {
        spans.iter().all(|span| span.len == 0 || self.ram.contains(span.gpa, span.len as usize))
    }

    /// The bytes of these pieces, one after the other. `None`: not all of them are RAM. Whoever calls bounds their length.
    pub(super) fn read(&self, spans: &[Span]) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(total(spans) as usize);
        for span in spans.iter().filter(|span| span.len != 0) {
            bytes.extend_from_slice(self.ram.slice(span.gpa, span.len as usize).ok()?);
        }
        Some(bytes)
    }

    /// Writes bytes into these pieces, one after the other, as far as they go. `None`: not all of them are RAM, and some may
    /// have been written.
    pub(super) fn write(&mut self, spans: &[Span], mut bytes: &[u8]) -> Option<()> {
        for span in spans.iter().filter(|span| span.len != 0) {
            let (piece, rest) = bytes.split_at(bytes.len().min(span.len as usize));
            if piece.is_empty() {
                break;
            }
            self.ram.write_slice(span.gpa, piece).ok()?;
            self.writes.push((span.gpa, piece.len() as u64));
            bytes = rest;
        }
        Some(())
    }

    /// Notes a write that was made through [`GuestRam::memory`].
    pub(super) fn written(&mut self, gpa: u64, len: u64) {
        self.ram.device_wrote(gpa, len);
        self.writes.push((gpa, len));
    }
}

/// Bytes of all pieces together.
pub(super) fn total(spans: &[Span]) -> u64 {
    spans.iter().map(|span| u64::from(span.len)).sum()
}

/// The `len` bytes from `from` on of what these pieces are together.
pub(super) fn cut(spans: &[Span], mut from: u64, mut len: u64) -> Vec<Span> {
    let mut pieces = Vec::new();
    for span in spans {
        let skipped = from.min(u64::from(span.len));
        from -= skipped;
        let taken = len.min(u64::from(span.len) - skipped);
        len -= taken;
        if taken != 0 {
            // `taken` is at most the length of a span.
            pieces.push(Span { gpa: span.gpa.wrapping_add(skipped), len: taken as u32 });
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_cut_across_their_borders() {
        let spans = [Span { gpa: 100, len: 4 }, Span { gpa: 200, len: 0 }, Span { gpa: 300, len: 8 }];
        assert_eq!(total(&spans), 12);
        assert_eq!(cut(&spans, 2, 4), [Span { gpa: 102, len: 2 }, Span { gpa: 300, len: 2 }]);
        assert_eq!(cut(&spans, 11, 1), [Span { gpa: 307, len: 1 }]);
        assert_eq!(cut(&spans, 12, 1), []);
        assert_eq!(cut(&spans, 0, 99), [spans[0], spans[2]]);
    }
}
