//! The method of the API that a request calls, and whether its host serves its location.

use std::borrow::Cow;

use http::Method;

use super::{
    model_method::ModelMethod,
    models::Surface,
    other_methods::{self, Other},
    settings::EndpointInfo,
};

/// A method of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call<'a> {
    Chat,
    Completions,
    Embeddings,
    CreateResponse,
    GetResponse(&'a str),
    DeleteResponse(&'a str),
    ListEndpoints,
    GetEndpoint,
    /// `publishers/PUBLISHER/models/MODEL:METHOD`. The names are as sent: see [`decoded`].
    Model {
        publisher: &'a str,
        model: &'a str,
        method: ModelMethod,
    },
    /// `endpoints/ID:METHOD`.
    Endpoint(ModelMethod),
    /// `publishers/PUBLISHER/v1/responses…`.
    Provider {
        publisher: &'a str,
        call: ProviderCall<'a>,
    },
    /// `GET publishers/PUBLISHER/models`.
    ListModels {
        publisher: &'a str,
    },
    /// `GET publishers/PUBLISHER/models/MODEL`.
    GetModel {
        publisher: &'a str,
        model: &'a str,
    },
    /// A method of the service that the emulator does not have.
    Other(Other<'a>),
}

/// A method of a publisher's own API, which OpenAI's SDKs call with their provider for Vertex AI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "these are the names of methods")]
pub(crate) enum ProviderCall<'a> {
    CreateResponse,
    CompactResponse,
    GetResponse(&'a str),
    DeleteResponse(&'a str),
}

/// A parsed path of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) version: &'a str,
    pub(crate) project: &'a str,
    pub(crate) location: &'a str,
    /// `openapi` or an id; empty for the list of endpoints.
    pub(crate) endpoint: &'a str,
    pub(crate) call: Call<'a>,
    /// Whether the request used the custom route of an endpoint.
    invoked: bool,
    /// Whether the query selects server-sent events: `alt=sse`.
    pub(crate) alt_sse: bool,
}

impl<'a> Target<'a> {
    /// Returns `None` for an unknown path or verb.
    pub(crate) fn parse(method: &Method, path: &'a str, query: Option<&str>) -> Option<Self> {
        let alt_sse = asks_for_events(query.unwrap_or_default());
        Self::of_path(method, path).map(|target| Self { alt_sse, ..target })
    }

    fn of_path(method: &Method, path: &'a str) -> Option<Self> {
        if let Some((version, other)) = other_methods::grpc(method, path) {
            return Some(Self::without_project(version, Call::Other(other)));
        }
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let (version, path) = segments.split_first()?;
        if !matches!(*version, "v1" | "v1beta1") {
            return None;
        }
        let ["projects", project, "locations", location, path @ ..] = path else {
            // The list is a method of `v1beta1` alone.
            let is_here =
                |call: &Call<'_>| *version == "v1beta1" || !matches!(call, Call::ListModels { .. });
            let call = match publisher(method, path).filter(is_here) {
                Some(call) => call,
                None => Call::Other(other_methods::without_project(method, path)?),
            };
            return Some(Self::without_project(version, call));
        };
        if !is_project(project) || !is_location(location) {
            return None;
        }
        let found = match path {
            ["endpoints"] if method == Method::GET => Some((Call::ListEndpoints, "", false)),
            ["endpoints", segment] if segment.contains(':') => {
                let called = ModelMethod::parse(method, segment);
                called
                    .filter(|(id, _)| is_endpoint(id))
                    .map(|(id, method)| (Call::Endpoint(method), id, false))
            }
            ["endpoints", id, rest @ ..] if is_endpoint(id) => {
                let invoked = matches!(rest, ["invoke" | "deployedModels", ..]);
                Self::call(method, *id == "openapi", rest).map(|call| (call, *id, invoked))
            }
            _ => publisher(method, path)
                // Model Garden has no project.
                .filter(|call| !matches!(call, Call::ListModels { .. } | Call::GetModel { .. }))
                .map(|call| (call, "", false)),
        };
        let (call, endpoint, invoked) = match found {
            Some(found) => found,
            None => (Call::Other(other_methods::in_location(method, path)?), "", false),
        };
        Some(Self { version, project, location, endpoint, call, invoked, alt_sse: false })
    }

    /// A method without a project in its path. Its location is unknown until the body is read, so
    /// it is the one that the host without a location serves.
    fn without_project(version: &'a str, call: Call<'a>) -> Self {
        let (project, location, endpoint) = ("", "global", "");
        Self { version, project, location, endpoint, call, invoked: false, alt_sse: false }
    }

    fn call(method: &Method, openapi: bool, rest: &[&'a str]) -> Option<Call<'a>> {
        // The path of one deployed model has the routes of its endpoint.
        let rest = match rest {
            ["deployedModels", id, invoke @ ..] if !id.is_empty() && invoke.len() > 1 => invoke,
            _ => rest,
        };
        Some(match (method.as_str(), rest) {
            ("GET", []) => Call::GetEndpoint,
            ("POST", ["chat", "completions"]) => Call::Chat,
            ("POST", ["completions"]) if openapi => Call::Completions,
            ("POST", ["embeddings"]) if openapi => Call::Embeddings,
            ("POST", ["responses"]) if openapi => Call::CreateResponse,
            ("GET", ["responses", id]) if !id.is_empty() => Call::GetResponse(id),
            ("DELETE", ["responses", id]) if !id.is_empty() => Call::DeleteResponse(id),
            // These are the routes of a model server with the same protocol.
            ("POST", ["invoke", "v1", "chat", "completions"]) if !openapi => Call::Chat,
            ("POST", ["invoke", "v1", "completions"]) if !openapi => Call::Completions,
            ("POST", ["invoke", "v1", "embeddings"]) if !openapi => Call::Embeddings,
            _ => return None,
        })
    }

    /// The method of `openapi` whose body names a model.
    pub(crate) fn surface(&self) -> Option<Surface> {
        Some(match self.call {
            _ if !self.is_openapi() => return None,
            Call::Chat => Surface::Chat,
            Call::Completions => Surface::Completions,
            Call::Embeddings => Surface::Embeddings,
            Call::CreateResponse => Surface::Responses,
            _ => return None,
        })
    }

    pub(crate) fn is_openapi(&self) -> bool {
        self.endpoint == "openapi"
    }

    /// The resource of the request: `projects/…/endpoints/…` or `projects/…/models/…`.
    pub(crate) fn resource(&self) -> String {
        let Self { project, location, endpoint, .. } = self;
        let parent = match *project {
            "" => String::new(),
            project => format!("projects/{project}/locations/{location}/"),
        };
        match self.call {
            Call::Model { publisher, model, .. } | Call::GetModel { publisher, model } => {
                format!("{parent}publishers/{publisher}/models/{}", decoded(model))
            }
            Call::Provider { publisher, .. } | Call::ListModels { publisher } => {
                format!("{parent}publishers/{publisher}")
            }
            _ => format!("{parent}endpoints/{endpoint}"),
        }
    }

    /// The full name of the method in errors. Only the name for chat completions is documented; the
    /// others follow its pattern.
    pub(crate) fn rpc(&self) -> String {
        let (service, method) = self.names();
        format!("google.cloud.aiplatform.{}.{service}.{method}", self.version)
    }

    /// The name of the method without its service.
    pub(crate) fn method(&self) -> &'a str {
        self.names().1
    }

    fn names(&self) -> (&'a str, &'a str) {
        match self.call {
            _ if self.invoked => ("PredictionService", "Invoke"),
            Call::Other(Other { service, method }) => (service, method),
            Call::Chat => ("PredictionService", "ChatCompletions"),
            Call::Completions => ("PredictionService", "Completions"),
            Call::Embeddings => ("PredictionService", "Embeddings"),
            Call::CreateResponse => ("PredictionService", "CreateResponse"),
            Call::GetResponse(_) => ("PredictionService", "GetResponse"),
            Call::DeleteResponse(_) => ("PredictionService", "DeleteResponse"),
            Call::ListEndpoints => ("EndpointService", "ListEndpoints"),
            Call::GetEndpoint => ("EndpointService", "GetEndpoint"),
            Call::Model { method, .. } | Call::Endpoint(method) => method.rpc(),
            Call::Provider { call, .. } => ("PredictionService", call.name()),
            Call::ListModels { .. } => ("ModelGardenService", "ListPublisherModels"),
            Call::GetModel { .. } => ("ModelGardenService", "GetPublisherModel"),
        }
    }
}

impl ProviderCall<'_> {
    /// The name of the method in errors. It is not documented.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CreateResponse => "CreateResponse",
            Self::CompactResponse => "CompactResponse",
            Self::GetResponse(_) => "GetResponse",
            Self::DeleteResponse(_) => "DeleteResponse",
        }
    }
}

