//! The listeners and their common base.
//!
//! | file | what it does |
//! |---|---|
//! | `startup` | access control, credentials, upstream, token and models |
//! | `listener` | accepts connections of clients |
//! | `worker` | the threads that serve them |
//! | `register` | which connections are open, and which one is closed when there is no room |
//! | `connection` | one connection, from its TLS handshake to its end |
//! | `accept_errors` | connections that could not be accepted, by any listener |
//! | `admin` | the listener of metrics, health and the status page |
//! | `in_process` | a connection of the gateway to itself, without a socket |
//! | `reload` | files that are read again when they change |
//! | `signals` | Ctrl-C, SIGTERM, SIGHUP; and systemd |
//! | `descriptors` | how many connections the limit of open files allows |

pub(crate) mod accept_errors;
pub(crate) mod admin;
pub(crate) mod connection;
pub(crate) mod descriptors;
pub(crate) mod in_process;
pub(crate) mod listener;
mod register;
pub(crate) mod reload;
pub(crate) mod signals;
pub(crate) mod startup;
pub(crate) mod worker;
