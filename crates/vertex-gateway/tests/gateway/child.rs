//! A command that the gateway runs: the promises that `run` and `emulator --as-google` both keep.

use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::common::{gateway::command, in_time};

/// Runs the gateway with these words, and more of them, to its end.
pub(crate) async fn output(start: &[&str], more: &[&str]) -> Output {
    let mut command = command(&[start, more].concat());
    in_time("the end of the command", command.output()).await.unwrap()
}

pub(crate) fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// The exit code of the gateway is that of the command.
pub(crate) async fn assert_passes_exit_codes_on(start: &[&str]) {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137)] {
        let output = output(start, &["--", "sh", "-c", script]).await;
        assert_eq!((output.status.code(), texts(&output).1), (Some(code), String::new()));
    }
    let output = output(start, &["--", "no-such-command"]).await;
    assert_eq!(output.status.code(), Some(127), "{output:?}");
    let expected = "vertex-gateway: cannot run the command after --: No such file";
    assert!(texts(&output).1.starts_with(expected), "{output:?}");
}

/// The command gets a signal to the gateway, and may end in its own way.
pub(crate) async fn assert_passes_signals_on(start: &[&str]) {
    let script = "trap 'kill $!; echo stopped; exit 3' TERM; sleep 60 & echo ready; wait";
    let mut command = command(&[start, &["--", "sh", "-c", script]].concat());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(in_time("a line", lines.next_line()).await.unwrap().unwrap(), "ready");
    let id = child.id().and_then(|id| Pid::from_raw(id.try_into().unwrap())).unwrap();
    kill_process(id, Signal::TERM).unwrap();
    assert_eq!(in_time("a line", lines.next_line()).await.unwrap().unwrap(), "stopped");
    let status = in_time("the end of the command", child.wait()).await.unwrap();
    assert_eq!(status.code(), Some(3));
}
