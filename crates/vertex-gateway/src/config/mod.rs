//! What can be set, and where a value came from.
//!
//! | file | what it does |
//! |---|---|
//! | `file` | the configuration file |
//! | `upstream` | where requests go, and who may see the token |
//! | `credentials` | whose token it is |
//! | `retry` | what is sent again, and how often |
//! | `suggest` | what was meant by a name that there is not |
//! | `discovered` | endpoints that were looked up by their names, as data |

pub(crate) mod credentials;
pub(crate) mod discovered;
pub(crate) mod file;
pub(crate) mod layered;
pub(crate) mod retry;
pub(crate) mod suggest;
pub(crate) mod upstream;