/// The method of a publisher, at a path below a location or directly below the version.
fn publisher<'a>(method: &Method, path: &[&'a str]) -> Option<Call<'a>> {
    let (publisher, path) = match *path {
        ["publishers", publisher, ref path @ ..] if !publisher.is_empty() => (publisher, path),
        _ => return None,
    };
    let is = |wanted: &Method| method == wanted;
    Some(match *path {
        ["models"] if is(&Method::GET) => Call::ListModels { publisher },
        ["models", segment] => match ModelMethod::parse(method, segment) {
            Some((model, method)) => Call::Model { publisher, model, method },
            None if is(&Method::GET) && !segment.is_empty() => {
                Call::GetModel { publisher, model: segment }
            }
            None => return None,
        },
        ["v1", "responses", ref rest @ ..] => {
            let call = match *rest {
                [] if is(&Method::POST) => ProviderCall::CreateResponse,
                ["compact"] if is(&Method::POST) => ProviderCall::CompactResponse,
                [id] if is(&Method::GET) && !id.is_empty() => ProviderCall::GetResponse(id),
                [id] if is(&Method::DELETE) && !id.is_empty() => ProviderCall::DeleteResponse(id),
                _ => return None,
            };
            Call::Provider { publisher, call }
        }
        _ => return None,
    })
}

