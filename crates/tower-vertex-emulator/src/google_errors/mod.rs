//! Errors with Google's messages, so that a client is tested with the errors of the real service.

mod body;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

pub(crate) use self::body::{html, json, with_type};
use super::{
    anthropic, endpoints::PROJECT_NUMBER, models::Surface, path::Target, settings::ErrorShape,
};

const SIGN_IN: &str = "Expected OAuth 2 access token, login cookie or other valid authentication \
     credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.";
const REALM: &str = r#"Bearer realm="https://accounts.google.com/""#;

const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";

/// The service that a method belongs to, by its full name.
fn service(method: &str) -> &'static str {
    if method.starts_with("google.iam.credentials.") {
        "iamcredentials.googleapis.com"
    } else if method.starts_with("google.cloudresourcemanager.") {
        "cloudresourcemanager.googleapis.com"
    } else {
        "aiplatform.googleapis.com"
    }
}

/// A fault in a field of a request.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    /// The path of the field, such as `contents[0].parts[1]`; empty for the request itself.
    pub(crate) field: String,
    pub(crate) description: String,
}

/// One `google.rpc.Status`, before it becomes a response.
#[derive(Clone, Debug)]
pub(crate) struct GoogleError {
    status: StatusCode,
    rpc_status: &'static str,
    message: String,
    details: Vec<Value>,
    authenticate: Option<&'static str>,
    shape: ErrorShape,
}

