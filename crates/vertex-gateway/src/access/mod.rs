//! Access control: the keys of clients, the models that each may use, and its limits.
//!
//! | file | what it does |
//! |---|---|
//! | `keys` | the keys of clients |
//! | `rate_limit` | the limit of a client's requests a minute |
//! | `concurrency` | the limits of requests in flight, and the queue |
//! | `stored` | the clients that may use stored responses |

pub(crate) mod concurrency;
mod keys;
mod rate_limit;
mod stored;

use std::{collections::HashMap, num::NonZeroU32, path::PathBuf, sync::Arc};

use clap::{Args, builder::FalseyValueParser};
use http::{HeaderMap, StatusCode};
use tokio::{sync::Semaphore, time::Instant};

pub(crate) use self::keys::OwnKey;
use self::{
    keys::{KeySources, Keys},
    rate_limit::RateLimiter,
};
use super::{
    config::{
        parse::{ClientRules, ConfigFile, FileOptions},
        suggest::nearest,
        upstream::TargetOptions,
    },
    error::Error,
    local_reply::{LocalReply, clip},
    values::shown_debug,
};
use tower_vertex::{
    model::{Pattern, RequestedModel, UpstreamModel},
    redact,
    route::Protocol,
};

/// The options about clients.
#[derive(Clone, Args)]
pub struct ClientOptions {
    /// File of the keys that clients must send, one `name:key` a line; it is read again when it
    /// changes. The variable VERTEX_GATEWAY_CLIENT_KEYS may hold keys too, separated by commas.
    /// Without keys, only this machine is served
    #[arg(long, value_name = "FILE", env = "VERTEX_GATEWAY_CLIENT_KEY_FILE")]
    pub client_key_file: Option<PathBuf>,

    /// Serve other machines too although clients need neither keys nor certificates: everyone who
    /// can reach --listen can use your credentials
    #[arg(long, env = "VERTEX_GATEWAY_ALLOW_UNAUTHENTICATED", value_parser = FalseyValueParser::new())]
    pub allow_unauthenticated: bool,
}

shown_debug!(ClientOptions: client_key_file; allow_unauthenticated);

/// The sources from which clients are loaded.
#[derive(Clone, Debug)]
pub(crate) struct ClientSources {
    keys: KeySources,
    /// The configuration file, and the options that it may set.
    config: Option<(PathBuf, FileOptions)>,
}

/// All clients. Without keys, requests need no authentication.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    keys: Option<Keys>,
    by_name: HashMap<String, Arc<Client>>,
}

/// A client: the holder of one key.
#[derive(Debug)]
pub(crate) struct Client {
    name: Arc<str>,
    /// `None` allows all models.
    models: Option<Vec<Pattern>>,
    requests_per_minute: Option<NonZeroU32>,
    rate_limiter: Arc<RateLimiter>,
    concurrency: Option<Concurrency>,
    /// Whether the client may use responses that other keys have stored.
    shared_responses: bool,
}

#[derive(Clone, Debug)]
struct Concurrency {
    limit: NonZeroU32,
    permits: Arc<Semaphore>,
}

impl ClientSources {
    pub(crate) fn new(options: &ClientOptions, target: &TargetOptions) -> Self {
        let file = options.client_key_file.clone().filter(|path| !path.as_os_str().is_empty());
        let known = target.file.known_options();
        let config = target.config().map(|path| (path.to_owned(), known.clone()));
        Self { keys: KeySources::Operator { file }, config }
    }

    /// The one client of a sidecar that this process runs for a command, and the key that it must
    /// send. The rules of the configuration file are for other clients.
    pub(crate) fn of_command() -> Result<(Self, Arc<OwnKey>), Error> {
        let key = Arc::new(OwnKey::generate()?);
        Ok((Self { keys: KeySources::Own(Arc::clone(&key)), config: None }, key))
    }

