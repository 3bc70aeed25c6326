//! The lists and descriptions in each form.

use serde_json::{Value, json};

use super::{
    catalogue::Item,
    question::{Form, Question},
};
use tower_vertex::discover::ModelMethod;

/// Models per page if the client names no number: Anthropic's and the Gemini API's own defaults. The
/// list of Vertex AI has more, and that of OpenAI no pages.
const ANTHROPIC_PAGE: usize = 20;
const GEMINI_PAGE: usize = 50;
const VERTEX_PAGE: usize = 100;

/// The list of these models, or the page of it that the question names.
pub(super) fn list(question: &Question, items: &[Item], since: u64) -> Value {
    match &question.form {
        Form::OpenAi => {
            let data: Vec<Value> = items.iter().map(|item| openai(item, since)).collect();
            json!({ "object": "list", "data": data })
        }
        Form::Anthropic => anthropic_page(question, items),
        Form::Gemini => pages(question, items, GEMINI_PAGE, "models", gemini),
        Form::Vertex { publisher } => {
            pages(question, items, VERTEX_PAGE, "publisherModels", |item| vertex(item, publisher))
        }
    }
}

/// The description of one model.
pub(super) fn describe(form: &Form, item: &Item, since: u64) -> Value {
    match form {
        Form::OpenAi => openai(item, since),
        Form::Anthropic => anthropic(item),
        Form::Gemini => gemini(item),
        Form::Vertex { publisher } => vertex(item, publisher),
    }
}

fn openai(item: &Item, since: u64) -> Value {
    json!({ "id": item.id, "object": "model", "created": since, "owned_by": item.owner })
}

/// Anthropic's `ModelInfo`.
fn anthropic(item: &Item) -> Value {
    let version = item.model.model_id();
    let date = version.split_once('@').map_or("", |(_, date)| date);
    let created = match (date.get(..4), date.get(4..6), date.get(6..8)) {
        (Some(year), Some(month), Some(day)) if date.len() == 8 => {
            format!("{year}-{month}-{day}T00:00:00Z")
        }
        // Anthropic's value for an unknown time.
        _ => "1970-01-01T00:00:00Z".to_owned(),
    };
    json!({
        "type": "model",
        "id": item.id,
        "display_name": display_name(item),
        "created_at": created,
    })
}

fn anthropic_page(question: &Question, items: &[Item]) -> Value {
    let limit = question.number("limit").unwrap_or(ANTHROPIC_PAGE);
    let position = |name: &str| {
        let id = question.parameter(name).filter(|id| !id.is_empty())?;
        // A model that is not on the list any more ends it.
        Some(items.iter().position(|item| item.id == id))
    };
    let (page, has_more) = match (position("before_id"), position("after_id")) {
        (Some(end), _) => {
            let before = items.get(..end.unwrap_or(0)).unwrap_or_default();
            let first = before.len().saturating_sub(limit);
            (before.get(first..).unwrap_or_default(), first > 0)
        }
        (None, after) => {
            let first = after.map_or(0, |at| at.map_or(items.len(), |at| at + 1));
            let rest = items.get(first..).unwrap_or_default();
            (rest.get(..limit).unwrap_or(rest), rest.len() > limit)
        }
    };
    json!({
        "data": page.iter().map(anthropic).collect::<Vec<_>>(),
        "has_more": has_more,
        "first_id": page.first().map(|item| &item.id),
        "last_id": page.last().map(|item| &item.id),
    })
}

/// A page of a Google API: the token is the name of the last model of the page before.
fn pages(
    question: &Question,
    items: &[Item],
    size: usize,
    field: &str,
    describe: impl Fn(&Item) -> Value,
) -> Value {
    let size = question.number("pageSize").unwrap_or(size);
    let token = question.parameter("pageToken").filter(|token| !token.is_empty());
    let first = token.map_or(0, |last| {
        items.iter().position(|item| item.id == last).map_or(items.len(), |at| at + 1)
    });
    let rest = items.get(first..).unwrap_or_default();
    let page = rest.get(..size).unwrap_or(rest);
    let mut list = json!({ field: page.iter().map(describe).collect::<Vec<_>>() });
    if let Some(last) = page.last().filter(|_| rest.len() > page.len()) {
        list["nextPageToken"] = json!(last.id);
    }
    list
}

/// The Gemini API's `Model`, without the limits, which Vertex AI does not list.
fn gemini(item: &Item) -> Value {
    let methods = item.model.methods().iter().filter_map(|method| match method {
        ModelMethod::GenerateContent => Some(&["generateContent", "countTokens"][..]),
        ModelMethod::EmbedContent => Some(&["embedContent"]),
        ModelMethod::Predict => Some(&["predict"]),
        _ => None,
    });
    let version = match item.model.version_id.as_str() {
        "" => "default",
        version => version,
    };
    json!({
        "name": format!("models/{}", item.id),
        "version": version,
        "displayName": display_name(item),
        "supportedGenerationMethods": methods.flatten().collect::<Vec<_>>(),
    })
}

/// Vertex AI's `PublisherModel`.
fn vertex(item: &Item, publisher: &str) -> Value {
    let mut described = json!({ "name": format!("publishers/{publisher}/models/{}", item.id) });
    let model = &item.model;
    for (field, value) in [
        ("versionId", &model.version_id),
        ("openSourceCategory", &model.open_source_category),
        ("launchStage", &model.launch_stage),
        ("versionState", &model.version_state),
        ("publisherModelTemplate", &model.publisher_model_template),
    ] {
        if !value.is_empty() {
            described[field] = json!(value);
        }
    }
    let actions = model.supported_actions.iter().map(|action| (action.clone(), json!({})));
    if !model.supported_actions.is_empty() {
        described["supportedActions"] = Value::Object(actions.collect());
    }
    described
}

/// A name for people: `claude-opus-4-8` is Claude Opus 4.8. An operator's own name stays.
fn display_name(item: &Item) -> String {
    if item.is_alias {
        return item.id.clone();
    }
    let id = item.model.id.split('@').next().unwrap_or_default();
    let mut name = String::new();
    let mut after_number = false;
    for word in id.split('-').filter(|word| !word.is_empty()) {
        let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
        if !name.is_empty() {
            name.push(if is_number && after_number { '.' } else { ' ' });
        }
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.extend(letters);
        after_number = is_number;
    }
    name
}