/// A segment of the path without percent-encoding. Some clients encode the `@` of a model's version.
pub(crate) fn decoded(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return segment.into();
    }
    let plus = segment.replace('+', "%2B").replace('=', "%3D").replace('&', "%26");
    let decoded = form_urlencoded::parse(plus.as_bytes()).next();
    decoded.map(|(name, _)| name.into_owned()).unwrap_or_default().into()
}

/// Whether the query has `alt=sse`. The front end takes `$alt`, too.
fn asks_for_events(query: &str) -> bool {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.any(|(name, value)| matches!(&*name, "alt" | "$alt") && value == "sse")
}

fn is_location(text: &str) -> bool {
    text.len() <= 30
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_project(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    text.bytes().next().is_some_and(word) && text.bytes().all(|b| word(b) || b == b'.' || b == b':')
}

fn is_endpoint(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The result of checking the host of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostVerdict {
    Serves,
    /// One of the three names that look correct but never work.
    Invalid,
    /// An unknown host, or the host of another location.
    Unknown,
    /// The endpoint is served only at its own host, which is this.
    DedicatedElsewhere(String),
}

/// Checks a host (without its port) against the location and the endpoint in the path.
pub(crate) fn judge_host(host: &str, target: &Target<'_>, known: &[EndpointInfo]) -> HostVerdict {
    let host = host.to_ascii_lowercase();
    let dedicated = known
        .iter()
        .filter_map(|endpoint| endpoint.dedicated_dns.as_deref().map(|dns| (&endpoint.id, dns)));
    if let Some((id, _)) = dedicated.clone().find(|(_, dns)| dns.eq_ignore_ascii_case(&host)) {
        return verdict(id == target.endpoint);
    }
    if let Some(label) = host.strip_suffix(".prediction.p.vertexai.goog") {
        let prefix = format!("{}-", target.endpoint.to_ascii_lowercase());
        return verdict(!target.endpoint.is_empty() && label.starts_with(&prefix));
    }
    let shared = judge_shared_host(&host, target.location);
    // Requests that manage an endpoint, such as `endpoints.get`, go to the shared host.
    if shared == HostVerdict::Serves
        && target.call != Call::GetEndpoint
        && let Some((_, dns)) = dedicated.clone().find(|(id, _)| *id == target.endpoint)
    {
        return HostVerdict::DedicatedElsewhere(dns.to_owned());
    }
    shared
}

fn judge_shared_host(host: &str, location: &str) -> HostVerdict {
    let Some(name) = host.strip_suffix(".googleapis.com") else { return HostVerdict::Unknown };
    if let Some(region) = name.strip_prefix("aiplatform.").and_then(|n| n.strip_suffix(".rep")) {
        return verdict(matches!(region, "us" | "eu") && region == location);
    }
    let (name, variant) = match name.split_once('.') {
        None => (name, Variant::Public),
        Some((name, "mtls")) => (name, Variant::Mtls),
        Some((name, "p")) => (name, Variant::Private),
        Some(_) => return HostVerdict::Unknown,
    };
    // The name is `{location}-aiplatform` or `aiplatform`, with `-NAME` appended on a private host.
    let Some((region, network)) = name.split_once("aiplatform") else {
        return HostVerdict::Unknown;
    };
    let network_fits = match variant {
        Variant::Private => network.len() > 1 && network.starts_with('-'),
        Variant::Public | Variant::Mtls => network.is_empty(),
    };
    if !network_fits {
        return HostVerdict::Unknown;
    }
    match region.strip_suffix('-') {
        None => verdict(region.is_empty() && location == "global"),
        Some("us" | "eu" | "global") => HostVerdict::Invalid,
        // Only the host decides: a different location in the path is ignored.
        Some(region) => verdict(is_location(region)),
    }
}

#[derive(Clone, Copy)]
enum Variant {
    Public,
    Mtls,
    Private,
}

fn verdict(serves: bool) -> HostVerdict {
    if serves { HostVerdict::Serves } else { HostVerdict::Unknown }
}
