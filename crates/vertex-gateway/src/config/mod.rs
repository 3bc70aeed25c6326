//! Settings, and the sources of their values.
//!
//! | file | what it does |
//! |---|---|
//! | `parse` | the configuration file |
//! | `upstream` | the upstream, and the hosts to which the token is sent |
//! | `compat` | the options of the compat layer |
//! | `gcloud` | the project of gcloud's active configuration |
//! | `credentials` | the credentials, and the first token |
//! | `listing` | the publishers whose models are listed |
//! | `network` | the options of proxies and certificates, and the network that they make |
//! | `retry` | the options of the retry layer |
//! | `suggest` | suggestions for unknown names |
//! | `discovered` | endpoints that were looked up by their names, as data |

pub(crate) mod compat;
pub(crate) mod credentials;
pub(crate) mod discovered;
mod gcloud;
pub(crate) mod layered;
pub(crate) mod listing;
pub(crate) mod network;
pub(crate) mod parse;
pub(crate) mod retry;
pub(crate) mod suggest;
pub(crate) mod upstream;
