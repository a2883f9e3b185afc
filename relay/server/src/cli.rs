//! What `segue-relay` can be told.

use std::path::PathBuf;

use clap::builder::{OsStr, Resettable};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use segue_relay::config::{AuthSettings, Settings};

/// The Segue relay: calls that start peer to peer grow into it.
#[derive(Parser)]
#[command(name = "segue-relay", version, about, max_term_width = 120)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Run the relay. Without any setting: on this machine only, with a development key and everything in memory
    Serve(Box<ServeArguments>),
    /// Make tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Say in plain words whether the media ports answer from their announced addresses
    Check(Box<Configured>),
}

impl Cli {
    /// Reads flags and environment, or says what is wrong with them and ends. A variable that is there and empty is not set: so compose
    /// files write what nobody gave them.
    pub fn read() -> Self {
        let matches = without_empty_variables(Self::command()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

fn without_empty_variables(command: clap::Command) -> clap::Command {
    let names: Vec<_> = command.get_subcommands().map(|subcommand| subcommand.get_name().to_owned()).collect();
    let command = command.mut_args(|argument| {
        let is_empty = |name| std::env::var_os(name).is_some_and(|value| value.is_empty());
        if argument.get_env().is_some_and(is_empty) { argument.env(Resettable::<OsStr>::Reset) } else { argument }
    });
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, without_empty_variables))
}

#[derive(Args)]
pub struct ServeArguments {
    #[command(flatten)]
    pub configured: Configured,
    /// Print a link with a token for a day, which opens the room `lobby` to whoever reads it. Always printed with the development key
    #[arg(long)]
    pub print_link: bool,
}

/// A command that takes the whole configuration.
#[derive(Args)]
pub struct Configured {
    /// Configuration file (TOML); every key of it is a flag and an environment variable too, and those go first
    #[arg(long, env = "SEGUE_CONFIG")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Subcommand)]
pub enum TokenCommand {
    /// Print a token for one room
    Create(TokenArguments),
}

#[derive(Args)]
pub struct TokenArguments {
    /// The room it opens
    #[arg(long)]
    pub room: String,
    /// Who it is for; empty: for anyone who has it
    #[arg(long, default_value = "")]
    pub identity: String,
    /// Name shown to others
    #[arg(long, default_value = "")]
    pub name: String,
    /// The application's own text, shown to others
    #[arg(long, default_value = "")]
    pub metadata: String,
    /// Seconds from now until it opens nothing any more
    #[arg(long, default_value_t = 24 * 60 * 60)]
    pub valid_seconds: u64,
    /// May not publish
    #[arg(long)]
    pub no_publish: bool,
    /// May not subscribe
    #[arg(long)]
    pub no_subscribe: bool,
    /// May moderate
    #[arg(long)]
    pub admin: bool,
    /// Configuration file of the relay, for its keys
    #[arg(long, env = "SEGUE_CONFIG")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub auth: AuthSettings,
}
