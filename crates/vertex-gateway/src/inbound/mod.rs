//! Connections and requests of clients, and the checks that precede the handling of a request.
//!
//! | file | what it does |
//! |---|---|
//! | `body_limit` | the first checks of a request, and the bodies that are not read to their end |
//! | `content_encoding` | bodies that the client has compressed |
//! | `framing` | the framing of HTTP/1.1, strictly according to RFC 9112 |
//! | `strict_io` | a connection on which ambiguous framing is rejected |
//! | `malformed` | responses to requests that are not HTTP |
//! | `tls` | the certificate of the server, and those that clients must present |
//! | `activity` | the state of a client's connection, and how long it has been idle |
//! | `send_timeout` | the reset of HTTP/2 streams whose client reads nothing |
//! | `browser` | web pages: the hosts and origins that are allowed, and CORS |

pub(crate) mod activity;
pub(crate) mod body_limit;
pub(crate) mod browser;
pub(crate) mod content_encoding;
pub(crate) mod framing;
pub(crate) mod malformed;
pub(crate) mod send_timeout;
pub(crate) mod strict_io;
pub(crate) mod tls;
