//! Model Garden: the list of publishers' models, and one of them.
//!
//! The members are those of `google.cloud.aiplatform.v1beta1.PublisherModel` (PyPI
//! `google-cloud-aiplatform`), with the values of a recorded list (ws/model-availability,
//! `model_garden_models.json`). No source shows whether a location limits the list, so it does not
//! here.

use serde_json::{Value, json};

use super::{
    admission,
    api::{ApiRequest, ok},
    endpoints::conditions,
    google_errors::GoogleError,
    models::{Catalogue, Model},
    paging::Page,
    path::{Call, decoded},
    reply::Reply,
};

/// The publisher in the path that stands for all.
const ALL: &str = "*";

/// Returns the response, or the error.
pub(crate) async fn answer(request: ApiRequest<'_>) -> Result<Reply, GoogleError> {
    let ApiRequest { shared, target, head, bearer, .. } = request;
    admission::check_quota_project(shared, &head.headers, bearer)?;
    let query = head.uri.query().unwrap_or_default();
    match target.call {
        Call::ListModels { publisher } => list(&shared.models, &decoded(publisher), query).map(ok),
        Call::GetModel { publisher, model } => {
            get(&shared.models, &decoded(publisher), &decoded(model), query).map(ok)
        }
        _ => Err(GoogleError::not_emulated(target.method())),
    }
}

/// One version of a model.
#[derive(Clone, Copy, Debug)]
struct Version<'a> {
    publisher: &'a str,
    name: &'a str,
    version: &'a str,
    model: &'a Model,
}

impl<'a> Version<'a> {
    fn of(model: &'a Model) -> Self {
        let (name, version) = match model.name.split_once('@') {
            Some(named) => named,
            // Recorded for Gemini (googleapis/python-genai issue 679) and for Claude's models without
            // a date.
            None if matches!(model.publisher.as_str(), "google" | "anthropic") => {
                (model.name.as_str(), "default")
            }
            None => (model.name.as_str(), "001"),
        };
        Self { publisher: &model.publisher, name, version, model }
    }

    fn is_same_model(&self, other: &Self) -> bool {
        self.publisher == other.publisher && self.name == other.name
    }

    fn describe(&self, view: View) -> Value {
        let Self { publisher, name, version, .. } = self;
        let mut described = json!({
            "name": format!("publishers/{publisher}/models/{name}"),
            "versionId": version,
            "supportedActions": self.actions(),
        });
        if view == View::Version {
            return described;
        }
        described["openSourceCategory"] = self.category().into();
        described["launchStage"] = self.stage().into();
        // The models of Anthropic had none for long. The other templates name Google as the publisher.
        if *publisher != "anthropic" {
            described["publisherModelTemplate"] = format!(
                "projects/{{project}}/locations/{{location}}/publishers/google/models/\
                 {name}@{version}"
            )
            .into();
        }
        described
    }

    /// The links of Model Garden.
    fn actions(&self) -> Value {
        let Self { publisher, name, .. } = self;
        let uri = format!(
            "https://console.cloud.google.com/vertex-ai/publishers/{publisher}/model-garden/{name}"
        );
        let links = json!({ "references": { "global": { "uri": uri } } });
        match *publisher {
            "google" => json!({ "openGenerationAiStudio": links }),
            _ => json!({ "requestAccess": links }),
        }
    }

    fn category(&self) -> &'static str {
        match self.publisher {
            "google" if self.name.starts_with("gemma") => "GOOGLE_OWNED_OSS",
            "google" | "anthropic" | "xai" => "PROPRIETARY",
            "openai" | "mistralai" if !self.name.ends_with("-maas") => "PROPRIETARY",
            _ => "THIRD_PARTY_OWNED_OSS",
        }
    }

    fn stage(&self) -> &'static str {
        if self.name.contains("-preview") {
            "PUBLIC_PREVIEW"
        } else if self.name.contains("-fast-") {
            "EXPERIMENTAL"
        } else {
            "GA"
        }
    }
}

/// The members of a model in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    /// All members that the emulator has. The basic view and the full one are the same here.
    Full,
    /// The version and its actions.
    Version,
}

impl View {
    fn parse(name: &str) -> Result<Self, GoogleError> {
        match name {
            ""
            | "PUBLISHER_MODEL_VIEW_UNSPECIFIED"
            | "PUBLISHER_MODEL_VIEW_BASIC"
            | "PUBLISHER_MODEL_VIEW_FULL" => Ok(Self::Full),
            "PUBLISHER_MODEL_VERSION_VIEW_BASIC" => Ok(Self::Version),
            other => Err(GoogleError::invalid_argument(format!(
                "Invalid value at 'view' \
                 (type.googleapis.com/google.cloud.aiplatform.v1beta1.PublisherModelView), \
                 \"{other}\""
            ))),
        }
    }
}

