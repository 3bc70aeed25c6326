//! The listeners, and what they stand on.
//!
//! | file | what it does |
//! |---|---|
//! | `bootstrap` | who may come, credentials, upstream, token and models |
//! | `listener` | the workers, and the connections that they are dealt |
//! | `admin` | the listener of metrics and health |
//! | `reload` | files that are read again when they change |
//! | `signals` | Ctrl-C, SIGTERM, SIGHUP; and systemd |
//! | `descriptors` | how many connections the limit of open files allows |

pub(crate) mod admin;
pub(crate) mod bootstrap;
pub(crate) mod descriptors;
pub(crate) mod listener;
pub(crate) mod reload;
pub(crate) mod signals;
