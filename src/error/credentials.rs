//! [`CredentialsError`]: there are no usable Google credentials.

use std::{borrow::Cow, error::Error as StdError, fmt};

#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
use super::FaultKind;
use super::{Fault, readable_debug};
#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
use crate::redact;

/// Why this machine's Google credentials cannot be used. `Credentials::detect` returns it.
#[derive(Clone, PartialEq, Eq)]
pub struct CredentialsError {
    places: Vec<(Cow<'static, str>, String)>,
    /// The reason why the credentials that exist cannot be used.
    pub(super) fault: Option<Fault>,
}

readable_debug!(CredentialsError);

#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
impl CredentialsError {
    /// Creates an error from the places of the search, each with the thing that is missing there.
    pub(crate) fn not_found(places: Vec<(&'static str, String)>) -> Self {
        let places = places.into_iter().map(|(place, why)| (place.into(), why)).collect();
        Self { places, fault: None }
    }

    /// Creates an error for a file at `path`, which `place` names, that cannot be used.
    pub(crate) fn unusable(place: Cow<'static, str>, path: &std::path::Path, fault: Fault) -> Self {
        if redact::is_content_of_a_file(path) {
            let text = format!("{place} holds the content of a file, not its path");
            let fault = Fault::new(FaultKind::Credentials, text.clone(), WRITE_IT);
            return Self { places: vec![(place, text)], fault: Some(fault) };
        }
        let fault = fault.of(&redact::path(path).to_string());
        let whole = fault.clone().of(&place);
        Self { places: vec![(place, fault.to_string())], fault: Some(whole) }
    }
}

#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
impl CredentialsError {
    /// Creates an error for credentials that exist but cannot do what is wanted of them.
    pub(crate) fn unsuited(credentials: String, fault: Fault) -> Self {
        let whole = fault.clone().of(&credentials);
        Self { places: vec![(credentials.into(), fault.to_string())], fault: Some(whole) }
    }
}

/// The remedy for a key in the place of a path.
#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
pub(crate) const WRITE_IT: &str = "write the content to a file and give the path of that file";

impl CredentialsError {
    /// Whether no credentials exist, rather than unusable ones.
    pub fn is_not_found(&self) -> bool {
        self.fault.is_none()
    }

    /// The places of the search, each with the thing that is wrong or missing there.
    pub fn places(&self) -> impl Iterator<Item = (&str, &str)> {
        self.places.iter().map(|(place, why)| (&**place, why.as_str()))
    }

    /// The remedy.
    pub fn remedy(&self) -> Option<&str> {
        Some(match &self.fault {
            Some(fault) => fault.remedy(),
            None => {
                "log in with `gcloud auth application-default login`, or name a credential file in \
                 GOOGLE_APPLICATION_CREDENTIALS"
            }
        })
    }

    /// The reason why the existing credentials cannot be used, without the remedy; `None` if there
    /// are no credentials.
    pub fn what(&self) -> Option<&str> {
        self.fault.as_ref().map(Fault::what)
    }
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            Some(fault) => write!(f, "Google credentials that cannot be used: {fault}"),
            None => {
                f.write_str("no Google credentials found:")?;
                self.places().try_for_each(|(place, why)| write!(f, "\n- {place}: {why}"))
            }
        }
    }
}

impl StdError for CredentialsError {}
