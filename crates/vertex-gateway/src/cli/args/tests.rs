use std::collections::BTreeSet;

use super::*;

/// A row of the manual's tables of options.
struct Row {
    /// The subcommand whose section has the row; `serve` if the section names none.
    command: &'static str,
    options: BTreeSet<&'static str>,
    variables: BTreeSet<&'static str>,
}

fn rows() -> Vec<Row> {
    let manual = include_str!("../../../../../docs/operations.md");
    let options = manual.split_once("\n## Options\n").unwrap().1.split_once("\n## ").unwrap().0;
    let mut command = "serve";
    let mut rows = Vec::new();
    for line in options.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            let named = heading.strip_prefix("`vertex-gateway ");
            command = named.map_or("serve", |named| named.trim_end_matches('`'));
        } else if line.starts_with("| `--") {
            let cells: Vec<_> = line.split('|').collect();
            let quoted = |cell: &'static str| cell.split('`').skip(1).step_by(2);
            let name = |option: &'static str| option.split(' ').next()?.strip_prefix("--");
            rows.push(Row {
                command,
                options: quoted(cells[1]).filter_map(name).collect(),
                variables: quoted(cells[2]).collect(),
            });
        }
    }
    rows
}

/// The long options of a command, each with its variable.
fn options(command: &clap::Command) -> BTreeSet<(String, Option<String>)> {
    let shown = command.get_arguments().filter(|option| !option.is_hide_set());
    let all = shown.filter_map(|option| {
        let variable = option.get_env().map(|variable| variable.to_string_lossy().into_owned());
        Some((option.get_long()?.to_owned(), variable))
    });
    all.filter(|(name, _)| !["help", "version"].contains(&name.as_str())).collect()
}

#[test]
fn debug_of_options_shows_no_value_that_could_be_a_secret() {
    let command = Command::command();
    for subcommand in command.get_subcommands() {
        let name = subcommand.get_name();
        for option in subcommand.get_arguments().filter_map(|arg| arg.get_long()) {
            for secret in ["{\"SECRET\": 1}", "sk-SECRET", "https://a:SECRET@b/?key=SECRET"] {
                let option = format!("--{option}={secret}");
                let shown = match Command::try_parse_from(["vertex-gateway", name, &option]) {
                    Ok(parsed) => format!("{parsed:?}"),
                    Err(error) => error.to_string(),
                };
                assert!(!shown.contains("SECRET"), "{name} {option}: {shown}");
            }
        }
    }
}

#[test]
fn the_manual_has_every_option_of_every_command_and_its_variable() {
    let (rows, command) = (rows(), Command::command());
    let of_serve = options(&command);
    assert!(of_serve.len() > 30, "{of_serve:?}");
    for subcommand in command.get_subcommands() {
        let section = subcommand.get_name();
        for option in options(subcommand) {
            // An option that is the same for `serve` is only in the section of `serve`.
            let section = if of_serve.contains(&option) { "serve" } else { section };
            let (name, variable) = option;
            let is_there = rows.iter().any(|row| {
                row.command == section
                    && row.options.contains(name.as_str())
                    && variable.as_deref().is_none_or(|name| row.variables.contains(name))
            });
            assert!(is_there, "the manual has no --{name} with {variable:?} of {section}");
        }
    }
}

#[test]
fn the_headings_of_the_help_are_those_of_the_manual() {
    let manual = include_str!("../../../../../docs/operations.md");
    let command = Command::command();
    for (heading, named) in help::HEADINGS {
        let section = manual.split_once(&format!("\n### {heading}\n")).unwrap().1;
        let section = section.split_once("\n### ").unwrap().0;
        let rows = section.lines().filter(|line| line.starts_with("| `--"));
        let cells = rows.map(|line| line.split('|').nth(1).unwrap());
        let listed = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
        let listed = listed.map(|option| option.split(' ').next().unwrap().trim_start_matches('-'));
        assert_eq!(listed.collect::<BTreeSet<_>>(), named.iter().copied().collect(), "{heading}");
    }
    let without = command.get_arguments().filter(|arg| arg.get_help_heading().is_none());
    assert_eq!(without.count(), 0);
}

#[test]
fn the_short_help_has_the_options_that_most_people_need() {
    let page = include_str!("../../../../../docs/start.md");
    let table = page.split_once("\n## The options that most people need\n").unwrap().1;
    let table = table.split_once("\nA setting").unwrap().0;
    let quoted = table.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.strip_prefix("--"));
    let listed: BTreeSet<_> = quoted.filter_map(|option| option.split(' ').next()).collect();
    assert_eq!(listed, help::COMMON.into_iter().collect());
}

#[test]
fn the_manual_has_no_unknown_option() {
    let (rows, command) = (rows(), Command::command());
    let seen: BTreeSet<_> = rows.iter().map(|row| row.command).collect();
    assert_eq!(
        seen,
        BTreeSet::from([
            "serve",
            "run",
            "init",
            "check",
            "token",
            "endpoints",
            "models",
            "emulator",
            "ext-authz"
        ])
    );
    for Row { command: section, options: named, .. } in rows {
        let Some(subcommand) = command.find_subcommand(section) else {
            assert!(section == "ext-authz" && cfg!(not(feature = "ext-authz")), "{section}");
            continue;
        };
        let there = options(subcommand);
        for name in named {
            let is_there = there.iter().any(|(option, _)| option == name);
            assert!(is_there, "`vertex-gateway {section}` has no --{name}");
        }
    }
}

#[test]
fn an_error_has_line_ends_and_no_other_control_characters() {
    let failure = Error::new("one: \u{1b}[2J\u{202e}\ntwo: a\rb\u{2028}\n");
    let expected = "one: \\u{1b}[2J\\u{202e}\ntwo: a\\rb\\u{2028}\n";
    assert_eq!(
        (failure.to_string(), format!("{failure:?}")),
        (expected.to_owned(), expected.to_owned())
    );
}
