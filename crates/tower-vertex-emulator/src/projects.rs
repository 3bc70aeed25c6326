//! The Resource Manager API: `projects.get`, by which google-auth turns the number of a project into
//! its id.

use std::sync::Arc;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::{
    admission::credential,
    endpoints::PROJECT_NUMBER,
    google_errors::{GoogleError, html},
    grant::{Answer, ok},
    key::PROJECT,
    scopes::Access,
    state::Shared,
};

/// The name of the method in errors follows the pattern of other services; no source has it.
const RPC: &str = "google.cloudresourcemanager.v1.Projects.GetProject";

/// The project in a path of this API: `/v1/projects/{project}`.
pub(crate) fn project(path: &str) -> Option<&str> {
    let project =
        path.strip_prefix("/v1/projects/").or_else(|| path.strip_prefix("/v3/projects/"))?;
    (!project.is_empty() && !project.contains('/')).then_some(project)
}

/// Serves one request to this API.
pub(crate) async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    let (parts, _) = request.into_parts();
    let Some(project) = project(parts.uri.path()).filter(|_| parts.method == Method::GET) else {
        return html(StatusCode::NOT_FOUND);
    };
    if let Err(error) = credential(&shared, &parts).accept(RPC, Access::Projects) {
        return error.into_response();
    }
    let exists = |id: &str| shared.projects.as_ref().is_none_or(|all| all.iter().any(|p| p == id));
    let id = match project {
        PROJECT_NUMBER => PROJECT,
        // All projects have the same number, so no other number belongs to one.
        id if id.bytes().all(|byte| byte.is_ascii_digit()) || !exists(id) => {
            return GoogleError::forbidden("The caller does not have permission").into_response();
        }
        id => id,
    };
    ok(&json!({
        "projectNumber": PROJECT_NUMBER, "projectId": id, "lifecycleState": "ACTIVE", "name": id,
        "createTime": "2024-01-01T00:00:00Z",
    }))
}
