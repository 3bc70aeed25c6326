//! The project of gcloud's active configuration.
//!
//! gcloud itself is not run, because it takes a second. Its own order is: a variable, then the
//! configuration that a variable or the file `active_config` names.

use std::{
    env,
    path::{Path, PathBuf},
};

use super::layered::Given;
use crate::values::LONGEST_FILE;
use tower_vertex::regular_file;

const PROJECT: &str = "CLOUDSDK_CORE_PROJECT";
const ACTIVE: &str = "CLOUDSDK_ACTIVE_CONFIG_NAME";
const FOLDER: &str = "CLOUDSDK_CONFIG";

/// The project, and what names it; `None` without gcloud's files.
pub(crate) fn project() -> Option<Given> {
    project_of(|name| env::var(name).ok(), usual_folder())
}

/// gcloud's folder, unless its variable names another one.
fn usual_folder() -> Option<PathBuf> {
    #[cfg(windows)]
    let folder = PathBuf::from(env::var_os("APPDATA")?);
    #[cfg(not(windows))]
    let folder = env::home_dir()?.join(".config");
    Some(folder.join("gcloud"))
}

fn project_of(
    environment: impl Fn(&str) -> Option<String>,
    usual: Option<PathBuf>,
) -> Option<Given> {
    let set = |name| {
        let value = environment(name)?.trim().to_owned();
        (!value.is_empty()).then_some(value)
    };
    if let Some(project) = set(PROJECT) {
        return Some(Given::new(project, PROJECT));
    }
    let folder = set(FOLDER).map(PathBuf::from).or(usual)?;
    let active = || read(&folder.join("active_config")).map(|name| name.trim().to_owned());
    let name = set(ACTIVE).or_else(active).filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| "default".to_owned());
    // A name is a part of a path.
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return None;
    }
    let properties = read(&folder.join("configurations").join(format!("config_{name}")))?;
    let project = property(&properties, "core", "project")?;
    Some(Given::new(project, format!("gcloud's configuration {name}")))
}

fn read(path: &Path) -> Option<String> {
    regular_file::read_to_string(path, LONGEST_FILE).ok()
}

/// The value of a property, which is a line `name = value` below a line `[section]`.
fn property<'a>(properties: &'a str, section: &str, name: &str) -> Option<&'a str> {
    let mut inside = false;
    for line in properties.lines().map(str::trim) {
        if let Some(heading) = line.strip_prefix('[') {
            inside = heading.trim_end_matches(']').trim() == section;
        } else if let Some((key, value)) = line.split_once(['=', ':']).filter(|_| inside)
            && key.trim().eq_ignore_ascii_case(name)
            && !value.trim().is_empty()
        {
            return Some(value.trim());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_project_is_that_of_the_variable_or_of_the_active_configuration() {
        let home = tempfile::tempdir().unwrap();
        let of = |variables: &[(&str, &str)]| {
            let given = |name: &str| {
                let set = variables.iter().find(|(variable, _)| *variable == name);
                set.map(|(_, value)| (*value).to_owned())
            };
            let found = project_of(given, Some(home.path().join("gcloud")))?;
            Some((found.value, found.from))
        };
        let some = |value: &str, from: &str| Some((value.to_owned(), from.to_owned()));
        let file = |name: &str, text: &str| fs::write(home.path().join(name), text).unwrap();
        assert_eq!(of(&[]), None, "no gcloud");
        fs::create_dir_all(home.path().join("gcloud/configurations")).unwrap();
        assert_eq!(of(&[]), None, "no configuration");
        file(
            "gcloud/configurations/config_default",
            "[compute]\nproject = other\n# project = no\n[core]\naccount = a@b\nProject = p-1\n",
        );
        file("gcloud/configurations/config_work", "[core]\nproject: p-2\r\n[ai]\nregion = x\n");
        file("gcloud/configurations/config_empty", "[core]\nproject =\naccount = a@b\n");
        assert_eq!(of(&[]), some("p-1", "gcloud's configuration default"));
        file("gcloud/active_config", "work\n");
        assert_eq!(of(&[]), some("p-2", "gcloud's configuration work"));
        assert_eq!(of(&[(ACTIVE, "default")]), some("p-1", "gcloud's configuration default"));
        assert_eq!(of(&[(PROJECT, " ")]), some("p-2", "gcloud's configuration work"));
        assert_eq!(of(&[(PROJECT, "p-3")]), some("p-3", PROJECT));
        for none in ["empty", "missing", "../configurations/config_work"] {
            assert_eq!(of(&[(ACTIVE, none)]), None, "{none}");
        }
        let elsewhere = home.path().join("elsewhere");
        assert_eq!(of(&[(FOLDER, elsewhere.to_str().unwrap())]), None);
    }
}
