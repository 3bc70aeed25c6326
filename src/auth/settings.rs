//! The settings of an auth layer, shared by its services.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::trust::Trust;
use crate::{
    replay::{MemoryBudget, REPLAY_BUDGET, REPLAY_LIMIT},
    token::{AccessToken, TokenCache},
};

const USER_PROJECT: HeaderName = HeaderName::from_static("x-goog-user-project");

#[derive(Clone, Debug)]
pub(super) struct AuthSettings {
    pub(super) cache: TokenCache,
    pub(super) trust: Trust,
    pub(super) quota_project: Option<HeaderValue>,
    pub(super) replay_limit: usize,
    pub(super) replay_budget: MemoryBudget,
    pub(super) forward_extensions: bool,
}

impl AuthSettings {
    pub(super) fn new(cache: TokenCache) -> Self {
        let quota_project = cache.quota_project().and_then(quota_header);
        let trust = cache.audience().map_or_else(Trust::default, Trust::of_audience);
        Self {
            cache,
            trust,
            quota_project,
            replay_limit: REPLAY_LIMIT,
            replay_budget: MemoryBudget::new(REPLAY_BUDGET),
            forward_extensions: true,
        }
    }
}

impl AuthSettings {
    /// Sets the token in the headers of a request, with all that belongs to it.
    pub(super) fn set_token(&self, token: &AccessToken, headers: &mut HeaderMap) {
        token.set_in(headers);
        self.set_quota_project(headers);
    }

    /// Sets the quota project, which takes precedence over one in the headers of a token.
    #[inline]
    pub(super) fn set_quota_project(&self, headers: &mut HeaderMap) {
        if let Some(project) = &self.quota_project {
            headers.insert(USER_PROJECT, project.clone());
        }
    }
}

/// Returns `None` if no header can carry `project`.
pub(super) fn quota_header(project: &str) -> Option<HeaderValue> {
    let graphic = !project.is_empty() && project.bytes().all(|byte| byte.is_ascii_graphic());
    let value = HeaderValue::try_from(project.to_owned()).ok().filter(|_| graphic)?;
    // The first clone of the value allocates a counter. This clone keeps the allocation out of
    // requests.
    drop(value.clone());
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_that_no_header_can_carry_has_none() {
        assert_eq!(quota_header("payer-1").unwrap(), "payer-1");
        for project in ["", "a b", "a\nb", "projét"] {
            assert_eq!(quota_header(project), None, "{project:?}");
        }
    }
}
