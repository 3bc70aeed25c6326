//! The command line. An error about a setting is a sentence with its remedy.

mod help;

use std::ffi::OsString;

use clap::{
    Arg, Args, CommandFactory, FromArgMatches as _, Parser,
    builder::Resettable,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{
    check::CheckOptions,
    emulator::EmulatorOptions,
    endpoints::EndpointsOptions,
    generate::{CompletionsOptions, ManOptions},
    init::InitOptions,
    models::ModelsOptions,
    run::RunOptions,
    serve::Options,
    token::TokenOptions,
};
#[cfg(feature = "ext-authz")]
use crate::envoy::ExtAuthzOptions;
use crate::{
    config::{parse::FileOptions, upstream::TargetOptions},
    error::Error,
    values::option_source,
};

/// Google Vertex AI for every OpenAI client.
///
/// Set the base URL of a client to the gateway (OPENAI_BASE_URL=http://127.0.0.1:8080/v1) and its API
/// key to any text: the gateway fetches, refreshes and sends the access token.
///
/// A configuration file sets defaults of the options that are parsed here.
#[derive(Debug, Args)]
#[command(
    about = "Google Vertex AI for every OpenAI client",
    long_about = "Google Vertex AI for every OpenAI client\n\nSet the base URL of a client to \
                  the gateway (OPENAI_BASE_URL=http://127.0.0.1:8080/v1) and its API key to any \
                  text: the gateway fetches, refreshes and sends the access token",
    version,
    args_conflicts_with_subcommands = true
)]
pub struct Command {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub subcommand: Option<Subcommand>,
    /// The options of `serve`, which is the command without a subcommand.
    #[command(flatten)]
    pub options: Options,
}

impl CommandFactory for Command {
    fn command() -> clap::Command {
        help::arrange(plain())
    }

    fn command_for_update() -> clap::Command {
        help::arrange(Self::augment_args_for_update(clap::Command::new("vertex-gateway")))
    }
}

/// All commands and options.
fn plain() -> clap::Command {
    Command::augment_args(clap::Command::new("vertex-gateway"))
}

/// Reads the configuration file, if one is set: its options are defaults of the command line.
impl Parser for Command {
    fn parse() -> Self {
        Self::parse_from(std::env::args_os())
    }

    fn try_parse() -> Result<Self, clap::Error> {
        Self::try_parse_from(std::env::args_os())
    }

    fn parse_from<I, T>(args: I) -> Self
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        Self::try_parse_from(args).unwrap_or_else(|error| error.exit())
    }

    fn try_parse_from<I, T>(args: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        let parse = |command: clap::Command| {
            let matches = command.try_get_matches_from(&args);
            matches
                .and_then(|mut matches| Self::from_arg_matches_mut(&mut matches))
                .map_err(without_values)
        };
        let command = without_empty_variables(plain());
        let mut parsed = match parse(command.clone()) {
            // Only for the help are the options arranged, because that takes longer than the rest.
            Err(error) if error.kind() == ErrorKind::DisplayHelp => {
                parse(without_empty_variables(Self::command()))
            }
            parsed => parsed,
        }?;
        if let Some(target) = parsed.target()
            && target.config().is_some()
        {
            let refused = |failure: Error| {
                clap::Error::raw(ErrorKind::ValueValidation, format!("{failure}\n"))
            };
            target.load(&FileOptions::of(&command)).map_err(refused)?;
            parsed = parse(target.file.as_defaults(command))?;
        }
        Ok(parsed)
    }
}

