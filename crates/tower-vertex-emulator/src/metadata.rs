//! The metadata server of a virtual machine.
//!
//! It responds to the probes by which Google's libraries find it: google-auth for Python calls `/`,
//! and google-auth-library for Node.js calls `/computeMetadata/v1/instance`, which is a redirect.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::{
    credentials::MACHINE,
    endpoints::PROJECT_NUMBER,
    google_errors::{html, with_type},
    grant::{Answer, Stop, issue, ok, receive},
    id_token,
    key::PROJECT,
    scopes::{CLOUD_PLATFORM, Scopes},
    state::Shared,
    token_settings::Origin,
};

const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");
const ZONE: &str = "us-central1-a";
const INSTANCE_NAME: &str = "emulator";
const INSTANCE_ID: u64 = 1_234_567_890_123_456_789;

/// The entries below `/computeMetadata/v1/`, sorted. A name that ends with a slash is a folder
/// without entries. Tokens are not among them: listings name these, but `recursive` omits them.
fn entries() -> Vec<(String, Value)> {
    let account = |account: &str, name: &str| format!("instance/service-accounts/{account}/{name}");
    let zone = |kind: &str, name: &str| format!("projects/{PROJECT_NUMBER}/{kind}/{name}");
    let mut entries: Vec<(String, Value)> = vec![
        ("instance/attributes/".into(), Value::Null),
        ("instance/hostname".into(), format!("{INSTANCE_NAME}.{ZONE}.c.{PROJECT}.internal").into()),
        ("instance/id".into(), INSTANCE_ID.into()),
        ("instance/machine-type".into(), zone("machineTypes", "e2-medium").into()),
        ("instance/name".into(), INSTANCE_NAME.into()),
    ];
    for name in [MACHINE, "default"] {
        entries.push((account(name, "aliases"), json!(["default"])));
        entries.push((account(name, "email"), MACHINE.into()));
        entries.push((account(name, "scopes"), json!([CLOUD_PLATFORM])));
    }
    entries.extend([
        ("instance/zone".into(), zone("zones", ZONE).into()),
        ("project/attributes/".into(), Value::Null),
        (
            "project/numeric-project-id".into(),
            PROJECT_NUMBER.parse::<u64>().map_or(Value::Null, Value::from),
        ),
        ("project/project-id".into(), PROJECT.into()),
        ("universe/universe-domain".into(), "googleapis.com".into()),
    ]);
    entries
}

pub(crate) async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    let mut response = answer(&shared, request).await;
    let headers = response.headers_mut();
    headers.insert(FLAVOR, HeaderValue::from_static("Google"));
    headers.insert(header::SERVER, HeaderValue::from_static("Metadata Server for VM"));
    response
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Answer {
    let headers = request.headers();
    // The real server refuses these requests, because they come through a proxy.
    if headers.contains_key("x-forwarded-for") {
        return html(StatusCode::FORBIDDEN);
    }
    if request.method() != Method::GET {
        return html(StatusCode::NOT_FOUND);
    }
    let whole = request.uri().path().replace("%40", "@");
    // https://cloud.google.com/compute/docs/instances/detect-compute-engine calls it without the
    // header.
    if whole == "/" {
        return text("computeMetadata/\n".into());
    }
    if !has_flavor(headers) {
        return with_type(
            StatusCode::FORBIDDEN,
            "text/html; charset=UTF-8",
            "Missing Metadata-Flavor:Google header.".into(),
        );
    }
    let path = match whole.strip_prefix("/computeMetadata/v1/") {
        Some(path) => path,
        None if whole == "/computeMetadata/" => return text("v1/\n".into()),
        None if whole == "/computeMetadata" || whole == "/computeMetadata/v1" => {
            return moved(&whole);
        }
        None => return html(StatusCode::NOT_FOUND),
    };
    let query = request.uri().query().unwrap_or_default();
    let parameter = |wanted: &str| {
        form_urlencoded::parse(query.as_bytes())
            .find_map(|(name, value)| (name == wanted).then(|| value.into_owned()))
    };
    let account = path.strip_prefix("instance/service-accounts/");
    let account = account
        .and_then(|rest| rest.strip_prefix("default").or_else(|| rest.strip_prefix(MACHINE)));
    match account {
        Some("/token") => return token(shared, request).await,
        Some("/identity") => {
            let full = parameter("format").as_deref() == Some("full");
            let audience = parameter("audience");
            return identity(shared, request, audience, full).await;
        }
        _ => {}
    }
    let recursive = parameter("recursive").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let as_text = parameter("alt").as_deref() == Some("text");
    browse(path, recursive, as_text)
}

