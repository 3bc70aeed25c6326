//! [`Reread`]: a credential file that may change.

use std::{
    fmt,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{CredentialFile, TransportPolicy, blocking, fault, read};
use crate::{BoxError, error::Fault, redact};

/// A file that is read again for each token, so that a rotated one is picked up. While it is
/// missing, broken or of another type, the last good content is used, so that a process neither
/// loses its identity nor gets another one by accident.
pub(in crate::token) struct Reread {
    path: Option<PathBuf>,
    transport: TransportPolicy,
    last_good: Mutex<CredentialFile>,
}

impl Reread {
    pub(in crate::token) fn open(
        path: impl Into<PathBuf>,
        transport: TransportPolicy,
    ) -> Result<Self, Fault> {
        let path = path.into();
        let last_good = Mutex::new(read(&path, transport)?);
        Ok(Self { path: Some(path), transport, last_good })
    }

    /// Creates fixed content without a file.
    pub(in crate::token) fn fixed(content: CredentialFile) -> Self {
        Self { path: None, transport: TransportPolicy::Safe, last_good: Mutex::new(content) }
    }

    /// Returns the same file for another source.
    pub(in crate::token) fn again(&self) -> Self {
        let last_good = Mutex::new(self.last_good().clone());
        Self { path: self.path.clone(), transport: self.transport, last_good }
    }

    pub(in crate::token) fn last_good(&self) -> MutexGuard<'_, CredentialFile> {
        self.last_good.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::token) async fn current(&self) -> Result<CredentialFile, BoxError> {
        let Some(path) = self.path.clone() else { return Ok(self.last_good().clone()) };
        let transport = self.transport;
        let (content, path) = blocking(move || Ok((read(&path, transport), path))).await?;
        let mut last_good = self.last_good();
        let why = match content {
            Ok(content) if content.kind == last_good.kind => {
                *last_good = content;
                return Ok(last_good.clone());
            }
            Ok(_) => fault("its type has changed", "restart to use it"),
            Err(why) => why,
        };
        tracing::warn!(path = %redact::path(&path), %why, "keeping the last good credentials");
        Ok(last_good.clone())
    }
}

impl fmt::Debug for Reread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.as_deref().map(redact::path);
        f.debug_struct("Reread").field("path", &path).finish_non_exhaustive()
    }
}
