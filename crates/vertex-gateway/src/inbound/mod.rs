//! What a client sends, and what is refused at the door.
//!
//! | file | what it does |
//! |---|---|
//! | `body` | the first checks of a request, and the body of one that nobody reads |
//! | `framing` | the framing of HTTP/1.1 by the letter of RFC 9112 |
//! | `strict_io` | a connection on which ambiguous framing is not read at all |
//! | `malformed` | replies to what is not even HTTP |
//! | `tls` | the certificate that clients see, and those that they must show |
//! | `activity` | what a connection of a client is doing, and since when it does nothing |
//! | `send_timeout` | streams of HTTP/2 whose client takes nothing |
//! | `browser` | web pages: under which hosts and of which origins they may ask, and CORS |

pub(crate) mod activity;
pub(crate) mod body;
pub(crate) mod browser;
pub(crate) mod framing;
pub(crate) mod malformed;
pub(crate) mod send_timeout;
pub(crate) mod strict_io;
pub(crate) mod tls;
