//! The models that a client may request, by the table and by Vertex AI's lists.

use crate::models::publishers::{Listed, is_same_place};
use tower_vertex::{
    discover::{ModelMethod, PublisherModel},
    model::{ModelEntry, ModelTable},
    route::{Endpoint, Protocol, Upstream},
};

/// A model in a list.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// The name that the client requests.
    pub(super) id: String,
    pub(super) owner: String,
    /// The model behind the name; for an endpoint of one's own it has no publisher.
    pub(super) model: PublisherModel,
    /// Whether the name is the operator's.
    pub(super) is_alias: bool,
}

/// The parts of a list.
pub(super) struct Catalogue<'a, F> {
    pub(super) table: &'a ModelTable,
    pub(super) listed: &'a Listed,
    /// Whether the client may request the model with this name.
    pub(super) may: F,
}

impl<F: Fn(&str) -> bool> Catalogue<'_, F> {
    /// All models whose clients speak this protocol: the default model, the names of the table, and then
    /// those of the publishers' models. A pattern of the table is not a name that a client could use.
    pub(super) fn of_protocol(&self, protocol: Protocol) -> Vec<Item> {
        let default = self.table.default_model().filter(|_| protocol == Protocol::OpenAi);
        let mut items: Vec<Item> = Vec::from_iter(default.and_then(|name| self.default(name)));
        let names = self.table.entries().filter(|entry| !entry.is_wildcard());
        items.extend(names.filter_map(|entry| self.alias(entry.pattern(), entry, protocol)));
        for (source, models) in &self.listed.lists {
            let serving = models.iter().filter(|model| serves(model.methods(), protocol));
            for model in serving {
                items.extend(self.listed_as(model, &source.upstream, protocol));
            }
        }
        unique(items)
    }

    /// All models of a publisher, regardless of their protocol.
    pub(super) fn of_publisher(&self, publisher: &str) -> Vec<Item> {
        let protocol = own_protocol(publisher);
        let names = self.table.entries().filter(|entry| !entry.is_wildcard());
        let names = names.filter_map(|entry| self.alias(entry.pattern(), entry, protocol));
        let mut items: Vec<Item> = names.filter(|item| item.owner == publisher).collect();
        for (source, models) in &self.listed.lists {
            let of_publisher = models
                .iter()
                .filter(|model| model.publisher == publisher && !model.methods().is_empty());
            items.extend(of_publisher.filter_map(|model| {
                let mut item = self.listed_as(model, &source.upstream, protocol)?;
                item.id = model.model_id().into_owned();
                Some(item)
            }));
        }
        unique(items)
    }

    /// The item of a requested name.
    pub(super) fn find(&self, name: &str, protocol: Protocol) -> Option<Item> {
        // A client may write the publisher or not, and the date of a Claude model in two ways.
        let same = |item: &Item| {
            let (bare, is_openai) = (item.model.model_id(), protocol == Protocol::OpenAi);
            let is_default = self.table.default_publisher() == Some(&*item.owner);
            item.id == name
                || item.model.qualified_id() == name
                || bare == name && (is_default || !is_openai)
                || bare.replace('@', "-") == name && protocol == Protocol::Anthropic
        };
        let entry = self.table.find(name);
        if let Some(item) = entry.and_then(|entry| self.alias(name, entry, protocol)) {
            return Some(item);
        }
        if protocol == Protocol::OpenAi
            && let Some(default) = self.table.default_for(name)
        {
            return self.default(default).map(|item| Item { id: name.to_owned(), ..item });
        }
        let mut items = self.of_protocol(protocol).into_iter();
        let mut item = items.find(|item| same(item) && !item.is_alias)?;
        item.id = name.to_owned();
        Some(item).filter(|_| protocol != Protocol::OpenAi || (self.may)(name))
    }

    /// The item of the default model, if the client may use it.
    fn default(&self, name: &str) -> Option<Item> {
        self.named(name, self.table.find(name), Protocol::OpenAi)
    }

    /// The item of a name in the table, if the client may use it and its model has this protocol.
    fn alias(&self, name: &str, entry: &ModelEntry, protocol: Protocol) -> Option<Item> {
        self.named(name, Some(entry), protocol)
    }

    fn named(&self, name: &str, entry: Option<&ModelEntry>, protocol: Protocol) -> Option<Item> {
        if !(self.may)(name) {
            return None;
        }
        let upstream = entry.and_then(ModelEntry::upstream).unwrap_or(self.table.base());
        let sent = self.table.upstream_model(name, upstream);
        let (owner, model) = match sent.split_once('/') {
            Some((publisher, id)) => {
                // The default publisher is not that of Claude.
                let is_claude = publisher == "google" && id.starts_with("claude-");
                let publisher = if is_claude { "anthropic" } else { publisher };
                (publisher, PublisherModel::new(publisher, id))
            }
            // A model on its own endpoint has no publisher.
            None => ("vertex-ai", PublisherModel::new("", sent.as_ref())),
        };
        let is_shared = matches!(upstream.endpoint(), Endpoint::OpenApi);
        let methods = if is_shared { model.methods() } else { &[] };
        let fits = match protocol {
            // The operator knows what `openapi` serves, except that it refuses Claude and Mistral.
            Protocol::OpenAi => !methods
                .iter()
                .any(|method| matches!(method, ModelMethod::Messages | ModelMethod::RawPredict)),
            protocol => serves(methods, protocol),
        };
        fits.then(|| Item { id: name.to_owned(), owner: owner.to_owned(), model, is_alias: true })
    }

    /// The item of a model that `upstream` lists, if a request for it goes there and the client may
    /// send one.
    fn listed_as(
        &self,
        model: &PublisherModel,
        upstream: &Upstream,
        protocol: Protocol,
    ) -> Option<Item> {
        let (bare, qualified) = (model.model_id().into_owned(), model.qualified_id());
        let is_default = match protocol {
            Protocol::OpenAi => self.table.default_publisher() == Some(&*model.publisher),
            protocol => own_protocol(&model.publisher) == protocol,
        };
        let entry = match protocol {
            Protocol::OpenAi => None,
            // A request that has the model in its path is found by both names.
            _ => self.table.find_published(&model.publisher, &bare),
        };
        let goes_there = |id: &str| {
            let entry = entry.or_else(|| self.table.find(id));
            let to = entry.and_then(ModelEntry::upstream).unwrap_or(self.table.base());
            let renamed = entry.and_then(ModelEntry::model);
            matches!(to.endpoint(), Endpoint::OpenApi)
                && is_same_place(to, upstream)
                && renamed.is_none_or(|name| name == bare || name == qualified)
        };
        let may = |id: &str| match protocol {
            Protocol::OpenAi => (self.may)(id),
            _ => (self.may)(&bare) || (self.may)(&qualified),
        };
        // On OpenAI's list a name has its publisher, unless the client may use the bare name alone.
        let ids = match protocol {
            Protocol::OpenAi => [Some(&qualified), is_default.then_some(&bare)],
            _ => [is_default.then_some(&bare), Some(&qualified)],
        };
        let id = ids.into_iter().flatten().find(|id| may(id) && goes_there(id))?;
        let owner = model.publisher.clone();
        Some(Item { id: id.clone(), owner, model: model.clone(), is_alias: false })
    }
}

/// The protocol in which names of this publisher's models have no publisher.
fn own_protocol(publisher: &str) -> Protocol {
    match publisher {
        "anthropic" => Protocol::Anthropic,
        _ => Protocol::Gemini,
    }
}

/// Whether a client of this protocol can use one of these methods.
fn serves(methods: &[ModelMethod], protocol: Protocol) -> bool {
    use ModelMethod::{
        ChatCompletions, EmbedContent, Embeddings, GenerateContent, Messages, Predict,
    };
    let used: &[ModelMethod] = match protocol {
        Protocol::OpenAi => &[ChatCompletions, Embeddings],
        Protocol::Anthropic => &[Messages],
        _ => &[GenerateContent, EmbedContent, Predict],
    };
    methods.iter().any(|method| used.contains(method))
}

/// The items without those whose name an earlier one has.
fn unique(items: Vec<Item>) -> Vec<Item> {
    let mut seen = std::collections::HashSet::new();
    items.into_iter().filter(|item| seen.insert(item.id.clone())).collect()
}
