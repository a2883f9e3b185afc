//! The binary `segue-relay`.

mod cli;

use std::error::Error;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use cli::{Cli, Command, Configured, ServeArguments, TokenArguments, TokenCommand};
use segue_relay::auth::{Claims, Grants, Keys, LOCAL_DEVELOPMENT_SECRET};
use segue_relay::config::{Config, LogFormat, Settings};
use segue_relay::{Relay, check};
use tracing_subscriber::EnvFilter;

/// The room of the link that is printed at start.
const FIRST_ROOM: &str = "lobby";

fn main() -> ExitCode {
    let outcome = match Cli::read().command {
        Command::Serve(arguments) => serve(*arguments),
        Command::Check(configured) => run_check(*configured),
        Command::Token(TokenCommand::Create(arguments)) => create_token(arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("segue-relay: {error}");
        ExitCode::FAILURE
    })
}

type Outcome = Result<ExitCode, Box<dyn Error>>;

fn configuration(configured: Configured) -> Result<Config, Box<dyn Error>> {
    let file = configured.config.map_or_else(|| Ok(Settings::default()), |path| Config::read(&path))?;
    Ok(Config::from_settings(configured.settings.or(file))?)
}

fn serve(arguments: ServeArguments) -> Outcome {
    let config = configuration(arguments.configured)?;
    let drain = config.drain;
    start_log(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let relay = Relay::start(config).await?;
        introduce(&relay, arguments.print_link);
        if stop_signal().await? == Stop::Drain {
            eprintln!("segue-relay: no new rooms; shutting down when calls have ended, or at once at another signal");
            tokio::select! {
                () = relay.drain(drain) => {}
                signal = stop_signal() => {
                    signal?;
                }
            }
        }
        eprintln!("segue-relay: shutting down");
        relay.shutdown().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Tells whoever started the relay what to do next. The link goes to standard output alone, so that scripts can read it; where real keys sign
/// tokens it is printed on request only, for what a service prints ends in a journal that others read.
fn introduce(relay: &Relay, print_link: bool) {
    let media: Vec<_> = relay.media_addresses().iter().map(ToString::to_string).collect();
    eprintln!("segue-relay {}", env!("CARGO_PKG_VERSION"));
    eprintln!("  signalling  {}", relay.url());
    eprintln!("  media       UDP {}", media.join(", "));
    if relay.development() {
        eprintln!("  key         development: configure [auth] keys before others rely on this relay");
    }
    if !relay.development() && !print_link {
        eprintln!("  room        make a token with `segue-relay token create` and open {}/#token=TOKEN", relay.page_url());
    } else if let Ok(link) = relay.link(FIRST_ROOM) {
        eprintln!("  room        {FIRST_ROOM}: open this link, and send it to somebody");
        println!("{link}");
    }
}

/// How a relay is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// By a person, who waits for it.
    AtOnce,
    /// By whatever runs it, which lets calls come to their end.
    Drain,
}

async fn stop_signal() -> std::io::Result<Stop> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            outcome = tokio::signal::ctrl_c() => outcome.map(|()| Stop::AtOnce),
            _ = terminate.recv() => Ok(Stop::Drain),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await.map(|()| Stop::AtOnce)
}

fn start_log(config: &Config) -> Result<(), Box<dyn Error>> {
    let filter = EnvFilter::try_new(&config.log_filter);
    let filter = filter.map_err(|error| format!("log.filter (--log): {error}; for example `info,segue_relay=debug`"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

fn run_check(configured: Configured) -> Outcome {
    let config = configuration(configured)?;
    let findings = check::check(&config);
    for finding in &findings {
        println!("{} {}", finding.verdict, finding.text);
    }
    Ok(if check::serves_as_it_is(&config, &findings) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn create_token(arguments: TokenArguments) -> Outcome {
    let file = arguments.config.map_or_else(|| Ok(Settings::default()), |path| Config::read(&path))?;
    let settings = arguments.auth.or(file.auth).all_keys()?;
    let keys = if settings.is_empty() {
        eprintln!(
            "segue-relay: no key given (--config or --key): signed with the development key, for a relay on this machine only"
        );
        Keys::development(LOCAL_DEVELOPMENT_SECRET)
    } else {
        Keys::from_settings(&settings)?
    };
    let grants = Grants { publish: !arguments.no_publish, subscribe: !arguments.no_subscribe, admin: arguments.admin };
    let claims = Claims::new(&arguments.room, &arguments.identity, grants, arguments.valid_seconds);
    println!("{}", keys.mint(Claims { name: arguments.name, metadata: arguments.metadata, ..claims })?);
    Ok(ExitCode::SUCCESS)
}
