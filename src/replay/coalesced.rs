//! Bytes that are kept for a while, in at most twice the memory that they need, or in one buffer.
//!
//! A [`Bytes`] keeps the whole buffer alive that it is a part of. hyper reads an HTTP/1 body into
//! buffers of at least 8 KiB, and takes a new one while the last one is in use: a client that sends
//! a byte at a time would hold 8 KiB for each. A single `Bytes` of its own takes some 100 bytes of
//! memory besides its data. So whatever keeps frames (a recording, a body that is read for its model,
//! an error body, an event that is not complete) keeps them here.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// A shorter frame is copied when it is kept. A longer one is kept as it is: a buffer of HTTP/1 has
/// at most [`READ_BUFFER`] bytes in the sidecar, and hyper's default of 408 KiB only while a sender
/// fills it.
const LARGE: usize = 32 << 10;

/// The longest buffer, in bytes, that a server or client should read a connection into (hyper's
/// `max_buf_size`), so that what is recorded of a body pins at most twice its length. hyper's own
/// default is 408 KiB.
pub const READ_BUFFER: usize = 2 * LARGE;

/// What hyper reads into at least: as much stays with the only frame of a body, however short it is.
const READ_INTO: usize = 8 << 10;

/// What is copied goes into chunks, each as long as all before it together, within these bounds.
const SHORTEST_CHUNK: usize = 512;
const LONGEST_CHUNK: usize = 64 << 10;

/// What a piece takes besides its data: the `Bytes`, its counter, and what an allocator adds.
const PIECE_COST: usize = 96;

/// Frames of a body, joined into few pieces.
#[derive(Debug, Default)]
pub(crate) struct Coalesced {
    /// The only frame so far, which is not copied.
    only: Option<Bytes>,
    pieces: VecDeque<Bytes>,
    /// The chunk that small frames are appended to; what it has comes after the pieces.
    chunk: BytesMut,
    /// Bytes that were copied.
    copied: usize,
    length: usize,
    pinned: usize,
}

impl Coalesced {
    /// For a body of so many bytes. One that is longer than a chunk has long pieces, which are kept as
    /// they are.
    pub(crate) fn with_length(length: usize) -> Self {
        let mut this = Self::default();
        if length <= LONGEST_CHUNK {
            this.begin_chunk(length);
        }
        this
    }

    /// As [`push`](Self::push), but the first frame stays as it is until there is another one: most
    /// bodies have one frame.
    pub(crate) fn push_whole(&mut self, data: Bytes) {
        if self.length > 0 || data.is_empty() {
            return self.push(data);
        }
        self.length = data.len();
        self.pinned = data.len().max(READ_INTO) + PIECE_COST;
        self.only = Some(data);
    }

    /// Appends a frame: a copy of it if it is small.
    pub(crate) fn push(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        if let Some(only) = self.only.take() {
            (self.length, self.pinned) = (0, 0);
            self.append(only);
        }
        self.append(data);
    }

    fn append(&mut self, data: Bytes) {
        self.length += data.len();
        if data.len() >= LARGE {
            self.pinned += data.len() + PIECE_COST;
            self.seal();
            self.pieces.push_back(data);
            return;
        }
        self.copy(&data);
    }

    fn copy(&mut self, mut rest: &[u8]) {
        while !rest.is_empty() {
            if self.chunk.len() == self.chunk.capacity() {
                self.seal();
                let usual = self.copied.clamp(SHORTEST_CHUNK, LONGEST_CHUNK);
                self.begin_chunk(usual.max(rest.len()));
            }
            let room = self.chunk.capacity() - self.chunk.len();
            let (first, others) = rest.split_at(rest.len().min(room));
            self.chunk.extend_from_slice(first);
            self.copied += first.len();
            rest = others;
        }
    }

    fn begin_chunk(&mut self, capacity: usize) {
        self.chunk = BytesMut::with_capacity(capacity);
        self.pinned += self.chunk.capacity() + PIECE_COST;
    }

