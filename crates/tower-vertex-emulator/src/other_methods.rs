//! The methods of Vertex AI that the emulator does not have.
//!
//! The emulator refuses them with a sentence, because the front end's page would say that the
//! service has no such method. The names and the paths are those of the discovery document of
//! `aiplatform.googleapis.com`, revision 20261106.

use http::Method;

/// The name of a method that the emulator does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Other<'a> {
    /// Such as `PredictionService`.
    pub(crate) service: &'a str,
    /// Such as `GenerateContent`.
    pub(crate) method: &'a str,
}

/// The methods that a colon appends to a publisher model or to an endpoint.
const VERBS: [(&str, Other<'static>); 9] = [
    ("deployModel", endpoint("DeployModel")),
    ("directPredict", prediction("DirectPredict")),
    ("directRawPredict", prediction("DirectRawPredict")),
    ("explain", prediction("Explain")),
    ("fetchPredictOperation", prediction("FetchPredictOperation")),
    ("mutateDeployedModel", endpoint("MutateDeployedModel")),
    ("predictLongRunning", prediction("PredictLongRunning")),
    ("serverStreamingPredict", prediction("ServerStreamingPredict")),
    ("undeployModel", endpoint("UndeployModel")),
];

/// The collections of a location, besides `endpoints` and `publishers`, with their services.
const COLLECTIONS: [(&str, &str); 18] = [
    ("batchPredictionJobs", "JobService"),
    ("cachedContents", "GenAiCacheService"),
    ("customJobs", "JobService"),
    ("datasets", "DatasetService"),
    ("featureGroups", "FeatureRegistryService"),
    ("featurestores", "FeaturestoreService"),
    ("hyperparameterTuningJobs", "JobService"),
    ("indexEndpoints", "IndexEndpointService"),
    ("indexes", "IndexService"),
    ("metadataStores", "MetadataService"),
    ("models", "ModelService"),
    ("operations", "Operations"),
    ("pipelineJobs", "PipelineService"),
    ("ragCorpora", "VertexRagDataService"),
    ("reasoningEngines", "ReasoningEngineService"),
    ("schedules", "ScheduleService"),
    ("tensorboards", "TensorboardService"),
    ("tuningJobs", "GenAiTuningService"),
];

const fn prediction(method: &'static str) -> Other<'static> {
    Other { service: "PredictionService", method }
}

const fn endpoint(method: &'static str) -> Other<'static> {
    Other { service: "EndpointService", method }
}

/// The method at a path below `projects/P/locations/L/`.
pub(crate) fn in_location<'a>(method: &Method, path: &[&'a str]) -> Option<Other<'a>> {
    let is_post = method == Method::POST;
    let is_named = |names: &[&str]| names.iter().all(|name| !name.is_empty());
    Some(match *path {
        [] | ["endpoints", "openapi", ..] => return None,
        ["publishers", publisher, "models", model] if is_named(&[publisher, model]) => {
            with_verb(method, model)?
        }
        ["publishers", publisher, "models", model, "invoke", _, ..]
            if is_post && is_named(&[publisher, model]) =>
        {
            prediction("Invoke")
        }
        ["publishers", ..] => return None,
        ["endpoints"] if is_post => endpoint("CreateEndpoint"),
        ["endpoints", _] if method == Method::PATCH => endpoint("UpdateEndpoint"),
        ["endpoints", _] if method == Method::DELETE => endpoint("DeleteEndpoint"),
        ["endpoints", id] => with_verb(method, id)?,
        ["endpoints", id, "invoke", _, ..]
        | ["endpoints", id, "deployedModels", _, "invoke", _, ..]
            if is_post && is_named(&[id]) =>
        {
            prediction("Invoke")
        }
        ["endpoints", "google", "science", "inference"] if is_post => prediction("Inference"),
        ["endpoints", ..] => return None,
        [first, ..] => {
            let name = first.split(':').next().unwrap_or_default();
            let (collection, service) = COLLECTIONS.iter().find(|(known, _)| *known == name)?;
            Other { service, method: collection }
        }
    })
}

/// The method at a path directly below the version.
pub(crate) fn without_project<'a>(method: &Method, path: &[&'a str]) -> Option<Other<'a>> {
    match *path {
        ["publishers", _, "models", _] => in_location(method, path),
        ["endpoints", _, "chat", "completions"] if method == Method::POST => {
            Some(prediction("ChatCompletions"))
        }
        ["endpoints", id] => with_verb(method, id),
        _ => None,
    }
}

/// The method `NAME:verb`.
fn with_verb(method: &Method, name: &str) -> Option<Other<'static>> {
    let (name, verb) = name.rsplit_once(':')?;
    let known = VERBS.iter().find(|(known, _)| *known == verb);
    known.filter(|_| method == Method::POST && !name.is_empty()).map(|(_, other)| *other)
}

/// The version and the method of a gRPC path, such as
/// `/google.cloud.aiplatform.v1.PredictionService/Predict`.
pub(crate) fn grpc<'a>(method: &Method, path: &'a str) -> Option<(&'a str, Other<'a>)> {
    let name = path.strip_prefix("/google.cloud.aiplatform.")?;
    let (service, rpc) = name.split_once('/')?;
    let (version, service) = service.split_once('.')?;
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric());
    let is_known = matches!(version, "v1" | "v1beta1") && is_word(service) && is_word(rpc);
    (is_known && method == Method::POST).then_some((version, Other { service, method: rpc }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_of_the_discovery_document_has_its_name() {
        for (method, path, expected) in [
            ("POST", "publishers/google/models/veo-3:predictLongRunning", "PredictLongRunning"),
            ("POST", "publishers/x/models/m/invoke/v1/score", "Invoke"),
            ("POST", "endpoints", "CreateEndpoint"),
            ("PATCH", "endpoints/1", "UpdateEndpoint"),
            ("POST", "endpoints/1:explain", "Explain"),
            ("POST", "endpoints/1/invoke/score", "Invoke"),
            ("POST", "endpoints/1/deployedModels/2/invoke/v1/score", "Invoke"),
            ("POST", "cachedContents", "cachedContents"),
            ("GET", "models/1", "models"),
        ] {
            let path: Vec<&str> = path.split('/').collect();
            let found = in_location(&method.parse().unwrap(), &path);
            assert_eq!(found.map(|other| other.method), Some(expected), "{method} {path:?}");
        }
    }

    #[test]
    fn a_path_that_the_service_has_not_is_unknown() {
        for (method, path) in [
            ("GET", "publishers/google/models/gemini-3-flash:generateContent:x"),
            ("POST", "publishers/google/models/:predict"),
            ("POST", "publishers/google/models/m:fly"),
            ("POST", "publishers/google/v1/chat/completions"),
            ("POST", "endpoints/1:fly"),
            ("POST", "endpoints/openapi/models"),
            ("POST", "endpoints/1/embeddings"),
            ("GET", "nothing"),
            ("GET", ""),
        ] {
            let path: Vec<&str> = path.split('/').collect();
            let found = in_location(&method.parse().unwrap(), &path);
            assert_eq!(found, None, "{method} {path:?}");
        }
    }
}
