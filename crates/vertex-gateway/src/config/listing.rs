//! The publishers whose models are listed.

use std::fmt;

use clap::Args;

use crate::values::parsed;
use tower_vertex::model::ModelTable;

/// The options about the list of models.
#[derive(Clone, Default, Args)]
pub struct ListingOptions {
    /// Publisher whose models /v1/models lists, such as google or zai-org; repeatable, or separated
    /// by commas. `off` lists the models of the configuration file alone [default: google, anthropic
    /// and the publishers of the configuration file's models]
    #[arg(
        long,
        value_name = "PUBLISHER",
        env = "VERTEX_GATEWAY_LIST_MODELS",
        value_delimiter = ',',
        value_parser = parsed(publisher)
    )]
    pub list_models: Vec<String>,
}

/// Shows no value, because any value may be a secret in the wrong place.
impl fmt::Debug for ListingOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListingOptions").finish_non_exhaustive()
    }
}

const OFF: &str = "off";
/// Gemini's publisher and Claude's. The models of all others have to be enabled one by one.
const USUAL: [&str; 2] = ["google", "anthropic"];

pub(crate) fn publisher(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let has_letter = text.bytes().any(|byte| byte.is_ascii_alphanumeric());
    if text.len() <= 100 && has_letter && text.bytes().all(is_fit) {
        return Ok(text.to_owned());
    }
    Err("give the name of a publisher, such as google, or off".to_owned())
}

/// The publisher in the name of a model, if it has one.
fn publisher_of(model: &str) -> Option<&str> {
    model.split_once('/').map(|(publisher, _)| publisher)
}

impl ListingOptions {
    /// The publishers to list; none if the list is turned off.
    pub(crate) fn publishers(&self, table: &ModelTable) -> Vec<String> {
        let mut publishers: Vec<String> = Vec::new();
        let mut add = |name: &str| {
            if !publishers.iter().any(|known| known == name) {
                publishers.push(name.to_owned());
            }
        };
        match self.list_models.as_slice() {
            named if named.iter().any(|name| name == OFF) => {}
            [] => {
                USUAL.into_iter().chain(table.default_publisher()).for_each(&mut add);
                table.default_model().and_then(publisher_of).into_iter().for_each(&mut add);
                for entry in table.entries() {
                    let of_model = entry.model().and_then(publisher_of);
                    of_model.or(entry.publisher()).into_iter().for_each(&mut add);
                }
            }
            named => named.iter().map(String::as_str).for_each(add),
        }
        publishers
    }
}

#[cfg(test)]
mod tests {
    use tower_vertex::{model::ModelRoute, route::Upstream};

    use super::*;

    #[test]
    fn the_publishers_are_those_of_the_option_or_of_the_models_in_use() {
        let base = Upstream::new("p", "global").unwrap();
        let table = ModelTable::builder(base.clone())
            .default_publisher("meta")
            .route("fast", ModelRoute::new().model("gemini-2.5-flash").publisher("google"))
            .route("glm", ModelRoute::new().model("zai-org/glm-5-maas"))
            .build()
            .unwrap();
        let of = |names: &[&str], table: &ModelTable| {
            let list_models = names.iter().map(ToString::to_string).collect();
            ListingOptions { list_models }.publishers(table)
        };
        assert_eq!(of(&[], &ModelTable::new(base)), ["google", "anthropic"]);
        assert_eq!(of(&[], &table), ["google", "anthropic", "meta", "zai-org"]);
        let grok = ModelTable::builder(table.base().clone()).default_model("xai/grok-4.6");
        assert_eq!(of(&[], &grok.build().unwrap()), ["google", "anthropic", "xai"]);
        assert_eq!(of(&["qwen", "qwen", "google"], &table), ["qwen", "google"]);
        assert_eq!(of(&["qwen", "off"], &table), [""; 0]);
    }

    #[test]
    fn a_publisher_is_a_name() {
        assert_eq!(publisher(" zai-org ").as_deref(), Ok("zai-org"));
        for wrong in ["", "..", "a/b", "publishers/google", "a b", "\u{fc}", &"x".repeat(101)] {
            assert!(publisher(wrong).is_err(), "{wrong}");
        }
    }
}