    /// What the chunk has becomes a piece; what comes next still goes into the rest of it.
    pub(crate) fn seal(&mut self) {
        if !self.chunk.is_empty() {
            self.pieces.push_back(self.chunk.split().freeze());
        }
    }

    /// The next piece, taken out.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let piece = self.only.take().or_else(|| self.pieces.pop_front());
        let piece = piece.or_else(|| {
            // Not split off: its memory goes with the piece.
            let last = std::mem::take(&mut self.chunk).freeze();
            (!last.is_empty()).then_some(last)
        });
        match &piece {
            Some(piece) => self.length -= piece.len(),
            None => *self = Self::default(),
        }
        piece
    }

    /// All pieces of `other` too, which is empty afterwards.
    pub(crate) fn append_all(&mut self, other: &mut Self) {
        if self.is_empty() {
            return std::mem::swap(self, other);
        }
        while let Some(piece) = other.pop() {
            self.push(piece);
        }
    }

    /// The same bytes in one piece, if they are few enough for one chunk.
    pub(crate) fn join(self) -> Self {
        if self.pieces.len() + usize::from(!self.chunk.is_empty()) < 2
            || self.length > LONGEST_CHUNK
        {
            return self;
        }
        let mut joined = Self::with_length(self.length);
        joined.length = self.length;
        self.into_iter().for_each(|piece| joined.copy(&piece));
        joined
    }

    /// The pieces, once they are [sealed](Self::seal).
    pub(crate) fn sealed(&self) -> impl Iterator<Item = &Bytes> {
        self.only.iter().chain(&self.pieces)
    }

    /// The piece with this index, once they are [sealed](Self::seal).
    pub(crate) fn get(&self, index: usize) -> Option<&Bytes> {
        match &self.only {
            Some(only) => (index == 0).then_some(only),
            None => self.pieces.get(index),
        }
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many bytes of memory they take.
    pub(crate) fn pinned(&self) -> usize {
        self.pinned
    }
}

impl From<Bytes> for Coalesced {
    fn from(data: Bytes) -> Self {
        let mut this = Self::default();
        this.push_whole(data);
        this
    }
}

impl IntoIterator for Coalesced {
    type Item = Bytes;
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        IntoIter(self)
    }
}

/// The pieces, each taken out.
pub(crate) struct IntoIter(Coalesced);

impl Iterator for IntoIter {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.0.pop()
    }
}

