//! The commands.
//!
//! | file | what it does |
//! |---|---|
//! | `command` | the command line |
//! | `serve` | the sidecar and the emulator; and which command is run |
//! | `check` | what works and what does not, one line each, with the remedy |
//! | `token` | a token, printed |
//! | `endpoints` | what is deployed where, as a table |

pub(crate) mod check;
pub(crate) mod command;
pub(crate) mod endpoints;
pub(crate) mod serve;
pub(crate) mod token;
