//! A timer that ticks more often than once a millisecond, which is the resolution of tokio's.

use std::{io, os::fd::AsFd, time::Duration};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;

/// A timer of Linux is read like a pipe. tokio's `AsyncFd` could only be created by unsafe code.
#[derive(Debug)]
pub struct Ticks(Receiver);

impl Ticks {
    /// The first tick comes after one period.
    pub fn every(period: Duration) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let ticks = Self(Receiver::from_owned_fd_unchecked(timer)?);
        ticks.set(period)?;
        Ok(ticks)
    }

    fn set(&self, period: Duration) -> io::Result<()> {
        let period =
            Timespec { tv_sec: period.as_secs() as i64, tv_nsec: period.subsec_nanos().into() };
        let spec = Itimerspec { it_interval: period, it_value: period };
        timerfd_settime(self.0.as_fd(), TimerfdTimerFlags::empty(), &spec)?;
        Ok(())
    }

    /// Begins again, as [`Ticks::every`] does.
    pub fn again(self, period: Duration) -> io::Result<Self> {
        self.set(period)?;
        Ok(self)
    }

    pub fn stop(&self) -> io::Result<()> {
        self.set(Duration::ZERO)
    }

    /// Waits for a tick. Returns the number of ticks since the last call.
    pub async fn next(&self) -> io::Result<u64> {
        let mut ticks = [0; 8];
        loop {
            self.0.readable().await?;
            match self.0.try_read(&mut ticks) {
                Ok(_) => return Ok(u64::from_ne_bytes(ticks)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}
