//! Gemini's own API.

use super::{api::ApiRequest, google_errors::GoogleError, reply::Reply};

/// Returns the response, or the error.
pub(crate) async fn answer(request: ApiRequest<'_>) -> Result<Reply, GoogleError> {
    Err(GoogleError::not_emulated(request.target.method()))
}