impl GoogleError {
    fn new(status: StatusCode, rpc_status: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            rpc_status,
            message: message.into(),
            details: Vec::new(),
            authenticate: None,
            shape: ErrorShape::Object,
        }
    }

    /// The HTML page of the front end instead of JSON.
    pub(crate) fn page(status: StatusCode) -> Self {
        Self::new(status, "UNKNOWN", "").with_shape(ErrorShape::Html)
    }

    /// 400 with this message.
    pub(crate) fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", message)
    }

    /// 400 for faults that the front end finds.
    pub(crate) fn bad_request(violations: Vec<Violation>) -> Self {
        let descriptions: Vec<&str> =
            violations.iter().map(|violation| violation.description.as_str()).collect();
        let mut error = Self::invalid_argument(descriptions.join("\n"));
        let violations = violations.iter().map(|Violation { field, description }| match &**field {
            "" => json!({ "description": description }),
            field => json!({ "field": field, "description": description }),
        });
        error.details.push(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": violations.collect::<Value>(),
        }));
        error
    }

    pub(crate) fn failed_precondition(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "FAILED_PRECONDITION", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    }

    /// A publisher model that does not exist. Google's text also covers a model that the project
    /// may not use.
    pub(crate) fn unknown_model(target: &Target<'_>, publisher: &str, name: &str) -> Self {
        let Target { project, location, .. } = target;
        Self::not_found(format!(
            "Publisher Model `projects/{project}/locations/{location}/publishers/{publisher}/\
             models/{name}` was not found or your project does not have access to it. Please \
             ensure you are using a valid model version. For more information, see: \
             https://cloud.google.com/vertex-ai/generative-ai/docs/learn/model-versions"
        ))
    }

    /// An endpoint that does not exist (googleapis/python-genai issue 1706, for `generateContent`).
    pub(crate) fn unknown_endpoint(target: &Target<'_>) -> Self {
        let Target { location, endpoint, .. } = target;
        Self::not_found(format!(
            "Endpoint `projects/{PROJECT_NUMBER}/locations/{location}/endpoints/{endpoint}` not \
             found."
        ))
    }

    /// A method of the service that the emulator does not have. The sentence is the emulator's own.
    pub(crate) fn not_emulated(method: &str) -> Self {
        let message = format!(
            "The emulator of Vertex AI does not have {method}. Its manual lists the methods that it \
             serves."
        );
        Self::new(StatusCode::NOT_IMPLEMENTED, "UNIMPLEMENTED", message)
    }

    /// A model that exists, but not for this method (docker/docker-agent issue 2469, which leaves
    /// out the two ids; that they are numbers is assumed).
    pub(crate) fn not_served_by(surface: Surface) -> Self {
        Self::failed_precondition(format!(
            "The deployed model does not support {}. endpoint_id: 0, deployed_model_id: 0",
            surface.method()
        ))
    }

    /// 403 for a person without a quota project (maximhq/bifrost issue 4106 for the message;
    /// GoogleCloudPlatform/dlp-pdf-redaction issue 25 for the details, with the project of Google's
    /// command line).
    pub(crate) fn no_quota_project() -> Self {
        let service = "aiplatform.googleapis.com";
        let metadata = json!({ "service": service, "consumer": "projects/764086051850" });
        Self::forbidden(format!(
            "Your application is authenticating by using local Application Default Credentials. \
             The {service} API requires a quota project, which is not set by default. To learn how \
             to set your quota project, see \
             https://cloud.google.com/docs/authentication/adc-troubleshooting/user-creds ."
        ))
        .with_info("SERVICE_DISABLED", "googleapis.com", metadata)
    }

    /// 403 for a quota project that does not exist, or that the caller may not use
    /// (google-github-actions/auth issue 250; that the reason is this one is assumed).
    pub(crate) fn no_use_of_project(project: &str) -> Self {
        let consumer = format!("projects/{project}");
        let metadata = json!({ "service": "aiplatform.googleapis.com", "consumer": consumer });
        Self::forbidden(format!(
            "Caller does not have required permission to use project {project}. Grant the caller \
             the roles/serviceusage.serviceUsageConsumer role, or a custom role with the \
             serviceusage.services.use permission, by visiting \
             https://console.developers.google.com/iam-admin/iam/project?project={project} and \
             then retry. Propagation of the new permission may take a few minutes."
        ))
        .with_info("USER_PROJECT_DENIED", "googleapis.com", metadata)
    }

    /// A token that is unknown, expired or revoked. The reason does not distinguish them: an
    /// expired token is reported as one of an unsupported type.
    pub(crate) fn invalid_token(method: &str) -> Self {
        let message = format!("Request had invalid authentication credentials. {SIGN_IN}");
        let mut error = Self::unauthenticated(message, "ACCESS_TOKEN_TYPE_UNSUPPORTED", method);
        error.authenticate =
            Some(r#"Bearer realm="https://accounts.google.com/", error="invalid_token""#);
        error
    }

    /// 403 for a valid token without the required scope.
    pub(crate) fn insufficient_scope(method: &str) -> Self {
        let message = "Request had insufficient authentication scopes.";
        let metadata = json!({ "service": service(method), "method": method });
        let mut error = Self::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", message).with_info(
            "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
            "googleapis.com",
            metadata,
        );
        error.authenticate =
            Some(r#"Bearer realm="https://accounts.google.com/", error="insufficient_scope""#);
        error
    }

    pub(crate) fn missing_credentials(method: &str) -> Self {
        let message = format!("Request is missing required authentication credential. {SIGN_IN}");
        Self::unauthenticated(message, "CREDENTIALS_MISSING", method)
    }

    pub(crate) fn api_key(method: &str) -> Self {
        let message = "API keys are not supported by this API. Expected OAuth2 access token or \
             other authentication credentials that assert a principal. See \
             https://cloud.google.com/docs/authentication";
        Self::unauthenticated(message.into(), "CREDENTIALS_MISSING", method)
    }

    /// An API key that no project has, at a method that accepts keys.
    pub(crate) fn unknown_api_key() -> Self {
        let metadata = json!({ "service": "aiplatform.googleapis.com" });
        Self::invalid_argument("API key not valid. Please pass a valid API key.").with_info(
            "API_KEY_INVALID",
            "googleapis.com",
            metadata,
        )
    }

    fn unauthenticated(message: String, reason: &str, method: &str) -> Self {
        let mut error = Self::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message);
        let metadata = json!({ "service": service(method), "method": method });
        error = error.with_info(reason, "googleapis.com", metadata);
        error.authenticate = Some(REALM);
        error
    }

    /// The error that the service returns with this status for this resource.
    pub(crate) fn for_status(status: StatusCode, method: &str, resource: &str) -> Self {
        let (rpc_status, message): (_, String) = match status.as_u16() {
            400 => ("INVALID_ARGUMENT", "Request contains an invalid argument.".into()),
            401 => return Self::invalid_token(method),
            403 => (
                "PERMISSION_DENIED",
                format!(
                    "Permission 'aiplatform.endpoints.predict' denied on resource \
                     '//aiplatform.googleapis.com/{resource}' (or it may not exist)."
                ),
            ),
            404 => ("NOT_FOUND", "Requested entity was not found.".into()),
            409 => ("ABORTED", "The operation was aborted.".into()),
            429 => (
                "RESOURCE_EXHAUSTED",
                "Resource exhausted. Please try again later. Please refer to \
                 https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429 for more \
                 details."
                    .into(),
            ),
            500 => ("INTERNAL", "Internal error encountered.".into()),
            501 => ("UNIMPLEMENTED", "Operation is not implemented.".into()),
            503 => ("UNAVAILABLE", "The service is currently unavailable.".into()),
            504 => {
                ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete.".into())
            }
            _ => ("UNKNOWN", status.canonical_reason().unwrap_or("Unknown Error").into()),
        };
        Self::new(status, rpc_status, message)
    }

    /// 403 with this message.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", message)
    }

    /// 403 for a missing permission, as the service that requires it reports it.
    pub(crate) fn permission_denied(permission: &str, service: &str) -> Self {
        let message =
            format!("Permission '{permission}' denied on resource (or it may not exist).");
        Self::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", message).with_info(
            "IAM_PERMISSION_DENIED",
            service,
            json!({ "permission": permission }),
        )
    }

    /// Sets a reason. Documented reasons also get the message and the metadata of the service.
    pub(crate) fn with_reason(mut self, reason: &str, target: &Target<'_>) -> Self {
        let service = "aiplatform.googleapis.com";
        match (self.status.as_u16(), reason) {
            (403, "SERVICE_DISABLED") => {
                let project = target.project;
                self.message = format!(
                    "Vertex AI API has not been used in project {project} before or it is \
                     disabled. Enable it by visiting https://console.developers.google.com/apis/\
                     api/{service}/overview?project={project} then retry. If you enabled this API \
                     recently, wait a few minutes for the action to propagate to our systems and \
                     retry."
                );
                let consumer = format!("projects/{project}");
                let metadata = json!({ "service": service, "consumer": consumer });
                self.with_info(reason, "googleapis.com", metadata)
            }
            (403, "IAM_PERMISSION_DENIED") => {
                let permission = "aiplatform.endpoints.predict";
                let metadata = json!({ "permission": permission, "resource": target.resource() });
                self.with_info(reason, service, metadata)
            }
            _ => {
                let metadata = json!({ "service": service, "method": target.rpc() });
                self.with_info(reason, "googleapis.com", metadata)
            }
        }
    }

    /// Puts an `ErrorInfo` first, in place of an existing one.
    fn with_info(mut self, reason: &str, domain: &str, metadata: Value) -> Self {
        self.details.retain(|detail| detail["@type"] != ERROR_INFO);
        let info = json!({
            "@type": ERROR_INFO, "reason": reason, "domain": domain, "metadata": metadata,
        });
        self.details.insert(0, info);
        self
    }

    /// Sets the delay after which the client may retry.
    pub(crate) fn with_retry_delay(mut self, delay: &str) -> Self {
        self.details.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": delay,
        }));
        self
    }

    pub(crate) fn with_shape(mut self, shape: ErrorShape) -> Self {
        self.shape = shape;
        self
    }

    /// The error in gRPC: a response that has only trailers, and a status by its number.
    pub(crate) fn into_grpc(self) -> Response<Full<Bytes>> {
        // The front end does not know the protocol of a path that it does not know.
        if self.shape == ErrorShape::Html {
            return self.into_response();
        }
        let code = match self.rpc_status {
            "INVALID_ARGUMENT" => 3,
            "DEADLINE_EXCEEDED" => 4,
            "NOT_FOUND" => 5,
            "PERMISSION_DENIED" => 7,
            "RESOURCE_EXHAUSTED" => 8,
            "FAILED_PRECONDITION" => 9,
            "ABORTED" => 10,
            "UNIMPLEMENTED" => 12,
            "INTERNAL" => 13,
            "UNAVAILABLE" => 14,
            "UNAUTHENTICATED" => 16,
            _ => 2,
        };
        let mut response = with_type(StatusCode::OK, "application/grpc", String::new());
        let headers = response.headers_mut();
        headers.insert("grpc-status", code.into());
        // gRPC requires percent-encoding of all but printable ASCII, which these messages are.
        let message = self.message.replace('%', "%25");
        if let Ok(message) = HeaderValue::try_from(message) {
            headers.insert("grpc-message", message);
        }
        response
    }

    /// The message with which the server of a Claude model sends this status.
    fn message_of_a_model(&self) -> &str {
        match self.status.as_u16() {
            429 => "This request would exceed your organization's rate limit.",
            500 => "Internal server error",
            529 => "Overloaded",
            _ => &self.message,
        }
    }

    /// The status of the response.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = if self.shape == ErrorShape::Html {
            html(self.status)
        } else if self.shape == ErrorShape::Anthropic {
            json(self.status, &anthropic::error(self.status, self.message_of_a_model()))
        } else {
            let mut error = json!({
                "code": self.status.as_u16(),
                "message": self.message,
                "status": self.rpc_status,
            });
            if !self.details.is_empty() {
                error["details"] = self.details.into();
            }
            let body = json!({ "error": error });
            json(self.status, &if self.shape == ErrorShape::Array { json!([body]) } else { body })
        };
        if let Some(challenge) = self.authenticate {
            let headers = response.headers_mut();
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}
