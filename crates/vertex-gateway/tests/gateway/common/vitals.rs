//! The resources that a running sidecar uses, and its metrics.

use std::{fs, net::SocketAddr};

use http::{Request, StatusCode};
use http_body_util::Full;
use tower_vertex::replay::ReplayBody;

use super::{Http, client, gateway::Gateway, in_time, text};

/// The resources in use at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vitals {
    /// Resident memory, in bytes.
    pub(crate) memory: u64,
    /// The highest value so far.
    pub(crate) peak: u64,
    /// Open file descriptors.
    pub(crate) files: usize,
}

impl Vitals {
    pub(crate) fn of(gateway: &Gateway) -> Self {
        let process = format!("/proc/{}", gateway.child.id().expect("the process runs"));
        let status = fs::read_to_string(format!("{process}/status")).unwrap();
        let kib = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        Self {
            memory: kib("VmRSS:") << 10,
            peak: kib("VmHWM:") << 10,
            files: fs::read_dir(format!("{process}/fd")).unwrap().count(),
        }
    }
}

/// The admin listener of a sidecar that has one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admin(SocketAddr);

impl Admin {
    /// Reads the address from standard output. Call this once, right after the start.
    pub(crate) async fn of(gateway: &mut Gateway) -> Self {
        let line = in_time("the admin listener", gateway.stdout.next_line()).await;
        let line = line.unwrap().unwrap();
        Self(line.strip_prefix("admin on http://").expect(&line).parse().unwrap())
    }

    pub(crate) fn addr(self) -> SocketAddr {
        self.0
    }

    pub(crate) async fn metrics(self) -> Metrics {
        let request = Request::get(format!("http://{}/metrics", self.0));
        let request = request.body(ReplayBody::plain(Full::default())).unwrap();
        let answer = client::<Full<bytes::Bytes>>(Http::One).request(request);
        let answer = in_time("the metrics", answer).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        Metrics(text(answer).await)
    }

    /// Waits up to two and a half minutes until a metric has a value.
    pub(crate) async fn until(self, name: &str, wanted: impl Fn(f64) -> bool) {
        for _ in 0..1500 {
            if wanted(self.metrics().await.sum(name, "")) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("{name} is {}", self.metrics().await.sum(name, ""));
    }
}

/// All metrics at one moment.
#[derive(Debug)]
pub(crate) struct Metrics(String);

impl Metrics {
    /// The sum of all samples of a metric whose labels contain this text.
    pub(crate) fn sum(&self, name: &str, labels: &str) -> f64 {
        let samples = self.0.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (series, its_labels) = series.split_once('{').unwrap_or((series, ""));
            (series == name && its_labels.contains(labels)).then(|| value.parse::<f64>().unwrap())
        });
        samples.sum()
    }
}
