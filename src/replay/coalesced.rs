//! Bytes that are kept for a while, in one buffer or in at most twice the memory that they need.
//!
//! A [`Bytes`] keeps the whole buffer alive that it is a part of. hyper reads an HTTP/1 body into
//! buffers of at least 8 KiB, and allocates a new one while the last one is in use. A client that
//! sends a byte at a time would pin 8 KiB for each byte. A single `Bytes` with its own buffer takes
//! some 100 bytes of memory besides its data. So this type stores the frames of a recording, of a
//! body that is read for its model, of an error body and of an incomplete event.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// A shorter frame is copied when it is stored. A longer one is stored as it is: a buffer of HTTP/1
/// has at most [`READ_BUFFER`] bytes in the sidecar, and hyper's default of 408 KiB only while a
/// sender fills it. The fuzz targets have short inputs, so their limits are lower here and below.
const LARGE: usize = if cfg!(fuzzing) { 64 } else { 32 << 10 };

/// The longest buffer, in bytes, that a server or client should read a connection into (hyper's
/// `max_buf_size`), so that the recording of a body pins at most twice the body's length. hyper's
/// own default is 408 KiB.
pub const READ_BUFFER: usize = 2 * LARGE;

/// The shortest buffer that hyper reads into. The only frame of a body pins this much, however
/// short it is.
const READ_INTO: usize = 8 << 10;

/// Bounds of the chunks that frames are copied into. Each chunk is as long as all chunks before it
/// together.
const SHORTEST_CHUNK: usize = if cfg!(fuzzing) { 8 } else { 512 };
const LONGEST_CHUNK: usize = if cfg!(fuzzing) { 64 } else { 64 << 10 };

/// The memory that a piece takes besides its data: the `Bytes`, its counter, and the allocator's
/// overhead.
const PIECE_COST: usize = 96;

/// Frames of a body, joined into few pieces.
#[derive(Debug, Default)]
pub(crate) struct Coalesced {
    /// The only frame so far, which is not copied.
    only: Option<Bytes>,
    pieces: VecDeque<Bytes>,
    /// The chunk that small frames are appended to. Its content follows the pieces.
    chunk: BytesMut,
    /// Number of bytes copied.
    copied: usize,
    length: usize,
    pinned: usize,
}

impl Coalesced {
    /// Creates a buffer for a body of this many bytes. A body that is longer than a chunk has long
    /// frames, which are stored as they are.
    pub(crate) fn with_length(length: usize) -> Self {
        let mut this = Self::default();
        if length <= LONGEST_CHUNK {
            this.begin_chunk(length);
        }
        this
    }

    /// Like [`push`](Self::push), but the first frame is not copied until there is another one:
    /// most bodies have one frame.
    pub(crate) fn push_whole(&mut self, data: Bytes) {
        if self.length > 0 || data.is_empty() {
            return self.push(data);
        }
        self.length = data.len();
        self.pinned = Self::pinned_by(&data);
        self.only = Some(data);
    }

    /// Number of bytes of memory that the only frame of a body takes.
    pub(super) fn pinned_by(only: &Bytes) -> usize {
        only.len().max(READ_INTO) + PIECE_COST
    }

    /// Appends a frame, as a copy if it is small.
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

    /// Turns the content of the chunk into a piece. The rest of the chunk is still used for the
    /// next frames.
    pub(crate) fn seal(&mut self) {
        if !self.chunk.is_empty() {
            self.pieces.push_back(self.chunk.split().freeze());
        }
    }

    /// Removes and returns the next piece.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        if self.pinned == 0 {
            // Nothing was pushed since the last reset, as in a stream that is forwarded at once.
            return None;
        }
        let piece = self.only.take().or_else(|| self.pieces.pop_front());
        let piece = piece.or_else(|| {
            // The chunk is not split, so that its memory is freed with the piece.
            let last = std::mem::take(&mut self.chunk).freeze();
            (!last.is_empty()).then_some(last)
        });
        match &piece {
            Some(piece) => self.length -= piece.len(),
            None => *self = Self::default(),
        }
        piece
    }

    /// Moves all pieces of `other` to the end, and leaves `other` empty.
    pub(crate) fn append_all(&mut self, other: &mut Self) {
        if self.is_empty() {
            return std::mem::swap(self, other);
        }
        while let Some(piece) = other.pop() {
            self.push(piece);
        }
    }

    /// Returns the same bytes in one piece, if they fit into one chunk.
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

    /// The pieces, after a call of [`seal`](Self::seal).
    pub(crate) fn sealed(&self) -> impl Iterator<Item = &Bytes> {
        self.only.iter().chain(&self.pieces)
    }

    /// The piece with this index, after a call of [`seal`](Self::seal).
    pub(crate) fn get(&self, index: usize) -> Option<&Bytes> {
        match &self.only {
            Some(only) => (index == 0).then_some(only),
            None => self.pieces.get(index),
        }
    }

    /// Number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Number of bytes of memory that the pieces take.
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

/// An iterator that removes the pieces.
pub(crate) struct IntoIter(Coalesced);

impl Iterator for IntoIter {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.0.pop()
    }
}

/// Returns the same bytes, copied out of the buffer that they were read into if they are fewer than
/// 32 KiB. A queue to a slow reader keeps frames for a while, and a short [`Bytes`] would pin a
/// buffer of [`READ_BUFFER`] bytes.
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
        kept.push(large.clone());
        assert_eq!(kept.pinned(), LARGE + PIECE_COST);
        assert_eq!(kept.join().pop().unwrap().as_ptr(), large.as_ptr(), "it is one piece already");
    }

    #[test]
    fn bytes_that_fit_one_chunk_become_one_piece_of_their_length() {
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
        let mut two = Coalesced::default();
        two.push(frame(LARGE));
        two.push(frame(1));
        assert_eq!(two.join().into_iter().count(), 1);
        assert_eq!(Coalesced::with_length(LONGEST_CHUNK + 1).pinned(), 0);
    }

    #[test]
    fn all_pieces_of_another_buffer_follow() {
        let mut kept = Coalesced::default();
        for part in ["one", "two", "three"] {
            let mut other = Coalesced::from(Bytes::from_static(part.as_bytes()));
            kept.append_all(&mut other);
            assert!(other.is_empty());
        }
        assert_eq!(kept.len(), 11);
        assert_eq!(text(kept), b"onetwothree");
    }

    #[test]
    fn a_short_frame_leaves_its_buffer_and_a_long_one_stays_in_it() {
        for (length, stays) in [(1, false), (LARGE - 1, false), (LARGE, true)] {
            let data = frame(length);
            let kept = detached(data.clone());
            assert_eq!(kept, data);
            assert_eq!(kept.as_ptr() == data.as_ptr(), stays, "{length}");
        }
    }

    proptest! {
        #[test]
        fn the_bytes_are_the_same_for_any_frames(
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
