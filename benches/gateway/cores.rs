//! The processors on which the processes run.

use std::{io, thread};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors of the three kinds of processes. `None` is all of them.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    pub load: Option<usize>,
    pub upstream: Option<usize>,
    pub proxy: Option<usize>,
}

impl Cores {
    /// The proxy has a processor of its own. With three processors the upstream has one too,
    /// otherwise it shares that of the clients.
    pub fn pinned() -> io::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let cores: Vec<_> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
        Ok(match cores[..] {
            [load, upstream, proxy, ..] => {
                Self { load: Some(load), upstream: Some(upstream), proxy: Some(proxy) }
            }
            [load, proxy] => Self { load: Some(load), upstream: Some(load), proxy: Some(proxy) },
            _ => Self::shared(),
        })
    }

    pub fn shared() -> Self {
        Self { load: None, upstream: None, proxy: None }
    }

    /// The number of threads of a proxy.
    pub fn proxy_threads(self) -> usize {
        match self.proxy {
            Some(_) => 1,
            None => thread::available_parallelism().map_or(1, |cores| cores.get()),
        }
    }

    pub fn describe(self) -> &'static str {
        match (self.load, self.upstream) {
            (None, _) => "All processes share all cores.",
            (load, upstream) if load == upstream => {
                "Each proxy has one core and one thread; the clients and the upstream share \
                 another core."
            }
            _ => {
                "Each proxy has one core and one thread; the clients and the upstream have one each."
            }
        }
    }
}

/// Pins this thread, and the threads and the processes that it will start.
pub fn pin(core: Option<usize>) -> io::Result<()> {
    if let Some(core) = core {
        let mut only = CpuSet::new();
        only.set(core);
        sched_setaffinity(None, &only)?;
    }
    Ok(())
}

/// Runs `start` on this processor. The processes that it starts stay there, this thread does not.
pub fn on<T>(core: Option<usize>, start: impl FnOnce() -> T) -> io::Result<T> {
    let before = sched_getaffinity(None)?;
    pin(core)?;
    let started = start();
    sched_setaffinity(None, &before)?;
    Ok(started)
}
