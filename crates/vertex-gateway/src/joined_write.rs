//! Writes of a few short slices, such as the chunk of an event with its frame.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use hyper::rt::Write;

/// The most bytes that are joined. Copying them takes less time than a system call for several slices
/// takes more than one for a single slice.
const SHORT: usize = 4 << 10;

/// Writes the slices as `poll_write_vectored` does. Short ones are joined and written as one.
pub(crate) fn poll_write_joined<I: Write>(
    io: Pin<&mut I>,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [one] = slices {
        return io.poll_write(cx, one);
    }
    let length = slices.iter().map(|slice| slice.len()).sum();
    if length > SHORT {
        return io.poll_write_vectored(cx, slices);
    }
    let mut joined = Vec::with_capacity(length);
    slices.iter().for_each(|slice| joined.extend_from_slice(slice));
    io.poll_write(cx, &joined)
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// The lengths of the slices of each write.
    #[derive(Default)]
    struct Written(Vec<Vec<usize>>);

    impl Write for Written {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.push(vec![bytes.len()]);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.0.push(slices.iter().map(|slice| slice.len()).collect());
            Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn short_slices_are_written_as_one_and_long_ones_are_not_copied() {
        let mut written = Written::default();
        let long = vec![b'x'; SHORT];
        for slices in [&[&b"4\r\n"[..], b"data", b"\r\n"][..], &[&long], &[&long, b"\r\n"]] {
            let slices: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
            let cx = &mut Context::from_waker(Waker::noop());
            let Poll::Ready(Ok(length)) = poll_write_joined(Pin::new(&mut written), cx, &slices)
            else {
                panic!("not written");
            };
            assert_eq!(length, slices.iter().map(|slice| slice.len()).sum::<usize>());
        }
        assert_eq!(written.0, [vec![9], vec![SHORT], vec![SHORT, 2]]);
    }
}
