//! Credential files: no content of one gets into a message, and no file makes the search panic.

use std::{cell::RefCell, error::Error as _, fs, path::PathBuf};

use tokio::runtime::{Builder, Runtime};
use tower_vertex::token::{Credentials, GoogleCloudAuth};

use crate::{SECRET, input::Input};

thread_local! {
    static SEARCH: RefCell<(Runtime, PathBuf)> = RefCell::new((
        Builder::new_current_thread().enable_time().max_blocking_threads(1).build().unwrap(),
        crate::file("credentials.json"),
    ));
}

/// Controls: whether http is allowed. Text: the file, with the secret where a seed has it.
pub fn run(data: &[u8]) {
    let Some(mut input) = Input::of(data) else { return };
    let allows = input.choose(2) == 1;
    if let Ok(text) = std::str::from_utf8(input.text)
        && let Err(error) = GoogleCloudAuth::from_json(text)
    {
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(SECRET), "{shown}");
        if !allows {
            // The search fails for the same reason, and takes longer.
            return;
        }
    }
    SEARCH.with_borrow(|(runtime, path)| {
        fs::write(path, input.text).unwrap();
        let builder = Credentials::builder().file(path).project_known(true);
        let builder = builder.allow_insecure_token_endpoints(allows);
        let shown = match runtime.block_on(builder.detect()) {
            Ok(credentials) => {
                format!("{credentials:?} {} {:?}", credentials.info(), credentials.info())
            }
            Err(error) => {
                let mut shown = format!("{error} {error:?}");
                let mut source = error.source();
                while let Some(error) = source {
                    shown += &format!(" {error} {error:?}");
                    source = error.source();
                }
                shown
            }
        };
        assert!(!is_shown(&shown, input.text), "{shown}");
    });
}

/// Whether a message repeats the secret of a file. The names of an account and of a project are shown, if
/// the whole field could be one.
fn is_shown(shown: &str, text: &[u8]) -> bool {
    if !shown.contains(SECRET) {
        return false;
    }
    let Ok(serde_json::Value::Object(file)) = serde_json::from_slice(text) else { return true };
    let may_be_shown = [
        "client_email",
        "account",
        "project_id",
        "quota_project_id",
        "universe_domain",
        "service_account_impersonation_url",
    ];
    let fields = file.iter().filter(|(name, _)| may_be_shown.contains(&name.as_str()));
    !fields.into_iter().any(|(_, value)| value.to_string().contains(SECRET))
}
