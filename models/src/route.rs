//! The part of an upstream that a list of locations uses.

use crate::error::ConfigError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream(pub String);

pub struct UpstreamBuilder(String);

pub enum Endpoint {
    Shared,
    BaseUrl {},
    Dedicated {},
    Private {},
}

impl Upstream {
    pub fn location(&self) -> Option<&String> {
        Some(&self.0)
    }

    pub fn origin(&self) -> &str {
        &self.0
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::Shared
    }

    pub fn to_builder(&self) -> UpstreamBuilder {
        UpstreamBuilder(self.0.clone())
    }
}

impl UpstreamBuilder {
    pub fn location(self, location: impl Into<String>) -> Self {
        Self(location.into())
    }

    pub fn build(self) -> Result<Upstream, ConfigError> {
        Ok(Upstream(self.0))
    }
}
