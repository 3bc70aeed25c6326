//! Tests of the configuration file: its settings and its errors.

use clap::CommandFactory as _;

use super::{
    keys::{CLIENT_KEYS, MODEL_KEYS},
    *,
};
use crate::Command;

const EXAMPLE: &str = include_str!("../../../../../gateway.example.toml");

fn known() -> FileOptions {
    FileOptions::of(&Command::command())
}

fn parse(text: &str) -> Result<ConfigFile, String> {
    ConfigFile::parse(text, &known())
}

fn base() -> Upstream {
    Upstream::new("p", "us-central1").unwrap()
}

#[test]
fn the_example_loads_as_it_is_and_with_every_key() {
    let file = parse(EXAMPLE).unwrap();
    assert_eq!(file, parse("").unwrap(), "all of it is commented out");
    // `#key = value` is a setting; `# text` is text.
    let every: String = EXAMPLE
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    let file = parse(&every).unwrap();
    assert!(file.table(base(), &Discovered::default(), None).is_ok(), "{file:?}");
    let table: toml::Table = every.parse().unwrap();
    let keys = KEYS
        .iter()
        .map(|(key, _)| (*key).to_owned())
        .chain(known().0.keys().cloned().collect::<Vec<_>>());
    for key in keys {
        assert!(table.contains_key(&key), "`{key}` is not in gateway.example.toml");
    }
    let models = table["model"].as_array().unwrap();
    for (key, _) in MODEL_KEYS {
        assert!(models.iter().any(|model| model.get(key).is_some()), "{key} is in no model");
    }
    for (key, _) in CLIENT_KEYS {
        assert!(table["client"][0].get(key).is_some(), "{key} is in no client");
    }
}

#[test]
fn the_table_of_the_manual_loads() {
    let page = include_str!("../../../../../docs/models.md");
    let shown = page.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    let table = parse(shown).unwrap().table(base(), &Discovered::default(), None).unwrap();
    assert_eq!(table.entries().len(), 2);
}

#[test]
fn an_error_names_the_fault_and_the_remedy() {
    for (text, why) in [
        ("projct = \"p\"", "unknown key `projct`: did you mean `project`?"),
        ("dedicated-host = \"p\"", "did you mean `dedicated_host`?"),
        ("zebra = 1", "unknown key `zebra`: there are `model`, `client`"),
        ("send-timeout = 1", "unknown key `send-timeout`: did you mean `send_timeout`?"),
        ("[[model]]\nname = \"a\"\nzebra = 1", "in [[model]] \"a\": there are name, model"),
        (
            "[[model]]\nname = \"a\"\nlocatoin = \"b\"",
            "unknown key `locatoin` in [[model]] \"a\": did you mean `location`?",
        ),
        ("[[model]]\nmodel = \"a\"", "no `name` in [[model]] number 1"),
        ("[[client]]\nmodels = []", "no `name` in [[client]] number 1"),
        (
            "[[client]]\nname = \"a\"\nrequests-per-minute = 1",
            "in [[client]] \"a\": did you mean `requests_per_minute`?",
        ),
        (
            "[[client]]\nname = \"a\"\nrequests_per_minute = 0",
            "line 3: `requests_per_minute` in [[client]] \"a\": give a whole number from 1 to",
        ),
        ("[[client]]\nname = \"a\"\nmax_concurrent_requests = 9999999999", "line 3: "),
        ("[[client]]\nname = \"a\"\nmodels = \"SECRET\"", "line 3: `models` in [[client]]"),
        ("project = ", "line 1: "),
        ("\n\nproject = 7", "line 3: `project`: give text in quotes"),
        ("[model]\nname = \"a\"", "line 1: `model`: begin each of its entries with [[model]]"),
        (
            "[[model]]\nname = \"a\"\n[[model]]\nname = \"a\"",
            "line 4: a [[model]] with the name \"a\" is in line 2 already: leave one",
        ),
        ("request_header_timeout = \"SECRET\"", "line 1: `request_header_timeout`: give a time"),
        ("request_header_timeout = 9223372036854775808", "line 1: "),
        ("send_timeout = 9223372036854775807", "line 1: `send_timeout`: give a time"),
        ("send_timeout = -1", "line 1: `send_timeout`: give a time"),
        ("max_request_bytes = 1.5", "line 1: `max_request_bytes`: give text in quotes"),
        ("log_format = \"SECRET\"", "line 1: `log_format`: give auto or short or text or json"),
        ("allow_unauthenticated = \"SECRET\"", "`allow_unauthenticated`: give true or false"),
        ("config = \"other\"", "unknown key `config`"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(why) && !error.contains("SECRET"), "{text}: {error}");
    }
    for (text, why) in [
        ("[[model]]\nname = \"a\"\nlocation = \"evil.com/\"", "location"),
        (
            "[[model]]\nname = \"a\"\nendpoint = \"display-name:b\"\ndedicated_host = \"c\"",
            "model \"a\": remove `dedicated_host`",
        ),
        ("[[model]]\nname = \"a\"\napi_version = \"v2\"", "v2"),
        ("[[model]]\nname = \"a\"\nheaders = { authorization = \"SECRET\" }", "header"),
    ] {
        let error = parse(text)
            .unwrap()
            .table(base(), &Discovered::default(), None)
            .unwrap_err()
            .to_string();
        assert!(error.contains(why) && !error.contains("SECRET"), "{text}: {error}");
    }
}