/// The token has the only scope of the machine, regardless of `?scopes=`.
async fn token(shared: &Shared, request: Request<Incoming>) -> Answer {
    match receive(shared, request).await {
        Ok(_) => ok(&issue(shared, MACHINE.into(), Scopes::cloud_platform(), Origin::Other)),
        Err(stop) => stopped(stop),
    }
}

fn stopped(stop: Stop) -> Answer {
    match stop {
        Stop::Told(StatusCode::TOO_MANY_REQUESTS) => with_type(
            StatusCode::TOO_MANY_REQUESTS,
            "text/plain; charset=utf-8",
            "Too many requests.\n".into(),
        ),
        stop => stop.into(),
    }
}

/// An ID token of the machine.
async fn identity(
    shared: &Shared,
    request: Request<Incoming>,
    audience: Option<String>,
    full: bool,
) -> Answer {
    if let Err(stop) = receive(shared, request).await {
        return stopped(stop);
    }
    let Some(audience) = audience.filter(|audience| !audience.is_empty()) else {
        return with_type(
            StatusCode::BAD_REQUEST,
            "text/html; charset=UTF-8",
            "non-empty audience parameter required\n".into(),
        );
    };
    let mut claims = id_token::claims(shared, MACHINE, &audience);
    if full {
        claims["google"] = json!({ "compute_engine": {
            "project_id": PROJECT,
            "project_number": PROJECT_NUMBER.parse::<u64>().ok(),
            "zone": ZONE,
            "instance_id": INSTANCE_ID.to_string(),
            "instance_name": INSTANCE_NAME,
        }});
    }
    shared.count(|stats| stats.token_mints += 1);
    with_type(StatusCode::OK, "text/html; charset=UTF-8", id_token::sign(&claims))
}

/// The value of an entry, or the list of a folder.
fn browse(path: &str, recursive: bool, as_text: bool) -> Answer {
    let entries = entries();
    if let Some((_, value)) = entries.iter().find(|(name, _)| name == path && !name.ends_with('/'))
    {
        return text(match value {
            Value::String(value) => value.clone(),
            Value::Array(lines) => {
                lines.iter().filter_map(Value::as_str).map(|line| format!("{line}\n")).collect()
            }
            value => value.to_string(),
        });
    }
    let folder =
        if path.is_empty() || path.ends_with('/') { path.to_owned() } else { format!("{path}/") };
    let inside: Vec<(&str, &Value)> = entries
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(&folder)?, value)))
        .collect();
    if inside.is_empty() {
        return html(StatusCode::NOT_FOUND);
    }
    if recursive && !as_text {
        let mut tree = Value::Object(Map::new());
        for (name, value) in inside {
            put(&mut tree, name, value);
        }
        return ok(&tree);
    }
    if folder != path {
        return moved(&format!("/computeMetadata/v1/{path}"));
    }
    let mut names: Vec<String> = Vec::new();
    for (name, _) in inside {
        let listed = match name.split_once('/') {
            Some((folder, _)) => format!("{folder}/\n"),
            None if name.is_empty() => continue,
            None => format!("{name}\n"),
        };
        if names.last() != Some(&listed) {
            names.push(listed);
        }
    }
    if folder.starts_with("instance/service-accounts/") && folder.matches('/').count() == 3 {
        names.extend(["identity\n".into(), "token\n".into()]);
        names.sort_unstable();
    }
    text(names.concat())
}

/// Puts an entry into a JSON tree, in which the names are in camel case.
fn put(tree: &mut Value, name: &str, value: &Value) {
    match name.split_once('/') {
        Some((folder, rest)) => {
            let inner = &mut tree[camel_case(folder)];
            if inner.is_null() {
                *inner = json!({});
            }
            put(inner, rest, value);
        }
        None if name.is_empty() => {}
        None => tree[camel_case(name)] = value.clone(),
    }
}

fn camel_case(name: &str) -> String {
    // The address of a service account is a name, too, and stays as it is.
    if name.contains('@') {
        return name.to_owned();
    }
    let mut words = name.split('-');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at_checked(1).unwrap_or_default();
        camel.push_str(&first.to_ascii_uppercase());
        camel.push_str(rest);
    }
    camel
}

/// The address of a folder without its slash. The location is relative, so that it is right for each
/// name of the emulator.
fn moved(path: &str) -> Answer {
    let mut response = html(StatusCode::MOVED_PERMANENTLY);
    if let Ok(location) = HeaderValue::try_from(format!("{path}/")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn has_flavor(headers: &HeaderMap) -> bool {
    headers.get(FLAVOR).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"google"))
}

fn text(body: String) -> Answer {
    with_type(StatusCode::OK, "application/text", body)
}
