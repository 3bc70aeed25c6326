//! Bodies that are in memory as one piece.

use std::{
    any::Any,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::Body;
use http_body_util::Full;

/// Takes the data of a body whose data is in memory. The body is empty from then on.
///
/// Only a type is known here whose poll has no effect but to return the data. Bodies of other types may
/// be polled only while they are sent: that of a server requests its client for data.
pub(super) fn take<B: Body + 'static>(body: &mut B) -> Option<Bytes> {
    let full = (body as &mut dyn Any).downcast_mut::<Full<Bytes>>()?;
    match Pin::new(full).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Empty};

    use super::{
        super::{MemoryBudget, ReplayBody},
        *,
    };

    #[tokio::test]
    async fn a_body_in_memory_is_recorded_before_it_is_sent() {
        let data = Bytes::from(vec![7; 4096]);
        let budget = MemoryBudget::new(10_000);
        let record = |body| ReplayBody::record_once(body, 4096, &budget, None);
        let (body, recording) = record(Full::new(data.clone()));
        assert!(budget.used() >= 8192, "a part of a buffer");
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(4096), false));
        assert_eq!(format!("{body:?}"), "ReplayBody(recorded)");

        let (second, recording) = recording.unwrap().replay_and_record().unwrap();
        let third = recording.replay().unwrap();
        assert!(budget.used() >= 8192, "until it was sent");
        for body in [third, body, second] {
            assert_eq!(body.size_hint().exact(), Some(4096));
            let sent = body.collect().await.unwrap().to_bytes();
            assert_eq!(sent.as_ptr(), data.as_ptr(), "nothing is copied");
        }
        assert_eq!(budget.used(), 0);

        let (mut body, recording) = record(Full::new(data.clone()));
        drop(recording);
        assert_eq!(budget.used(), 0);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), data);
        assert!(body.is_end_stream() && body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_body_in_memory_that_may_not_be_kept_is_sent() {
        let data = Bytes::from_static(b"hello");
        for (cap, budget) in [(4, 1 << 20), (5, 8000)] {
            let budget = MemoryBudget::new(budget);
            let body = Full::new(data.clone());
            let (body, recording) = ReplayBody::record_once(body, cap, &budget, None);
            assert!(recording.is_none());
            assert_eq!(budget.used(), 0);
            assert_eq!(body.collect().await.unwrap().to_bytes(), data);
        }
    }

    #[test]
    fn an_empty_body_and_one_of_another_type_are_not_taken() {
        assert_eq!(take(&mut Full::new(Bytes::new())), None);
        assert_eq!(take(&mut Empty::<Bytes>::new()), None);
        let mut text = "text".to_owned();
        assert_eq!((take(&mut text), text.as_str()), (None, "text"));
    }
}
