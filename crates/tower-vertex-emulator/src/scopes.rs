//! The OAuth scopes of a token, and what they permit.

use std::fmt;

use super::grant::Refusal;

/// Permits everything.
pub(crate) const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";
const READ_ONLY: &str = "https://www.googleapis.com/auth/cloud-platform.read-only";
const AIPLATFORM: &str = "https://www.googleapis.com/auth/aiplatform";
const IAM: &str = "https://www.googleapis.com/auth/iam";
const PROJECTS: &str = "https://www.googleapis.com/auth/cloudplatformprojects";
const PROJECTS_READ_ONLY: &str = "https://www.googleapis.com/auth/cloudplatformprojects.readonly";

/// The longest list of scopes in bytes, because each token keeps its list.
const LONGEST: usize = 2048;

/// A group of methods that need the same scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Chat completions, completions, embeddings, responses and `invoke` of Vertex AI.
    Predict,
    /// `endpoints.list` and `endpoints.get` of Vertex AI.
    Manage,
    /// The IAM credentials API.
    Impersonate,
    /// `projects.get` of the Resource Manager.
    Projects,
}

impl Access {
    /// The scopes of which a token needs one, from the discovery documents of these services.
    /// That of `iamcredentials` names only `cloud-platform`, but Google's libraries use `iam`, too.
    fn scopes(self) -> &'static [&'static str] {
        match self {
            Self::Predict => &[CLOUD_PLATFORM, READ_ONLY, AIPLATFORM],
            Self::Manage => &[CLOUD_PLATFORM, AIPLATFORM],
            Self::Impersonate => &[CLOUD_PLATFORM, IAM],
            Self::Projects => &[CLOUD_PLATFORM, READ_ONLY, PROJECTS, PROJECTS_READ_ONLY],
        }
    }

    /// The host of the service to which the methods belong.
    fn service(self) -> &'static str {
        match self {
            Self::Predict | Self::Manage => "aiplatform.googleapis.com",
            Self::Impersonate => "iamcredentials.googleapis.com",
            Self::Projects => "cloudresourcemanager.googleapis.com",
        }
    }
}

/// The scopes of a token, separated by spaces, in the order of the request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scopes(String);

impl Scopes {
    pub(crate) fn cloud_platform() -> Self {
        Self(CLOUD_PLATFORM.to_owned())
    }

    /// Reads a list of scopes.
    ///
    /// Google's token endpoints accept each scope that exists at Google, and only the service that
    /// gets the token checks it. They refuse a list without a scope, and one with a scope that is
    /// not Google's.
    pub(crate) fn parse<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Result<Self, Refusal> {
        let invalid = ("invalid_scope", "Invalid OAuth scope or ID token audience provided.");
        let mut all: Vec<&str> = Vec::new();
        for scope in scopes {
            if !is_of_google(scope) {
                return Err(invalid);
            }
            if !all.contains(&scope) {
                all.push(scope);
            }
        }
        let text = all.join(" ");
        if text.is_empty() || text.len() > LONGEST {
            return Err(invalid);
        }
        Ok(Self(text))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ')
    }

    pub(crate) fn contains(&self, scope: &str) -> bool {
        self.iter().any(|own| own == scope)
    }

    fn permit(&self, access: Access) -> bool {
        access.scopes().iter().any(|scope| self.contains(scope))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a scope can be one of Google's. The emulator has no list of them.
fn is_of_google(scope: &str) -> bool {
    const SHORT: [&str; 3] = ["openid", "email", "profile"];
    const HOSTS: [&str; 3] =
        ["https://www.googleapis.com/auth/", "https://www.google.com/", "https://mail.google.com/"];
    let is_plain = scope.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\,".contains(&byte));
    is_plain && (SHORT.contains(&scope) || HOSTS.iter().any(|host| scope.starts_with(host)))
}

/// The rights of a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rights {
    Scopes(Scopes),
    /// A self-signed token with an audience and no scope (AIP-4111) is valid for all methods of one
    /// service, which is named by its host.
    Service(String),
}

/// The reason why a token is not enough for a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Insufficient {
    /// 403: the token lacks the scope.
    Scope,
    /// 401: the token is for another service.
    Audience,
}

impl Rights {
    pub(crate) fn check(&self, access: Access) -> Result<(), Insufficient> {
        match self {
            Self::Scopes(scopes) if scopes.permit(access) => Ok(()),
            Self::Scopes(_) => Err(Insufficient::Scope),
            Self::Service(host) if is_host_of(host, access.service()) => Ok(()),
            Self::Service(_) => Err(Insufficient::Audience),
        }
    }

