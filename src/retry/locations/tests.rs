use tokio::time::advance;

use super::*;

const EJECTION: Ejection = Ejection { failure_threshold: 3, time: Duration::from_secs(30) };

fn at(location: &str) -> Upstream {
    Upstream::new("p", location).unwrap()
}

fn three() -> Locations {
    Locations::new(["us-central1", "us-east4", "global"].map(at)).unwrap()
}

/// The location that a new request goes to. Its permit is dropped without an outcome.
fn first(locations: &Locations) -> String {
    name(locations.choose(&[]).unwrap().upstream()).to_owned()
}

/// A request that fails at each of `failing` in turn, and is served by the next one.
fn serve(locations: &Locations, failing: &[&str]) -> String {
    let mut tried = Vec::new();
    loop {
        let permit = locations.choose(&tried).unwrap();
        let here = name(permit.upstream()).to_owned();
        if failing.contains(&here.as_str()) {
            tried.push(permit.failed(Duration::ZERO, EJECTION));
        } else {
            permit.succeeded(&tried, EJECTION);
            return here;
        }
    }
}

fn fail(locations: &Locations) -> Tried {
    locations.choose(&[]).unwrap().failed(Duration::ZERO, EJECTION)
}

fn kind(locations: &Locations) -> (String, PermitKind) {
    let permit = locations.choose(&[]).unwrap();
    (name(permit.upstream()).to_owned(), permit.kind)
}

#[tokio::test(start_paused = true)]
async fn the_circuits_of_a_list_can_be_read() {
    use LocationCircuit::{Closed, HalfOpen, Open};
    let locations = three();
    let circuits = || locations.circuits().map(|(_, circuit)| circuit).collect::<Vec<_>>();
    let fine = Closed { failures: 0 };
    assert_eq!(circuits(), [fine; 3]);
    fail(&locations);
    assert_eq!(circuits(), [Closed { failures: 1 }, fine, fine]);
    fail(&locations);
    fail(&locations);
    advance(Duration::from_secs(10)).await;
    assert_eq!(circuits(), [Open { probe_in: Duration::from_secs(20) }, fine, fine]);
    advance(Duration::from_secs(25)).await;
    assert_eq!(circuits(), [Open { probe_in: Duration::ZERO }, fine, fine]);
    let probe = locations.choose(&[]).unwrap();
    assert_eq!(circuits(), [HalfOpen, fine, fine]);
    probe.succeeded(&[], EJECTION);
    assert_eq!(circuits(), [fine; 3]);
    assert_eq!(locations.circuits().map(|(at, _)| name(at)).last(), Some("global"));
}

