//! Explains Vertex AI's response to one small request, with the remedy for an error.

#[cfg(test)]
mod tests;

use http::StatusCode;
use serde_json::Value;

use super::advice::member;
use crate::quote::quote;
use tower_vertex::error_format::how_to_map;

/// The parts of a response that the explanation needs.
pub(super) struct ResponseSummary<'a> {
    pub(super) status: StatusCode,
    pub(super) is_html: bool,
    pub(super) body: &'a [u8],
}

/// The request: its target, its model and its principal.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) project: Option<&'a str>,
    pub(super) location: Option<&'a str>,
    /// The id of a deployed endpoint.
    pub(super) endpoint: Option<&'a str>,
    /// The model as a client would write it.
    pub(super) asked: &'a str,
    /// The name that is sent. Empty if the endpoint has a model of its own.
    pub(super) model: &'a str,
    pub(super) origin: &'a str,
    /// Whether the host is set, and does not follow from the location.
    pub(super) own_host: bool,
    pub(super) principal: Option<&'a str>,
    pub(super) quota_project: Option<&'a str>,
    /// Must never be shown.
    pub(super) token: &'a str,
}

impl Facts<'_> {
    fn project(&self) -> &str {
        self.project.unwrap_or("PROJECT")
    }

    fn location(&self) -> &str {
        self.location.unwrap_or("LOCATION")
    }

    fn elsewhere(&self) -> &'static str {
        match self.location {
            Some("global") => "a region, such as --location us-central1",
            _ => "another location, such as --location global",
        }
    }

    fn grant(&self, project: &str, role: &str) -> String {
        let member = member(self.principal);
        format!(
            "`gcloud projects add-iam-policy-binding {project} --member={member} --role={role}`"
        )
    }
}

/// Returns `None` for the response of a model, or else the fault and its remedy.
pub(super) fn explain(answer: &ResponseSummary<'_>, facts: &Facts<'_>) -> Option<(String, String)> {
    let json: Option<Value> = serde_json::from_slice(answer.body).ok();
    if answer.status.is_success() {
        return match json.as_ref().and_then(|json| json.get("choices")) {
            Some(Value::Array(_)) => None,
            _ => Some((describe(answer, None, facts), not_vertex(facts))),
        };
    }
    let error = json.as_ref().and_then(GoogleError::find);
    let remedy = match &error {
        Some(error) => of_google(answer.status, error, facts),
        None => of_others(answer, facts),
    };
    Some((describe(answer, error.as_ref(), facts), remedy))
}

/// A `google.rpc.Status`, in an object or in an array of one.
struct GoogleError<'a> {
    status: &'a str,
    message: &'a str,
    reason: &'a str,
    metadata: Option<&'a Value>,
}

impl<'a> GoogleError<'a> {
    fn find(json: &'a Value) -> Option<Self> {
        let error = json.get(0).unwrap_or(json).get("error")?;
        let details = error.get("details").and_then(Value::as_array);
        let info = details.and_then(|details| details.iter().find(|d| d.get("reason").is_some()));
        let message = error.get("message")?.as_str()?;
        Some(Self {
            status: word(error.get("status")),
            message,
            reason: word(info.and_then(|info| info.get("reason"))),
            metadata: info.and_then(|info| info.get("metadata")),
        })
    }

    fn says(&self, words: &str) -> bool {
        self.message.contains(words)
    }

    /// A name in the metadata, if it can be part of a command.
    fn named(&self, field: &str) -> Option<&'a str> {
        let name = self.metadata?.get(field)?.as_str()?;
        let name = name.strip_prefix("projects/").unwrap_or(name);
        is_name(name).then_some(name)
    }
}

/// A word in capitals; empty for anything else.
fn word(value: Option<&Value>) -> &str {
    let is_word = |text: &&str| {
        text.len() <= 60
            && text.bytes().all(|b| b.is_ascii_uppercase() || b"_0123456789".contains(&b))
    };
    value.and_then(Value::as_str).filter(is_word).unwrap_or_default()
}

fn is_name(text: &str) -> bool {
    (1..=100).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte))
}

/// Describes the response in one line.
fn describe(
    answer: &ResponseSummary<'_>,
    error: Option<&GoogleError<'_>>,
    facts: &Facts<'_>,
) -> String {
    let status = answer.status.as_u16();
    let Some(error) = error else {
        let what = match (answer.is_html, answer.body.is_empty()) {
            (_, true) => "nothing",
            (true, _) => "a page of HTML",
            (false, _) => "a body that is not Vertex AI's",
        };
        return format!("{} responded with {status} and {what}", facts.origin);
    };
    let mut text = status.to_string();
    for part in [error.status, error.reason].into_iter().filter(|part| !part.is_empty()) {
        text.push(' ');
        text.push_str(part);
    }
    format!("{text}: {}", quote(error.message, facts.token))
}

fn of_google(status: StatusCode, error: &GoogleError<'_>, facts: &Facts<'_>) -> String {
    match status.as_u16() {
        400 => bad_request(error, facts),
        401 => "the token is new, but it was rejected: check that its account is not disabled, \
                 deleted or of another cloud (`universe_domain`), that this \
                 machine's clock is right, and that no proxy on the path changes the \
                 Authorization header"
            .to_owned(),
        403 => forbidden(error, facts),
        404 => not_found(error, facts),
        429 => format!(
            "the quota is exhausted, or the location is overloaded: try later, or {}",
            facts.elsewhere()
        ),
        500.. => {
            "Vertex AI has a problem: try again, and see https://status.cloud.google.com".into()
        }
        _ => format!("see the message; {} responded", facts.origin),
    }
}

