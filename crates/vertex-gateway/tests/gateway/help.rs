//! The help of the program: `-h`, `--help`, the manual pages, and the completions of shells.

use std::{collections::BTreeSet, fs, path::Path, process::Stdio};

use clap::{CommandFactory as _, ValueEnum as _};
use clap_complete::Shell;
use tokio::io::AsyncWriteExt as _;
use vertex_gateway::Command as Settings;

use crate::common::{gateway::command, in_time};

/// The output of a run, which has to succeed.
async fn printed(arguments: &[&str]) -> String {
    let mut command = command(arguments);
    // A terminal's width must not affect the lines.
    let output = in_time("the end of the process", command.env_remove("COLUMNS").output()).await;
    let output = output.unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The names of all commands; "" is the program without one.
fn commands() -> Vec<String> {
    let command = Settings::command();
    let names = command.get_subcommands().map(|command| command.get_name().to_owned());
    std::iter::once(String::new()).chain(names).collect()
}

/// The long options of a command, except hidden ones.
fn options(name: &str) -> BTreeSet<String> {
    let command = Settings::command();
    let command = command.find_subcommand(name).unwrap_or(&command);
    let shown = command.get_arguments().filter(|option| !option.is_hide_set());
    shown.filter_map(|option| option.get_long()).map(str::to_owned).collect()
}

fn arguments<'a>(command: &'a str, more: &'a str) -> Vec<&'a str> {
    [command, more].into_iter().filter(|argument| !argument.is_empty()).collect()
}

#[cfg(feature = "ext-authz")]
fn assert_snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(env!("CARGO_PKG_VERSION"), "VERSION");
    settings.bind(|| insta::assert_snapshot!(format!("gateway_help__{name}"), text));
}

#[cfg(feature = "ext-authz")]
#[tokio::test]
async fn the_help_of_each_command_reads_as_its_snapshot() {
    let mut short = String::new();
    for name in commands() {
        let shown = printed(&arguments(&name, "-h")).await;
        short += &format!("$ {}\n{shown}\n", ["vertex-gateway", &name, "-h"].join(" "));
    }
    assert_snapshot("short", &short);
    assert_snapshot("long", &printed(&["--help"]).await);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    assert_eq!(printed(&["man", path]).await, "");
    let page = fs::read_to_string(folder.path().join("vertex-gateway-man.1")).unwrap();
    assert_snapshot("page", &page);
}

#[tokio::test]
async fn the_short_help_fits_on_a_screen_and_has_no_value_of_a_variable() {
    for name in commands() {
        let mut command = command(&arguments(&name, "--help"));
        command.env("VERTEX_GATEWAY_PROXY", "http://user:SECRET@127.0.0.1:1");
        let output = in_time("the help", command.output()).await.unwrap();
        assert!(!String::from_utf8_lossy(&output.stdout).contains("SECRET"), "{name}");
        let lines = printed(&arguments(&name, "-h")).await.lines().count();
        assert!(lines <= 75, "{name}: {lines}");
    }
}

#[tokio::test]
async fn every_option_is_in_the_help_and_in_the_manual_page_of_its_command() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(printed(&["man", folder.path().to_str().unwrap()]).await, "");
    let mut pages = BTreeSet::new();
    for name in commands() {
        let help = printed(&arguments(&name, "--help")).await;
        let page = ["vertex-gateway", &name].join("-").trim_end_matches('-').to_owned() + ".1";
        let text = fs::read_to_string(folder.path().join(&page)).unwrap();
        for option in options(&name) {
            assert!(help.contains(&format!("--{option}")), "{name} --help has no --{option}");
            let escaped = format!("\\-\\-{}", option.replace('-', "\\-"));
            assert!(text.contains(&escaped), "{page} has no --{option}");
        }
        pages.insert(page);
    }
    let files = fs::read_dir(folder.path()).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(files.collect::<BTreeSet<_>>(), pages);
}

#[tokio::test]
async fn a_folder_that_is_missing_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let output = command(&["man", missing.to_str().unwrap()]).output();
    let output = in_time("the end of the process", output).await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("missing: No such file"), "{error}");
    assert!(!Path::new(&missing).exists());
}

/// The parts of a script that are for one command.
fn parts<'a>(shell: Shell, script: &'a str, name: &str) -> Vec<&'a str> {
    let begins = match (shell, name) {
        (Shell::Bash, "") => "        vertex__gateway)\n".to_owned(),
        (Shell::Bash, name) => {
            format!("        vertex__gateway__subcmd__{})\n", name.replace('-', "__subcmd__"))
        }
        (Shell::Zsh, "") => "_vertex-gateway() {".to_owned(),
        (Shell::Zsh, name) => format!("({name})\n"),
        (Shell::Fish, "") => "-n \"__fish_vertex_gateway_needs_command\" ".to_owned(),
        (Shell::Fish, name) => format!("-n \"__fish_vertex_gateway_using_subcommand {name}\" "),
        (other, _) => panic!("{other}"),
    };
    let end = match shell {
        Shell::Bash => "return 0",
        Shell::Zsh => "&& ret=0",
        _ => "\n",
    };
    script.split(&begins).skip(1).map(|part| part.split(end).next().unwrap()).collect()
}

#[tokio::test]
async fn every_option_is_in_the_completions_of_its_command() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let value = shell.to_possible_value().unwrap();
        let script = printed(&["completions", value.get_name()]).await;
        for name in commands() {
            let parts = parts(shell, &script, &name);
            assert!(!parts.is_empty(), "{shell} has no {name}");
            for option in options(&name) {
                let form = match shell {
                    Shell::Fish => format!("-l {option}"),
                    _ => format!("--{option}"),
                };
                let ends =
                    |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-');
                let has = |part: &&str| {
                    part.match_indices(&form).any(|(at, _)| ends(&part[at + form.len()..]))
                };
                assert!(parts.iter().any(has), "{shell}: {name} --{option}");
            }
        }
    }
}

#[tokio::test]
async fn bash_completes_a_command_and_its_options() {
    let script = printed(&["completions", "bash"]).await;
    let asked = r#"
        complete_words() {
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
            _vertex__gateway vertex-gateway "${@: -1}" "${@: -2:1}"
            echo "${COMPREPLY[@]}"
        }
        complete_words vertex-gateway endp
        complete_words vertex-gateway endpoints --disp
        complete_words vertex-gateway serve --log-format sh
    "#;
    let mut bash = tokio::process::Command::new("bash");
    bash.args(["--norc", "-s"]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut bash = bash.spawn().unwrap();
    let mut stdin = bash.stdin.take().unwrap();
    stdin.write_all(format!("{script}\n{asked}").as_bytes()).await.unwrap();
    drop(stdin);
    let output = in_time("the end of bash", bash.wait_with_output()).await.unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.lines().collect::<Vec<_>>(), ["endpoints", "--display-name", "short"]);
}