    /// The files to watch for changes.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let config = self.config.iter().map(|(path, _)| path);
        self.keys.file().into_iter().chain(config).cloned().collect()
    }

    /// Loads all clients again. The counts of the clients in `before` are kept.
    pub(crate) fn load(&self, before: &Clients) -> Result<Clients, Error> {
        let file = match &self.config {
            Some((path, known)) => ConfigFile::load::<TargetOptions>(path, known)?,
            None => ConfigFile::default(),
        };
        let own_rules = self.keys.own_rules();
        let rules = own_rules.as_ref().map_or(file.clients(), std::slice::from_ref);
        Clients::new(self.keys.load()?, rules, before)
    }
}

impl Clients {
    fn new(keys: Option<Keys>, rules: &[ClientRules], before: &Self) -> Result<Self, Error> {
        let mut by_name = HashMap::new();
        for name in keys.iter().flat_map(Keys::names) {
            by_name.insert(name.to_owned(), Arc::new(Client::unlimited(name, before)));
        }
        let mut seen = Vec::new();
        for rules in rules {
            let name = rules.name.as_str();
            let refused =
                |why: String| Error::new(format!("[[client]] {:?}: {why}", redact::value(name)));
            if keys.is_none() {
                return Err(refused(
                    "no client keys are set: set them with \
                     --client-key-file"
                        .into(),
                ));
            }
            if seen.contains(&name) {
                return Err(refused("the file has this name twice: remove one of the two".into()));
            }
            seen.push(name);
            if !by_name.contains_key(name) {
                let known = by_name.keys().map(String::as_str);
                return Err(refused(match nearest(name, known) {
                    Some(near) => {
                        format!("no key has this name: did you mean {:?}?", redact::value(near))
                    }
                    None => "no key has this name".to_owned(),
                }));
            }
            let client = Client::new(rules, before).map_err(refused)?;
            by_name.insert(name.to_owned(), Arc::new(client));
        }
        Ok(Self { keys, by_name })
    }

    /// The clients whose keys are in a file with this text. The counts of the clients in `before` are kept.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn of_file(
        text: &[u8],
        rules: &[ClientRules],
        before: &Self,
    ) -> Result<Self, String> {
        let mut keys = Keys::new().map_err(|error| error.to_string())?;
        keys.add_file(text)?;
        Self::new(Some(keys), rules, before).map_err(|error| error.to_string())
    }

    /// Whether requests must have a key.
    pub(crate) fn have_keys(&self) -> bool {
        self.keys.is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// The client whose key is in a header or in the query; `None` if no keys are configured. The
    /// refusal names the header that the clients of the protocol send.
    ///
    /// # Errors
    ///
    /// 401 if the request has no valid key.
    pub(crate) fn authenticate(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        protocol: Protocol,
    ) -> Result<Option<Arc<Client>>, LocalReply> {
        let Some(keys) = &self.keys else { return Ok(None) };
        let name = keys.owner(headers, query, protocol)?;
        // Each key has a client. A key without one would be rejected as unknown.
        self.by_name.get(name).cloned().map(Some).ok_or_else(keys::unknown)
    }
}

impl Client {
    fn unlimited(name: &str, before: &Clients) -> Self {
        let before = before.by_name.get(name);
        let rate_limiter = before
            .map_or_else(|| Arc::new(RateLimiter::full()), |old| Arc::clone(&old.rate_limiter));
        Self {
            name: name.into(),
            models: None,
            requests_per_minute: None,
            rate_limiter,
            concurrency: None,
            shared_responses: false,
        }
    }

    pub(crate) fn new(rules: &ClientRules, before: &Clients) -> Result<Self, String> {
        let patterns = |models: &Vec<String>| -> Result<Vec<Pattern>, String> {
            models.iter().map(|text| text.parse::<Pattern>().map_err(|e| e.to_string())).collect()
        };
        let models = rules.models.as_ref().map(patterns).transpose()?;
        // Requests in flight keep their permits. A changed limit gets a new semaphore, which does
        // not count the requests under the previous limit.
        let kept = |limit: NonZeroU32| {
            let old = before.by_name.get(&rules.name)?.concurrency.clone()?;
            (old.limit == limit).then_some(old)
        };
        let concurrency = rules.max_concurrent_requests.map(|limit| {
            kept(limit).unwrap_or_else(|| {
                let most = usize::try_from(limit.get()).unwrap_or(usize::MAX);
                let permits = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
                Concurrency { limit, permits }
            })
        });
        let requests_per_minute = rules.requests_per_minute;
        Ok(Self {
            models,
            requests_per_minute,
            concurrency,
            shared_responses: rules.shared_responses,
            ..Self::unlimited(&rules.name, before)
        })
    }