/// Removes from an error of clap all that could be a secret: the value of an option, and a word
/// that is no option. Suggestions, and the values that an option takes, are kept.
fn without_values(mut error: clap::Error) -> clap::Error {
    const HIDDEN: &str = "…";
    let text = |error: &clap::Error, kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    if text(&error, ContextKind::InvalidValue).is_some_and(|value| !value.is_empty()) {
        error.insert(ContextKind::InvalidValue, ContextValue::String(HIDDEN.to_owned()));
        // An option with a wrong value is named by its source, the option or its variable.
        if let Some(option) = text(&error, ContextKind::InvalidArg) {
            let long = option.split(' ').next().unwrap_or_default();
            let named = match option_source::<Command>(long) {
                by if by == long => option,
                variable => format!("{option} (from {variable})"),
            };
            error.insert(ContextKind::InvalidArg, ContextValue::String(named));
        }
        return error;
    }
    let is_a_word = |text: &str| {
        text.len() <= 24 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    for kind in [ContextKind::InvalidSubcommand, ContextKind::InvalidArg] {
        let Some(word) = text(&error, kind).filter(|word| !is_a_word(word)) else { continue };
        // Only the option of `--option=value` is shown.
        let shown = word.split_once('=').map(|(option, _)| option).filter(|name| is_a_word(name));
        let is_known = word.starts_with('-') && word.contains(' ');
        if is_known && error.kind() != ErrorKind::UnknownArgument {
            continue;
        }
        error.insert(kind, ContextValue::String(shown.unwrap_or(HIDDEN).to_owned()));
        // A tip would repeat the word.
        error.remove(ContextKind::Suggested);
    }
    error
}

/// Ignores empty variables, as if they were not set.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let clear = |arg: Arg| match arg.get_env().and_then(std::env::var_os) {
        Some(value) if value.is_empty() => arg.env(Resettable::Reset),
        _ => arg,
    };
    command.mut_args(clear).mut_subcommands(|command| command.mut_args(clear))
}

impl Command {
    /// The target of a command that may have a configuration file.
    pub(crate) fn target(&mut self) -> Option<&mut TargetOptions> {
        match &mut self.subcommand {
            None => Some(&mut self.options.serving.target),
            Some(Subcommand::Serve(options)) => Some(&mut options.serving.target),
            Some(Subcommand::Run(options)) => Some(&mut options.options.serving.target),
            Some(Subcommand::Check(options)) => Some(&mut options.target),
            #[cfg(feature = "ext-authz")]
            Some(Subcommand::ExtAuthz(options)) => Some(&mut options.serving.target),
            Some(
                Subcommand::Token(_)
                | Subcommand::Endpoints(_)
                | Subcommand::Models(_)
                | Subcommand::Emulator(_)
                | Subcommand::Init(_)
                | Subcommand::Completions(_)
                | Subcommand::Man(_),
            ) => None,
        }
    }
}

/// The subcommands of `vertex-gateway`.
#[derive(Debug, clap::Subcommand)]
pub enum Subcommand {
    /// Forward OpenAI requests to Vertex AI (the default)
    Serve(Box<Options>),
    /// Run a command whose clients of OpenAI, Gemini and Claude use Vertex AI
    Run(Box<RunOptions>),
    /// Write a configuration file with what is found on this machine
    Init(Box<InitOptions>),
    /// Report what works and what does not, from the credentials to a response of the model
    Check(Box<CheckOptions>),
    /// Print an access token
    Token(Box<TokenOptions>),
    /// List the deployed endpoints of one or more locations, with the hosts of dedicated endpoints
    Endpoints(Box<EndpointsOptions>),
    /// List the models that Vertex AI has in one or more locations, with the methods that serve each
    Models(Box<ModelsOptions>),
    /// Serve an emulator of Vertex AI, for tests without a cloud
    Emulator(EmulatorOptions),
    /// Give Envoy the access token, host and path of each request, by its `ext_authz` and
    /// `ext_proc` protocols
    #[cfg(feature = "ext-authz")]
    ExtAuthz(Box<ExtAuthzOptions>),
    /// Print the script by which a shell completes this program's commands and options
    Completions(CompletionsOptions),
    /// Write the manual pages of all commands
    Man(ManOptions),
}

#[cfg(test)]
mod tests;