    /// The rights of a self-signed token with this audience: `https://HOST/`, or the same without
    /// the slash, or with a path. Libraries for gRPC add the name of the gRPC service as the path.
    ///
    /// The `own` URLs of the emulator are names of Vertex AI, because google-auth-library for
    /// Node.js takes the URL of the request as the audience.
    pub(crate) fn of_audience(audience: &str, own: &[String]) -> Option<Self> {
        let is_own = |url: &String| {
            let path = audience.strip_prefix(url.as_str());
            path.is_some_and(|path| matches!(path, "" | "/") || path.starts_with("/v1"))
        };
        if own.iter().any(is_own) {
            return Some(Self::Service(Access::Predict.service().to_owned()));
        }
        let host = audience.strip_prefix("https://")?.split('/').next()?;
        host.ends_with(".googleapis.com").then(|| Self::Service(host.to_owned()))
    }

    pub(crate) fn scopes(&self) -> Option<&Scopes> {
        match self {
            Self::Scopes(scopes) => Some(scopes),
            Self::Service(_) => None,
        }
    }
}

/// Whether a host belongs to a service: its own host, or that of one location. AIP-4111 names only
/// the former; google-auth-library for Node.js takes the host of the request, and that the service
/// accepts this is an assumption.
fn is_host_of(host: &str, service: &str) -> bool {
    let Some(rest) = host.strip_suffix(".googleapis.com") else { return false };
    let name = service.strip_suffix(".googleapis.com").unwrap_or(service);
    let rest =
        rest.strip_suffix(".rep").map_or(rest, |rest| rest.split('.').next().unwrap_or(rest));
    rest == name || rest.strip_suffix(name).is_some_and(|location| location.ends_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(text: &str) -> Result<Scopes, Refusal> {
        Scopes::parse(text.split_whitespace())
    }

    #[test]
    fn each_scope_permits_its_methods() {
        use Access::{Impersonate, Manage, Predict, Projects};

        for (names, permitted) in [
            ("cloud-platform", &[Predict, Manage, Impersonate, Projects][..]),
            ("cloud-platform.read-only", &[Predict, Projects]),
            ("aiplatform", &[Predict, Manage]),
            ("iam", &[Impersonate]),
            ("devstorage.read_only", &[]),
        ] {
            let rights = Rights::Scopes(
                scopes(&format!("openid https://www.googleapis.com/auth/{names}")).unwrap(),
            );
            for access in [Predict, Manage, Impersonate, Projects] {
                let expected =
                    if permitted.contains(&access) { Ok(()) } else { Err(Insufficient::Scope) };
                assert_eq!(rights.check(access), expected, "{names}: {access:?}");
            }
        }
    }

    #[test]
    fn a_list_has_each_scope_once() {
        let list = format!("email {CLOUD_PLATFORM}  email");
        assert_eq!(scopes(&list).unwrap().to_string(), format!("email {CLOUD_PLATFORM}"));
        let long = format!("https://www.googleapis.com/auth/{}", "x".repeat(LONGEST));
        for wrong in ["", " ", "https://example.com/other", "emails", &format!("email {long}")] {
            assert_eq!(scopes(wrong).unwrap_err().0, "invalid_scope", "{wrong}");
        }
    }

    #[test]
    fn an_audience_permits_one_service() {
        let own = ["http://127.0.0.1:8081".to_owned()];
        for (audience, predict, impersonate) in [
            ("https://aiplatform.googleapis.com/", true, false),
            ("https://aiplatform.googleapis.com", true, false),
            ("https://us-central1-aiplatform.googleapis.com/", true, false),
            ("https://aiplatform.eu.rep.googleapis.com/", true, false),
            ("https://aiplatform.googleapis.com/google.cloud.aiplatform.v1.X", true, false),
            ("https://iamcredentials.googleapis.com/", false, true),
            ("http://127.0.0.1:8081/", true, false),
            ("http://127.0.0.1:8081", true, false),
            ("http://127.0.0.1:8081/v1/projects/p1", true, false),
            ("https://storage.googleapis.com/", false, false),
            ("https://notaiplatform.googleapis.com/", false, false),
        ] {
            let rights = Rights::of_audience(audience, &own).unwrap();
            let expected = |good| if good { Ok(()) } else { Err(Insufficient::Audience) };
            assert_eq!(rights.check(Access::Predict), expected(predict), "{audience}");
            assert_eq!(rights.check(Access::Impersonate), expected(impersonate), "{audience}");
        }
        for wrong in [
            "",
            "aiplatform.googleapis.com",
            "https://example.com/",
            "http://a.googleapis.com/",
            "http://127.0.0.1:8081/token",
        ] {
            assert_eq!(Rights::of_audience(wrong, &own), None, "{wrong}");
        }
    }
}
