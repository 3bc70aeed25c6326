//! Forwards requests to Vertex AI and returns the responses.
//!
//! | file | what it does |
//! |---|---|
//! | `handler` | the stack of layers, and a request through it |
//! | `context` | facts about a request, recorded for the log |
//! | `admission` | whether a client may use a model, and when a request is sent |
//! | `idle_timeout` | the timeout of idle responses, and how responses end |
//! | `recorded_body` | the response body, whose end completes the record of the request |
//! | `errors` | the response to the client for an error |
//! | `resource` | paths of clients whose base URL was Google's |

pub(crate) mod admission;
pub(crate) mod context;
pub(crate) mod errors;
pub(crate) mod handler;
pub(crate) mod idle_timeout;
pub(crate) mod recorded_body;
pub(crate) mod resource;