fn bad_request(error: &GoogleError<'_>, facts: &Facts<'_>) -> String {
    if error.says("alformed publisher model") {
        let name = facts.model.rsplit('/').next().unwrap_or_default();
        let name = if is_name(name) { name } else { "gemini-2.5-flash" };
        format!("write the model as publisher/model, such as google/{name}")
    } else if error.says("dedicated endpoint") {
        match dedicated_host(error.message) {
            Some(dns) => format!("pass --dedicated-host {dns}"),
            None => format!(
                "pass --dedicated-host with the value that `gcloud ai endpoints describe {} \
                     --region={} \
                 --format='value(dedicatedEndpointDns)'` shows",
                facts.endpoint.unwrap_or("ENDPOINT"),
                facts.location()
            ),
        }
    } else if error.says("Invalid hostname") {
        "check the spelling of --location; remove --upstream".to_owned()
    } else {
        "see the message: the request had one message, and asked for one token".to_owned()
    }
}

/// The host of a dedicated endpoint in a message, but not the pattern that such messages often
/// have.
fn dedicated_host(message: &str) -> Option<&str> {
    let words = message.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.'));
    words.map(|word| word.trim_end_matches('.')).find(|word| {
        let labels = word.strip_suffix(".prediction.vertexai.goog").unwrap_or_default();
        labels.split('.').count() == 2 && labels.split('.').all(|label| !label.is_empty())
    })
}

fn forbidden(error: &GoogleError<'_>, facts: &Facts<'_>) -> String {
    let payer = facts.quota_project.unwrap_or(facts.project());
    match error.reason {
        "SERVICE_DISABLED" => {
            let service = error.named("service").unwrap_or("aiplatform.googleapis.com");
            let project = error.named("consumer").unwrap_or(payer);
            return format!(
                "`gcloud services enable {service} --project {project}`, and wait a few minutes"
            );
        }
        "BILLING_DISABLED" => {
            let project = error.named("consumer").unwrap_or(payer);
            return format!(
                "turn billing on: \
                 https://console.cloud.google.com/billing/linkedaccount?project={project}"
            );
        }
        "ACCESS_TOKEN_SCOPE_INSUFFICIENT" => {
            return "the token lacks the scope cloud-platform: log in again with `gcloud auth \
                    application-default login`, or give the machine that scope"
                .to_owned();
        }
        "SECURITY_POLICY_VIOLATED" => {
            return "VPC Service Controls blocks this machine: ask the administrator of the perimeter"
                .to_owned();
        }
        _ => {}
    }
    if error.reason == "USER_PROJECT_DENIED" || error.says("serviceusage.services.use") {
        let grant = facts.grant(payer, "roles/serviceusage.serviceUsageConsumer");
        return format!(
            "the quota project needs the permission serviceusage.services.use: {grant}; or choose \
             another with --quota-project"
        );
    }
    if error.says("has not been used in project") {
        return format!("`gcloud services enable aiplatform.googleapis.com --project {payer}`");
    }
    let whose = match facts.principal {
        Some(_) => "",
        None => ", with the e-mail address of the account of these credentials",
    };
    format!("{}{whose}", facts.grant(facts.project(), "roles/aiplatform.user"))
}

fn not_found(error: &GoogleError<'_>, facts: &Facts<'_>) -> String {
    let is_alias = |asked: &str| facts.model.rsplit('/').next() != asked.rsplit('/').next();
    if error.says("ublisher Model") || facts.endpoint.is_none() {
        let advice = how_to_map(facts.asked);
        if !is_alias(facts.asked) && advice.contains("[[model]]") {
            return advice;
        }
        return format!(
            "not every model is in every location or open to every project: try {}; the Model \
                 Garden has the names",
            facts.elsewhere()
        );
    }
    format!(
        "look up the endpoint's ID with `gcloud ai endpoints list --region={} --project={}`",
        facts.location(),
        facts.project()
    )
}

/// The remedy for a response that is not in Google's form: it is not from Vertex AI, or only from
/// its front end.
fn of_others(answer: &ResponseSummary<'_>, facts: &Facts<'_>) -> String {
    match answer.status.as_u16() {
        404 if answer.is_html => match facts.own_host {
            true => "this host has no such path: check that --upstream or --dedicated-host fits \
                 the location and the endpoint"
                .to_owned(),
            false => "this host has no such path: check --location and --endpoint".to_owned(),
        },
        407 => "a proxy requires a login: exempt this host from the proxy".to_owned(),
        502..=504 => "a proxy on the path got no response: try again, then ask the \
             administrator of the proxy"
            .to_owned(),
        _ => not_vertex(facts),
    }
}

fn not_vertex(facts: &Facts<'_>) -> String {
    match facts.own_host {
        true => format!("{} is not Vertex AI: check --upstream", facts.origin),
        false => "a proxy or a portal on the path responded: ask the administrator of the \
             network"
            .to_owned(),
    }
}