#[tokio::test(start_paused = true)]
async fn a_list_is_checked() {
    assert!(Locations::new([]).unwrap_err().is_missing());
    let error = Locations::new([at("us"), at("eu"), at("us")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid locations \"us\": it is in the list already; leave one of the two out"
    );
    let base = at("global");
    assert!(Locations::for_locations(&base, [""; 0]).unwrap_err().is_missing());
    assert_eq!(
        Locations::for_locations(&base, ["us", "evil.com/"]).unwrap_err().setting(),
        "location"
    );
    let located = Locations::for_locations(&base, ["us-east4", "eu"]).unwrap();
    assert_eq!(located.upstreams().map(name).collect::<Vec<_>>(), ["us-east4", "eu"]);
    assert_eq!(located.first(), &at("us-east4"));

    use crate::route::Endpoint;
    let with = |endpoint| Upstream::builder().project("p").location("us").endpoint(endpoint);
    for endpoint in [
        Endpoint::BaseUrl { url: "http://h/v1".into() },
        Endpoint::Dedicated { id: "1".into(), dns: "1.us-1.prediction.vertexai.goog".into() },
        Endpoint::Private { id: "1".into(), address: "http://10.0.0.7".into() },
    ] {
        let base = with(endpoint).build().unwrap();
        assert_eq!(Locations::for_locations(&base, ["eu"]).unwrap_err().setting(), "locations");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_serves_and_each_failure_leads_to_the_next() {
    let locations = three();
    assert_eq!(serve(&locations, &[]), "us-central1");
    let mut tried = Vec::new();
    for expected in ["us-central1", "us-east4", "global"] {
        let permit = locations.choose(&tried).unwrap();
        assert_eq!(name(permit.upstream()), expected);
        tried.push(permit.failed(Duration::ZERO, EJECTION));
    }
    // All were tried, and none is ejected after one failure.
    assert!(locations.choose(&tried).is_none());
    assert_eq!(first(&locations), "us-central1");
}

#[tokio::test(start_paused = true)]
async fn the_location_that_served_last_stays_first_until_a_probe_succeeds_at_an_earlier_one() {
    let locations = three();
    assert_eq!(serve(&locations, &["us-central1"]), "us-east4");
    assert_eq!(kind(&locations), ("us-east4".into(), PermitKind::Usual));
    // Now the second location fails, too.
    advance(Duration::from_secs(20)).await;
    assert_eq!(serve(&locations, &["us-east4"]), "global");
    assert_eq!(first(&locations), "global");

    advance(Duration::from_millis(9_999)).await;
    assert_eq!(first(&locations), "global");
    advance(Duration::from_millis(1)).await;
    let probe = locations.choose(&[]).unwrap();
    assert_eq!((name(probe.upstream()), probe.kind), ("us-central1", PermitKind::Probe));
    // There is one probe at a time.
    assert_eq!(kind(&locations), ("global".into(), PermitKind::Usual));
    // The probe fails: the request is sent to the first choice, and the pause begins again.
    let tried = [probe.failed(Duration::ZERO, EJECTION)];
    let second = locations.choose(&tried).unwrap();
    assert_eq!(name(second.upstream()), "global");
    second.succeeded(&tried, EJECTION);
    advance(Duration::from_secs(29)).await;
    // The pause of the second location has ended meanwhile.
    assert_eq!(serve(&locations, &[]), "us-east4");
    assert_eq!(kind(&locations), ("us-east4".into(), PermitKind::Usual));
    advance(Duration::from_secs(1)).await;
    assert_eq!(kind(&locations), ("us-central1".into(), PermitKind::Probe));
    assert_eq!(serve(&locations, &[]), "us-central1");
    assert_eq!(kind(&locations), ("us-central1".into(), PermitKind::Usual));
}

#[tokio::test(start_paused = true)]
async fn a_probe_without_an_outcome_is_given_back() {
    let locations = three();
    serve(&locations, &["us-central1"]);
    advance(EJECTION.time).await;
    let probe = locations.choose(&[]).unwrap();
    assert_eq!(first(&locations), "us-east4");
    drop(probe);
    assert_eq!(kind(&locations), ("us-central1".into(), PermitKind::Probe));
    assert_eq!(kind(&locations), ("us-central1".into(), PermitKind::Probe));
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_open_a_circuit_when_no_other_location_serves() {
    let locations = three();
    for _ in 0..2 {
        fail(&locations);
    }
    assert_eq!(serve(&locations, &[]), "us-central1");
    for _ in 0..2 {
        fail(&locations);
    }
    assert_eq!(first(&locations), "us-central1");
    fail(&locations);
    assert_eq!(first(&locations), "us-east4");
    assert!(format!("{locations:?}").contains("Open"));
    // A request that was sent earlier changes nothing, regardless of its outcome.
    advance(Duration::from_secs(1)).await;
    let late = || Permit { locations: locations.clone(), index: 0, kind: PermitKind::Usual };
    late().succeeded(&[], EJECTION);
    late().failed(Duration::ZERO, EJECTION);
    advance(Duration::from_secs(28)).await;
    assert_eq!(first(&locations), "us-east4");
    advance(Duration::from_secs(1)).await;
    assert_eq!(kind(&locations), ("us-central1".into(), PermitKind::Probe));
}

#[tokio::test(start_paused = true)]
async fn when_all_are_open_a_request_goes_to_the_one_whose_pause_ends_first() {
    let locations = three();
    for location in ["us-central1", "us-east4", "global"] {
        for _ in 0..3 {
            assert_eq!(first(&locations), location);
            fail(&locations);
        }
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(kind(&locations), ("us-central1".into(), PermitKind::Anyway));
    // The request fails. Now the others come first, for this request and for new ones.
    let tried = [fail(&locations)];
    let next = locations.choose(&tried).unwrap();
    assert_eq!((name(next.upstream()), next.kind), ("us-east4", PermitKind::Anyway));
    drop(next);
    assert_eq!(first(&locations), "us-east4");
    // A success closes the circuit at once.
    assert_eq!(serve(&locations, &[]), "us-east4");
    assert_eq!(kind(&locations), ("us-east4".into(), PermitKind::Usual));
    // The other circuits remain open while the closed one can be waited for.
    let tried = [fail(&locations)];
    assert!(locations.choose(&tried).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_wait_leads_back_to_the_location_with_the_shortest_retry_after() {
    let locations = three();
    let second = Duration::from_secs(1);
    let mut tried = Vec::new();
    for asked in [20 * second, Duration::ZERO, 5 * second] {
        tried.push(locations.choose(&tried).unwrap().failed(asked, EJECTION));
    }
    assert_eq!(locations.choose_again(&tried), Some((1, Duration::ZERO)));
    assert_eq!(locations.choose_again(&tried[..1]), Some((0, 20 * second)));
    let [far, _, near] = [tried[0], tried[1], tried[2]];
    assert_eq!(locations.choose_again(&[far, near]), Some((2, 5 * second)));
    advance(4 * second).await;
    assert_eq!(locations.choose_again(&[far, near]), Some((2, second)));
    // A location that is ejected comes last, regardless of its wait.
    for _ in 0..2 {
        locations.enter(2).failed(Duration::ZERO, EJECTION);
    }
    assert_eq!(locations.choose_again(&[far, near]), Some((0, 16 * second)));
    assert_eq!(locations.enter(0).kind, PermitKind::Usual);
    assert_eq!(locations.enter(2).kind, PermitKind::Anyway);
    advance(EJECTION.time).await;
    assert_eq!(locations.enter(2).kind, PermitKind::Probe);
    assert_eq!(locations.choose_again(&[]), None);
}

#[tokio::test(start_paused = true)]
async fn a_location_with_a_longer_retry_after_is_ejected_for_longer() {
    for (asked, left_alone) in [(0, 30), (29, 30), (45, 45), (600, 600), (u64::MAX, 600)] {
        let locations = three();
        let failed = locations.choose(&[]).unwrap().failed(Duration::from_secs(asked), EJECTION);
        locations.choose(&[failed]).unwrap().succeeded(&[failed], EJECTION);
        advance(Duration::from_secs(left_alone) - Duration::from_millis(1)).await;
        assert_eq!(first(&locations), "us-east4", "{asked}");
        advance(Duration::from_millis(1)).await;
        assert_eq!(first(&locations), "us-central1", "{asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_location_is_always_chosen() {
    let locations = Locations::new([at("eu")]).unwrap();
    for _ in 0..10 {
        assert_eq!(first(&locations), "eu");
        let tried = fail(&locations);
        assert!(locations.choose(&[tried]).is_none());
        assert_eq!(locations.choose_again(&[tried]).unwrap().0, 0);
    }
    assert_eq!(serve(&locations, &[]), "eu");
}

#[tokio::test(start_paused = true)]
async fn the_first_of_the_locations_serves_if_all_are_ejected_until_the_same_time() {
    let locations = Locations::new(["us", "eu"].map(at)).unwrap();
    for _ in 0..EJECTION.failure_threshold {
        let mut tried = Vec::new();
        while let Some(permit) = locations.choose(&tried).filter(|_| tried.len() < 2) {
            tried.push(permit.failed(Duration::ZERO, EJECTION));
        }
    }
    assert_eq!(kind(&locations), ("us".into(), PermitKind::Anyway));
}
