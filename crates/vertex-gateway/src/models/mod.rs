//! The models that clients can use.
//!
//! | file | what it does |
//! |---|---|
//! | `table` | the table of models in force |
//! | `discovery` | endpoints by their names, looked up and kept up to date |
//! | `publishers` | the lists of publishers' models, fetched and kept up to date |
//! | `list` | the replies to `/v1/models` |

pub(crate) mod discovery;
pub(crate) mod list;
pub(crate) mod publishers;
pub(crate) mod table;
