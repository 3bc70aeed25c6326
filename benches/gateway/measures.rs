//! The measurements of one row.

use std::time::Duration;

use tower::BoxError;

use crate::{
    client::Target,
    contenders::{Contender, World},
    idle::{Idle, idle},
    load,
    plan::Plan,
    process::Server,
};

/// The time for a server to start. LiteLLM loads a hundred thousand lines of Python first.
const PATIENCE: Duration = Duration::from_secs(180);

/// A row: its server if it is installed, and the measurements of each round.
pub struct Row {
    pub contender: Contender,
    pub tls: bool,
    pub server: Option<Server>,
    pub asked: usize,
    pub measures: Vec<Measures>,
    pub idle: Vec<Idle>,
}

/// The measurements of one row in one round; times are in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Measures {
    pub per_second: f64,
    /// CPU time of a request, without that of the clients and of the upstream.
    pub cpu: f64,
    /// The part of the elapsed time in which the proxy had a processor, while clients sent requests
    /// without a pause.
    pub busy: f64,
    /// 0.5, 0.99 and 0.999, while clients sent requests without a pause.
    pub closed: [f64; 3],
    /// The same at a constant rate.
    pub open: [f64; 3],
    /// Requests at a constant rate without a response in time.
    pub missed: usize,
    pub first_byte: f64,
    /// CPU time of a stream of 51 events.
    pub stream_cpu: f64,
}

impl Row {
    pub fn new(contender: Contender, tls: bool) -> Self {
        Self { contender, tls, server: None, asked: 0, measures: Vec::new(), idle: Vec::new() }
    }

    pub fn name(&self) -> String {
        let tls = if self.tls { ", TLS" } else { "" };
        format!("{}{tls}", self.contender.name())
    }

    /// Starts the server, and waits until it responds. Returns `None` if it is not installed.
    fn start(&self, world: &World) -> Result<Option<Server>, BoxError> {
        let server = self.contender.start(self.tls, world)?;
        if let Some(server) = &server {
            load::wait_for(&self.target(server, world)?, PATIENCE)?;
        }
        Ok(server)
    }

    pub fn prepare(&mut self, world: &World) -> Result<(), BoxError> {
        self.server = self.start(world)?;
        // It has responded once.
        self.asked += 1;
        Ok(())
    }

    /// Whether there is something to measure.
    pub fn exists(&self) -> bool {
        self.server.is_some() || self.contender == Contender::NoProxy
    }

    fn target(&self, server: &Server, world: &World) -> Result<Target, BoxError> {
        Ok(Target { addr: server.addr, ..self.upstream(world)? })
    }

    fn upstream(&self, world: &World) -> Result<Target, BoxError> {
        let addr = if self.tls { world.upstream_tls } else { world.upstream };
        let tls = self.tls.then(|| world.certificates.client()).transpose()?;
        let tls = tls.map(crate::client::connector);
        Ok(Target { addr, manner: self.contender.manner(), tls })
    }

    pub fn take_turn(&mut self, plan: &Plan, world: &World) -> Result<(), BoxError> {
        if !self.exists() {
            return Ok(());
        }
        let target = match &self.server {
            Some(server) => self.target(server, world)?,
            None => self.upstream(world)?,
        };
        let cpu = || self.server.as_ref().map_or(Ok(Duration::ZERO), Server::cpu);
        let measure = |load: &dyn Fn() -> Result<load::Load, BoxError>| {
            let before = cpu()?;
            let load = load()?;
            Ok::<_, BoxError>((cpu()?.saturating_sub(before).as_secs_f64(), load))
        };
        let slow = self.contender.is_slow();
        let warm_up = load::closed(&target, plan.clients, plan.warm_up)?;
        let (cpu_used, closed) = measure(&|| load::closed(&target, plan.clients, plan.duration))?;
        let rate = if slow { plan.slow_rate } else { plan.rate };
        let open = load::open(&target, plan.connections, rate, plan.duration)?;
        let number = if slow { plan.first_bytes / 8 } else { plan.first_bytes };
        let first = load::first_bytes(&target, number.max(1))?;
        let (streams_used, streams) =
            measure(&|| load::streams(&target, plan.streams, plan.duration))?;
        let quantiles = |load: &load::Load| [0.5, 0.99, 0.999].map(|of| load.quantile(of));
        self.measures.push(Measures {
            per_second: closed.per_second(),
            cpu: cpu_used / closed.took.len() as f64,
            busy: cpu_used / closed.elapsed.as_secs_f64(),
            closed: quantiles(&closed),
            open: quantiles(&open),
            missed: open.missed,
            first_byte: first.quantile(0.5),
            stream_cpu: streams_used / streams.took.len() as f64,
        });
        let loads = [&warm_up, &closed, &open, &first, &streams];
        self.asked += loads.map(|load| load.took.len() - load.missed).iter().sum::<usize>();
        Ok(())
    }

    /// Measures idle streams at a server that has just been started.
    pub fn hold_idle_streams(&mut self, streams: usize, world: &World) -> Result<(), BoxError> {
        if self.contender == Contender::NoProxy {
            return Ok(());
        }
        let streams = if self.contender.is_slow() { streams.min(200) } else { streams };
        let Some(server) = self.start(world)? else { return Ok(()) };
        let target = self.target(&server, world)?;
        load::closed(&target, 8, Duration::from_millis(50))?;
        self.idle.push(idle(&target, &server, streams)?);
        Ok(())
    }
}