/// All versions of the models of a publisher. A name without a version is the newest one with a
/// date, if the catalogue has it, too.
fn versions<'a>(models: &'a Catalogue, publisher: &str) -> Vec<Version<'a>> {
    let of_publisher = |model: &&Model| publisher == ALL || model.publisher == publisher;
    let all: Vec<Version<'_>> = models.all().iter().filter(of_publisher).map(Version::of).collect();
    let is_dated = |version: &Version<'_>| version.model.name.contains('@');
    let has_date = |version: &Version<'_>| {
        all.iter().any(|other| is_dated(other) && other.is_same_model(version))
    };
    all.iter().copied().filter(|version| is_dated(version) || !has_date(version)).collect()
}

/// The newest versions.
fn newest(all: Vec<Version<'_>>) -> Vec<Version<'_>> {
    let is_newest = |version: &Version<'_>| {
        let same = all.iter().filter(|other| other.is_same_model(version));
        same.map(|other| other.version).max() == Some(version.version)
    };
    all.iter().copied().filter(is_newest).collect()
}

fn list(models: &Catalogue, publisher: &str, query: &str) -> Result<Value, GoogleError> {
    let (mut page, mut view, mut filter) = (Page::default(), View::Full, Vec::new());
    let mut is_of_all_versions = false;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        page.read(&name, &value)?;
        match name.as_ref() {
            "view" => view = View::parse(&value)?,
            "filter" => filter = parse_filter(&value)?,
            "listAllVersions" => is_of_all_versions = value == "true",
            _ => {}
        }
    }
    let all = versions(models, publisher);
    let found = if is_of_all_versions { all } else { newest(all) };
    let found = found
        .into_iter()
        .filter(|version| filter.iter().all(|condition| condition.accepts(version)))
        .collect();
    let (page, next) = page.of(found);
    let mut list = json!({});
    // Empty fields are omitted, so a publisher without models has an empty object.
    if !page.is_empty() {
        list["publisherModels"] = page.iter().map(|version| version.describe(view)).collect();
    }
    if let Some(next) = next {
        list["nextPageToken"] = next.into();
    }
    Ok(list)
}

fn get(models: &Catalogue, publisher: &str, name: &str, query: &str) -> Result<Value, GoogleError> {
    let mut view = View::Full;
    for (parameter, value) in form_urlencoded::parse(query.as_bytes()) {
        if parameter == "view" {
            view = View::parse(&value)?;
        }
    }
    let all = versions(models, publisher);
    let (wanted, version) = name.split_once('@').unwrap_or((name, ""));
    let found = if version.is_empty() { newest(all) } else { all };
    let found = found
        .into_iter()
        .find(|known| known.name == wanted && (version.is_empty() || known.version == version));
    let missing = || {
        GoogleError::not_found(format!(
            "Publisher Model `publishers/{publisher}/models/{name}` is not found."
        ))
    };
    found.map(|version| version.describe(view)).ok_or_else(missing)
}

/// A condition of a filter. Google's SDK sends these (`vertexai/model_garden`).
#[derive(Debug)]
enum Condition {
    /// Models of Hugging Face, which the emulator does not have.
    OfHuggingFace(bool),
    /// A part of the name, in lower case.
    Name(String),
}

impl Condition {
    fn accepts(&self, version: &Version<'_>) -> bool {
        match self {
            Self::OfHuggingFace(wanted) => !wanted,
            Self::Name(part) => version.name.to_ascii_lowercase().contains(part),
        }
    }
}

fn parse_filter(text: &str) -> Result<Vec<Condition>, GoogleError> {
    let known = conditions(text).into_iter().map(str::trim).filter(|text| !text.is_empty());
    known.map(condition).collect::<Option<_>>().ok_or_else(|| {
        GoogleError::invalid_argument(
            "Invalid filter: the emulator knows is_hf_wildcard(…), model_user_id=… and \
             (model_user_id=~\"(?i).*NAME.*\" OR display_name=~\"…\"), joined by AND.",
        )
    })
}

fn condition(text: &str) -> Option<Condition> {
    match text {
        "is_hf_wildcard(true)" => return Some(Condition::OfHuggingFace(true)),
        "is_hf_wildcard(false)" => return Some(Condition::OfHuggingFace(false)),
        _ => {}
    }
    // Both sides of an OR are the same name.
    let first = text.trim_matches(['(', ')']).split(" OR ").next()?;
    let (field, value) = first.split_once('=')?;
    let value = value.trim_start_matches('~').trim().trim_matches('"');
    let part = value.trim_start_matches("(?i)").trim_start_matches(".*").trim_end_matches(".*");
    let is_name = matches!(field.trim(), "model_user_id" | "display_name" | "name");
    is_name.then(|| Condition::Name(part.to_ascii_lowercase()))
}