/// The same bytes, copied out of the buffer that they were read into if they are fewer than 32 KiB. A
/// queue to a slow reader keeps frames for a while, and a short [`Bytes`] would pin a buffer of
/// [`READ_BUFFER`] bytes.
pub fn detached(data: Bytes) -> Bytes {
    if data.len() < LARGE { Bytes::copy_from_slice(&data) } else { data }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(length: usize) -> Bytes {
        Bytes::from(vec![b'x'; length])
    }

    fn text(coalesced: Coalesced) -> Vec<u8> {
        coalesced.into_iter().flatten().collect()
    }

    #[test]
    fn a_body_of_one_frame_is_not_copied_and_its_second_frame_joins_it() {
        let first = Bytes::from_static(b"first");
        let mut kept = Coalesced::default();
        kept.push_whole(Bytes::new());
        kept.push_whole(first.clone());
        assert_eq!(kept.get(0).unwrap().as_ptr(), first.as_ptr());
        assert_eq!((kept.len(), kept.get(1)), (5, None));
        assert_eq!(kept.pinned(), READ_INTO + PIECE_COST, "the buffer that it was read into");
        kept.push(Bytes::new());
        assert_eq!(kept.get(0).unwrap().as_ptr(), first.as_ptr());
        kept.push_whole(Bytes::from_static(b" second"));
        kept.seal();
        assert_eq!(kept.get(0).unwrap(), "first second");
        assert_ne!(kept.get(0).unwrap().as_ptr(), first.as_ptr());
        assert_eq!((kept.len(), kept.get(1)), (12, None));
    }

    #[test]
    fn a_drip_takes_at_most_twice_its_bytes_and_few_pieces() {
        for length in [1, 7, 100, 1024, 5000, LARGE - 1] {
            let mut kept = Coalesced::default();
            let mut sum = 0;
            while sum < 3 << 20 {
                kept.push_whole(frame(length));
                sum += length;
                let bound = if sum == length { READ_INTO + LARGE } else { 2 * sum + 1024 };
                assert!(kept.pinned() <= bound, "{} for {sum} by {length}", kept.pinned());
            }
            kept.seal();
            let pieces = kept.sealed().count();
            assert!(pieces < 20 + sum / (LONGEST_CHUNK / 2), "{pieces} of {length}");
            assert_eq!((kept.len(), text(kept).len()), (sum, sum));
        }
    }

    #[test]
    fn small_frames_between_large_ones_share_their_chunk() {
        let mut kept = Coalesced::default();
        let mut sum = 0;
        for _ in 0..100 {
            kept.push(frame(LARGE));
            kept.push(frame(1));
            sum += LARGE + 1;
        }
        assert!(kept.pinned() < sum + 200 * PIECE_COST + 1024, "{}", kept.pinned());
        assert_eq!(text(kept).len(), sum);
    }

    #[test]
    fn large_frames_are_not_copied() {
        let large = frame(LARGE);
        let mut kept = Coalesced::default();
        kept.push(Bytes::from_static(b"1"));
        kept.push(large.clone());
        kept.push(Bytes::from_static(b"2"));
        assert_eq!(kept.pop().unwrap(), "1");
        assert_eq!(kept.pop().unwrap().as_ptr(), large.as_ptr());
        assert_eq!((kept.pop().unwrap(), kept.pop()), (Bytes::from_static(b"2"), None));
        assert_eq!(kept.pinned(), 0);
    }

    #[test]
    fn what_fits_one_chunk_becomes_one_piece_of_its_length() {
        let mut kept = Coalesced::default();
        (0..LONGEST_CHUNK / 1024).for_each(|_| kept.push(frame(1024)));
        let mut joined = kept.join();
        assert_eq!(joined.pinned(), LONGEST_CHUNK + PIECE_COST);
        assert_eq!(joined.pop().unwrap().len(), LONGEST_CHUNK);
        assert!(joined.is_empty());
        let mut longer = Coalesced::default();
        longer.push(frame(LARGE));
        longer.push(frame(LARGE + 1));
        assert_eq!(longer.join().into_iter().count(), 2);
        assert_eq!(Coalesced::with_length(LONGEST_CHUNK + 1).pinned(), 0);
    }

    proptest! {
        #[test]
        fn whatever_the_frames_the_bytes_are_the_same(
            lengths in proptest::collection::vec(prop_oneof![0_usize..5, 0_usize..2000, LARGE - 2..LARGE + 2], 0..30),
            seals in proptest::collection::vec(any::<bool>(), 30),
            whole in any::<bool>(),
        ) {
            let mut kept = Coalesced::default();
            let mut all = Vec::new();
            for (at, length) in lengths.iter().enumerate() {
                let data: Vec<u8> = (0..*length).map(|i| (i + at) as u8).collect();
                all.extend_from_slice(&data);
                if whole { kept.push_whole(data.into()) } else { kept.push(data.into()) }
                if seals[at] {
                    kept.seal();
                    prop_assert_eq!(kept.sealed().map(Bytes::len).sum::<usize>(), all.len());
                }
                prop_assert_eq!(kept.len(), all.len());
                let bound = (2 * all.len()).max(READ_INTO) + 1024 + 2 * PIECE_COST * (at + 1);
                prop_assert!(kept.pinned() <= bound);
            }
            prop_assert_eq!(text(kept.join()), all);
        }
    }
}