    /// The client's name in the log and in the metrics.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Counts a request.
    ///
    /// # Errors
    ///
    /// 429, with the time until the next request is allowed.
    pub(crate) fn count_request(&self) -> Result<(), LocalReply> {
        let Some(limit) = self.requests_per_minute else { return Ok(()) };
        self.rate_limiter.take(limit, Instant::now()).map_err(|wait| {
            let message = format!(
                "the key {:?} is limited to {limit} requests a minute: retry later",
                self.name
            );
            LocalReply::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", message)
                .retry_after(wait)
        })
    }

    /// Whether the client may use certain models only.
    pub(crate) fn has_list(&self) -> bool {
        self.models.is_some()
    }

    /// Checks the model of a request, which may be listed with its publisher or without.
    ///
    /// The publisher counts only if the model `sent` to Vertex AI has the same one. The path of an alias
    /// has the publisher of its protocol, and the alias may stand for a model of another. `google/*`
    /// does not allow such a model.
    ///
    /// A request that the default model serves needs the permission for that model, and for no other.
    ///
    /// # Errors
    ///
    /// 403 if the client may not use this model. `None` is a request without a readable model.
    pub(crate) fn allow_requested(
        &self,
        model: Option<&RequestedModel>,
        sent: Option<&UpstreamModel>,
    ) -> Result<(), LocalReply> {
        fn publisher(name: &str) -> Option<&str> {
            Some(name.split_once('/')?.0)
        }
        if let Some(default) = model.and_then(RequestedModel::default_model) {
            return self.allow(Some(default));
        }
        let of_sent = sent.and_then(|sent| publisher(sent.as_str()));
        let published = model.and_then(RequestedModel::with_publisher);
        let published = published.filter(|name| publisher(name) == of_sent);
        if published.is_some_and(|name| self.allow(Some(name)).is_ok()) {
            return Ok(());
        }
        self.allow(model.map(RequestedModel::as_str))
    }

    /// # Errors
    ///
    /// 403 if the client may not use this model. `None` is a request without a readable model.
    pub(crate) fn allow(&self, model: Option<&str>) -> Result<(), LocalReply> {
        let Some(patterns) = &self.models else { return Ok(()) };
        let fits = |pattern: &Pattern, model: &str| {
            pattern.matches(model) && (pattern.as_str() == model || is_one_name(model))
        };
        if model.is_some_and(|model| patterns.iter().any(|pattern| fits(pattern, model))) {
            return Ok(());
        }
        let asked = match model {
            Some(model) => {
                let model = clip(model);
                format!("the key {:?} is not allowed to use the model {model:?}", self.name)
            }
            None => format!(
                "the key {:?} is allowed to use certain models only, and this request has no \
                     readable model",
                self.name
            ),
        };
        let may: Vec<&str> = patterns.iter().map(Pattern::as_str).collect();
        let may = if may.is_empty() { "none".to_owned() } else { may.join(", ") };
        let message = format!("{asked}: it is allowed to use {may}");
        Err(LocalReply::new(StatusCode::FORBIDDEN, "model_not_allowed", message))
    }

    /// The permits for the client's requests in flight, if their number is limited.
    pub(crate) fn concurrency(&self) -> Option<&Arc<Semaphore>> {
        self.concurrency.as_ref().map(|concurrency| &concurrency.permits)
    }
}

/// Whether `model` stays one name when it becomes a part of a path. A `*` in a pattern stands for a
/// part of a name, so it must not match text that leads to other names.
fn is_one_name(model: &str) -> bool {
    !model.contains(['%', '\\']) && !model.split('/').any(|part| matches!(part, "." | ".."))
}
