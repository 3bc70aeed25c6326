//! `VertexCompatLayer`: the cures of requests.

mod requests;
mod resends;
mod script;
