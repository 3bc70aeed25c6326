use super::*;

fn worker() -> (Worker, mpsc::UnboundedReceiver<Accepted>) {
    let (sockets, incoming) = mpsc::unbounded_channel();
    let connections = Arc::default();
    (Worker { sockets, connections, done: oneshot::channel().1 }, incoming)
}

fn accepted(number: u64) -> Accepted {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    Accepted { socket, admitted: Arc::<ConnectionRegistry>::default().admit(number, None) }
}

#[test]
fn a_worker_that_panicked_gets_no_connections() {
    let ((dead, incoming), (alive, mut at_alive)) = (worker(), worker());
    drop(incoming);
    let workers = [dead, alive];
    for number in 0..10 {
        hand_over(&workers, accepted(number)).unwrap();
        assert!(at_alive.try_recv().is_ok(), "it went to the one that has ended");
    }
    assert_eq!(workers[0].connections.load(Relaxed), 0);
    drop(at_alive);
    let error = hand_over(&workers, accepted(10)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
}

#[test]
fn a_connection_that_left_does_not_end_the_accepting_of_the_rest() {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    let mut come = vec![
        Ok(1),
        Err(io::Error::from(ConnectionAborted)),
        Ok(2),
        Err(Interrupted.into()),
        Ok(3),
        Err(WouldBlock.into()),
        Ok(4),
    ]
    .into_iter();
    let rest: Vec<_> = rest(|| come.next().unwrap()).collect();
    assert_eq!(rest, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn the_connection_that_was_a_strangers_for_the_longest_makes_room() {
    let open = Arc::<ConnectionRegistry>::default();
    let mut all = Vec::new();
    for number in 0..4 {
        all.push(open.admit(number, None));
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let is_evicted = |of: &RegisteredConnection| of.activity.evicted().now_or_never().is_some();
    let evicted = |all: &[RegisteredConnection]| {
        open.evict_a_stranger();
        all.iter().map(is_evicted).collect::<Vec<_>>()
    };
    let call = |of: &RegisteredConnection| of.activity.call(http::Version::HTTP_11);
    // The first has shown a key. The second is being answered, but not as one that may ask.
    let good = call(&all[0]);
    good.let_in();
    let _refused = call(&all[1]);
    assert_eq!(evicted(&all), [false, true, false, false]);
    drop(all.remove(1));
    // Whoever is let in between the look and the end stays.
    open.evict_a_stranger();
    let late = call(&all[1]);
    late.let_in();
    assert_eq!(all.iter().map(is_evicted).collect::<Vec<_>>(), [false, false, false]);
    // A stream of an hour, and a key that is revoked then.
    tokio::time::advance(Duration::from_secs(3600)).await;
    drop((good, late));
    assert_eq!(evicted(&all), [false, false, true]);
    drop(all.pop());
    tokio::time::advance(Duration::from_secs(29)).await;
    assert_eq!(evicted(&all), [false, false]);
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(evicted(&all), [true, false]);
    drop(all);
    assert!(open.lock().is_empty());
}

use futures_util::FutureExt as _;
