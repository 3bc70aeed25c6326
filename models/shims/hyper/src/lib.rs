//! The handle of an HTTP/1 connection without a socket. A pool needs to know only whether it is closed or ready.

pub mod client {
    pub mod conn {
        pub mod http1 {
            use std::{marker::PhantomData, sync::Arc};

            use loom::sync::atomic::{AtomicBool, Ordering::SeqCst};

            /// The peer's end of a connection.
            #[derive(Default)]
            pub struct Peer {
                closed: AtomicBool,
                /// The handle was dropped, so the connection is closed from this side.
                dropped: AtomicBool,
            }

            impl Peer {
                pub fn close(&self) {
                    self.closed.store(true, SeqCst);
                }

                pub fn is_dropped(&self) -> bool {
                    self.dropped.load(SeqCst)
                }

                pub fn connect<B>(self: &Arc<Self>) -> SendRequest<B> {
                    SendRequest(Arc::clone(self), PhantomData)
                }
            }

            pub struct SendRequest<B>(Arc<Peer>, PhantomData<fn(B)>);

            impl<B> SendRequest<B> {
                pub fn is_closed(&self) -> bool {
                    self.0.closed.load(SeqCst)
                }

                pub fn is_ready(&self) -> bool {
                    !self.is_closed()
                }
            }

            impl<B> Drop for SendRequest<B> {
                fn drop(&mut self) {
                    assert!(!self.0.dropped.swap(true, SeqCst), "dropped twice");
                }
            }
        }
    }
}
