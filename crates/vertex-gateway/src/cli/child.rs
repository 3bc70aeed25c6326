//! A command that this program runs, for `run` and `emulator --as-google`: it gets the signals, and its
//! exit code is that of this program.

use std::{
    ffi::OsString,
    io,
    process::{Child, Command},
};

use self::signals::Signals;
use crate::error::Error;

/// The program of these words, with its arguments.
pub(super) fn command(words: &[OsString]) -> Result<Command, Error> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(Error::new("give a command after --"));
    };
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

/// A command that was started.
pub(super) struct Running {
    child: Child,
    signals: Signals,
}

impl Running {
    /// # Errors
    ///
    /// The exit code of the error is 127 if there is no such command, and 126 if it cannot run.
    pub(super) fn start(mut command: Command) -> Result<Self, Error> {
        // The handlers are there before the command starts, so that no signal is lost.
        let signals = Signals::new()
            .map_err(|error| Error::new(format!("cannot listen for signals: {error}")))?;
        let child = command.spawn().map_err(|error| {
            let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
            // The message does not repeat the command, as no message repeats the value of an option.
            Error::new(format!("cannot run the command after --: {error}")).with_exit_code(code)
        })?;
        Ok(Self { child, signals })
    }

    /// Waits for the end of the command, and passes signals on to it. Returns its exit code, by the
    /// convention of shells.
    pub(super) async fn exit_code(self) -> Result<u8, Error> {
        let Self { mut child, mut signals } = self;
        let id = signals::Id::of(&child);
        let mut ended = tokio::task::spawn_blocking(move || child.wait());
        let status = tokio::select! {
            ended = &mut ended => ended,
            never = signals.pass_on(id) => match never {},
        };
        let status = status.map_err(io::Error::other).and_then(|status| status);
        let status =
            status.map_err(|error| Error::new(format!("the command was lost: {error}")))?;
        let code = status.code().or_else(|| signals::number(status).map(|signal| 128 + signal));
        Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
    }
}

#[cfg(unix)]
mod signals {
    use std::{
        convert::Infallible,
        fs::File,
        io::{self, IsTerminal as _},
        os::unix::process::ExitStatusExt as _,
        process::{Child, ExitStatus},
    };

    use rustix::process::{Pid, Signal, kill_process};
    use tokio::signal::unix::{self, SignalKind, signal};

    /// The process id of the command.
    #[derive(Clone, Copy)]
    pub(super) struct Id(Pid);

    impl Id {
        pub(super) fn of(child: &Child) -> Self {
            Self(Pid::from_child(child))
        }
    }

    /// The signal that ended a process.
    pub(super) fn number(status: ExitStatus) -> Option<i32> {
        status.signal()
    }

    /// The signals that are passed on to the command.
    pub(super) struct Signals([(unix::Signal, Signal); 6]);

    impl Signals {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self([
                (signal(SignalKind::terminate())?, Signal::TERM),
                (signal(SignalKind::hangup())?, Signal::HUP),
                (signal(SignalKind::user_defined1())?, Signal::USR1),
                (signal(SignalKind::user_defined2())?, Signal::USR2),
                (signal(SignalKind::interrupt())?, Signal::INT),
                (signal(SignalKind::quit())?, Signal::QUIT),
            ]))
        }

        /// Passes all signals on, and never ends.
        pub(super) async fn pass_on(&mut self, Id(id): Id) -> Infallible {
            // A terminal sends these signals to the command as well, which is in the same process
            // group.
            let has_terminal = File::open("/dev/tty").is_ok_and(|terminal| terminal.is_terminal());
            loop {
                let signal = self.next().await;
                if !(has_terminal && [Signal::INT, Signal::QUIT].contains(&signal)) {
                    // The command may have ended already.
                    let _ = kill_process(id, signal);
                }
            }
        }

        /// Waits for the next signal.
        async fn next(&mut self) -> Signal {
            let [a, b, c, d, e, f] = &mut self.0;
            tokio::select! {
                _ = a.0.recv() => a.1,
                _ = b.0.recv() => b.1,
                _ = c.0.recv() => c.1,
                _ = d.0.recv() => d.1,
                _ = e.0.recv() => e.1,
                _ = f.0.recv() => f.1,
            }
        }
    }
}

/// Without signals: a console sends Ctrl-C to all of its programs.
#[cfg(not(unix))]
mod signals {
    use std::{
        convert::Infallible,
        io,
        process::{Child, ExitStatus},
    };

    #[derive(Clone, Copy)]
    pub(super) struct Id;

    impl Id {
        pub(super) fn of(_: &Child) -> Self {
            Self
        }
    }

    pub(super) fn number(_: ExitStatus) -> Option<i32> {
        None
    }

    pub(super) struct Signals;

    impl Signals {
        #[expect(clippy::unnecessary_wraps, reason = "as with signals")]
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        /// Takes Ctrl-C, so that this program outlives the command.
        pub(super) async fn pass_on(&mut self, _: Id) -> Infallible {
            while tokio::signal::ctrl_c().await.is_ok() {}
            std::future::pending().await
        }
    }
}
