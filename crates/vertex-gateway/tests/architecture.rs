//! Checks which folders of the library and of the sidecar use which others: the `use` lines must
//! agree with the tables in `docs/architecture.md`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The folders of a crate.
struct Plan {
    source: &'static str,
    /// Files and folders that use only each other, and that all others may use.
    base: &'static [&'static str],
    /// From the bottom up: a folder uses only folders of the levels before its own.
    levels: &'static [&'static [&'static str]],
    /// Folders whose `use` lines may go up.
    exempt: &'static [&'static str],
}

const SIDECAR: Plan = Plan {
    source: "crates/vertex-gateway/src",
    base: &[
        "colours",
        "error",
        "joined_write",
        "lazy_timer",
        "local_reply",
        "output",
        "printable",
        "quote",
        "seldom",
        "values",
    ],
    levels: &[
        &["config", "telemetry", "inbound"],
        &["access", "outbound"],
        &["models"],
        &["proxy"],
        &["status"],
        &["server"],
        &["envoy"],
        &["cli"],
        &["simulation"],
        // Only the fuzz targets have it.
        &["fuzzing"],
        &["lib"],
        &["main"],
    ],
    exempt: &[],
};

const LIBRARY: Plan = Plan {
    source: "src",
    base: &[
        "BoxError",
        "Error",
        "accessors",
        "body_headers",
        "crypto_provider",
        "error",
        "polled",
        "regular_file",
        "redact",
        "sse",
    ],
    levels: &[
        &["connect", "replay"],
        &["token"],
        &["body_reader", "http_client", "order"],
        &["route"],
        &["auth", "retry"],
        &["model"],
        &["error_format"],
        &["compat", "discover"],
        &["ext"],
        &["client"],
        &["async_openai"],
        &["lib"],
    ],
    // `order` knows the other layers only by the names of their types.
    exempt: &["order"],
};

#[test]
fn a_folder_uses_only_folders_below_its_own() {
    for plan in [&SIDECAR, &LIBRARY] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(plan.source);
        let (mut files, mut wrong, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
        find(&root, &mut files);
        for path in &files {
            let file = path.strip_prefix(&root).unwrap().with_extension("");
            let module: Vec<_> = file.iter().map(|part| part.to_str().unwrap()).collect();
            let folder = module[0];
            seen.insert(folder.to_owned());
            for used in used(&fs::read_to_string(path).unwrap(), &module) {
                if !plan.allows(folder, &used) && !plan.exempt.contains(&folder) {
                    wrong.push(format!("{} uses {used}", file.display()));
                }
            }
        }
        assert!(wrong.is_empty(), "{}: these uses go up or to the side: {wrong:#?}", plan.source);
        let known = plan.levels.iter().copied().flatten().chain(plan.base);
        // These two names of the crate's root are used everywhere.
        let known = known.filter(|name| !["BoxError", "Error"].contains(name));
        let known: BTreeSet<_> = known.map(ToString::to_string).collect();
        assert_eq!(seen, known, "the levels of {} differ from its folders", plan.source);
    }
}

#[test]
fn a_use_of_a_folder_above_is_found() {
    for (module, line, up) in [
        (&["access", "keys"][..], "use crate::proxy::errors;", "proxy"),
        (&["access", "keys"], "use crate::{error::Failure, cli};", "cli"),
        (&["config", "file"], "use super::super::telemetry::log;", "telemetry"),
        (&["telemetry", "trace", "mod"], "pub(crate) use super::super::models::list;", "models"),
        (&["error"], "    use super::inbound::body::TooLarge;", "inbound"),
        (&["proxy", "mod"], "fn f() { crate::server::admin::f() }", "server"),
        (&["outbound", "pool"], "use crate::*;", "*"),
    ] {
        let used = used(line, module);
        assert!(used.contains(up) && !SIDECAR.allows(module[0], up), "{line}: {used:?}");
    }
    for (module, line) in [
        (&["proxy", "handler"][..], "use super::{context::Context, errors};"),
        (&["cli", "serve"], "use crate::{error::Failure, envoy};"),
        (&["models", "list"], "use tower_vertex::{model::ModelTable, retry::{self, Attempts}};"),
        (&["telemetry", "trace", "mod"], "use super::super::values::MOST;"),
        (&["access", "mod"], "#[cfg(test)]\nmod tests {\n    use crate::cli::Command;\n}"),
    ] {
        let used = used(line, module);
        assert!(used.iter().all(|used| SIDECAR.allows(module[0], used)), "{line}: {used:?}");
    }
}

impl Plan {
    fn allows(&self, folder: &str, used: &str) -> bool {
        let level = |name: &str| {
            let base = self.base.contains(&name).then_some(0);
            base.or_else(|| Some(1 + self.levels.iter().position(|level| level.contains(&name))?))
        };
        match (level(folder), level(used)) {
            (Some(0), Some(0)) => true,
            (Some(folder_level), Some(used_level)) => folder == used || used_level < folder_level,
            // The name is of no folder, or only the crate's users need it.
            _ => false,
        }
    }
}

/// The Rust files below a folder, except files that hold only tests.
fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs")
            && !path.ends_with("tests.rs")
        {
            files.push(path);
        }
    }
}

/// The names that a file uses from its crate outside of its tests: the first name of each path.
fn used(text: &str, module: &[&str]) -> BTreeSet<String> {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut used = BTreeSet::new();
    // The depth of the file. In a folder's `mod.rs`, `super` is the crate.
    let depth = module.len() - usize::from(module.last() == Some(&"mod"));
    for (at, _) in code.match_indices("use ") {
        let is_line = code[..at].rsplit('\n').next().unwrap().trim();
        let is_visibility =
            is_line == "pub" || is_line.starts_with("pub(") && is_line.ends_with(')');
        if !(is_line.is_empty() || is_visibility) {
            continue;
        }
        let tree = code[at + "use ".len()..].split(';').next().unwrap();
        for path in paths(tree) {
            let ups = path.iter().take_while(|part| *part == "super").count();
            let first = match path[0].as_str() {
                "crate" => path.get(1),
                "super" if ups == depth => path.get(ups),
                _ => None,
            };
            used.extend(first.cloned());
        }
    }
    // Paths outside of `use` lines.
    for (at, found) in code.match_indices("crate::") {
        let rest = &code[at + found.len()..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        used.extend(Some(rest[..end].to_owned()).filter(|name| !name.is_empty()));
    }
    used
}

/// The paths of a tree such as `a::{b, c::{d, self}}`, without the names after `as`.
fn paths(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some((before, inner)) = tree.split_once('{') else {
        let path = tree.split_whitespace().next().unwrap_or_default();
        return vec![path.split("::").map(|part| part.trim().to_owned()).collect()];
    };
    let inner = inner.trim_end().strip_suffix('}');
    let inner = inner.unwrap_or_else(|| panic!("a tree ends with its bracket: {tree}"));
    let (mut depth, mut begin, mut parts) = (0, 0, Vec::new());
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[begin..]);
    let before: Vec<_> =
        before.split("::").map(str::trim).filter(|part| !part.is_empty()).collect();
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
    parts
        .flat_map(paths)
        .map(|path| before.iter().map(ToString::to_string).chain(path).collect())
        .collect()
}
