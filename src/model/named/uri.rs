//! The URI of a request after the rules of the table.

use bytes::{BufMut as _, BytesMut};
use http::{
    Extensions, Uri,
    uri::{self, PathAndQuery},
};

use super::Resolved;
use crate::{
    error::ModelError,
    route::{ModelPath, Protocol, is_model, is_publisher},
};

/// The same URI without its project and location, if `wanted` and it has them. The upstream then
/// decides about them.
pub(super) fn without_place(path: &ModelPath<'_>, uri: &Uri, wanted: bool) -> Option<Uri> {
    let (project, location) = (path.project().filter(|_| wanted)?, path.location()?);
    let place = ["/projects/", project, "/locations/", location].concat();
    let (version, rest) = uri.path().split_once(&place)?;
    let query = uri.query().map(|query| ["?", query].concat()).unwrap_or_default();
    let mut parts = uri::Parts::default();
    parts.path_and_query = PathAndQuery::try_from([version, rest, &query].concat()).ok();
    Uri::from_parts(parts).ok()
}

/// Notes the protocol of the client, if the new path does not say it.
pub(super) fn keep_protocol(protocol: Protocol, uri: &Uri, extensions: &mut Extensions) {
    if Protocol::of(uri.path()) != protocol {
        extensions.insert(protocol);
    }
}

/// The short path, `/publishers/{publisher}/models/{name}:{method}`, with the version and the query of
/// the client.
pub(in crate::model) fn uri_of(
    resolved: &Resolved<'_>,
    name: &str,
    method: &str,
    path: &ModelPath<'_>,
    query: Option<&str>,
) -> Result<Uri, ModelError> {
    let name = match resolved.publisher {
        // The endpoint ignores the name.
        None if !is_model(name) => "model",
        None => name,
        Some(publisher) if is_publisher(publisher) && is_model(name) => name,
        Some(_) => return Err(ModelError::NotForAPath),
    };
    let version = path.version().map(|version| version.as_str());
    let publisher = resolved.publisher;
    let parts = [
        version.map_or("", |_| "/"),
        version.unwrap_or_default(),
        publisher.map_or("", |_| "/publishers/"),
        publisher.unwrap_or_default(),
        "/models/",
        name,
        ":",
        method,
        query.map_or("", |_| "?"),
        query.unwrap_or_default(),
    ];
    let mut text = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| text.put_slice(part.as_bytes()));
    let mut uri = uri::Parts::default();
    // All parts were checked, or come from a URI.
    let path = PathAndQuery::from_maybe_shared(text.freeze());
    uri.path_and_query = Some(path.map_err(|_| ModelError::NotForAPath)?);
    Uri::from_parts(uri).map_err(|_| ModelError::NotForAPath)
}
