//! The way of a request to Vertex AI, and of its response back.
//!
//! | file | what it does |
//! |---|---|
//! | `handler` | the stack of layers, and a request through it |
//! | `context` | what becomes known of a request on its way |
//! | `admission` | whether a request may go to its model, and when |
//! | `idle_timeout` | responses that fall silent or break |
//! | `recorded_body` | the response to its last byte, where its record is complete |
//! | `errors` | what an error on the way means to the client |
//! | `resource` | paths of clients whose base URL was Google's |

pub(crate) mod admission;
pub(crate) mod context;
pub(crate) mod errors;
pub(crate) mod handler;
pub(crate) mod idle_timeout;
pub(crate) mod recorded_body;
pub(crate) mod resource;
