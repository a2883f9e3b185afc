//! The SDK's log in the host's logger.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::{Layer, Registry};

use crate::error::CallError;
use crate::host;

/// Records that may wait for the host. What comes in a burst beyond that is counted instead.
const MAX_WAITING: usize = 1_024;

/// Longest message; what follows is cut off.
const MAX_LENGTH: usize = 4_096;

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, uniffi::Enum)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// Only what failed.
    Error,
    /// And what is strange.
    Warn,
    /// And what happens rarely.
    Info,
    /// And what a developer wants to know.
    Debug,
    /// And every packet.
    Trace,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct LogRecord {
    /// How grave it is.
    pub level: LogLevel,
    /// Which part of the SDK says it.
    pub target: String,
    /// What it says, with values.
    pub message: String,
    /// Records left out before this one, because the host was behind.
    pub missed: u64,
}

/// The host's logger.
#[uniffi::export(foreign)]
pub trait Logger: Send + Sync {
    /// Takes one record.
    fn log(&self, record: LogRecord) -> Result<(), CallError>;
}

/// Where records go, and which.
struct Log {
    level: AtomicU8,
    records: mpsc::Sender<LogRecord>,
    missed: AtomicU64,
    logger: Mutex<Option<Arc<dyn Logger>>>,
}

static LOG: OnceLock<Result<&'static Log, CallError>> = OnceLock::new();

/// Hands the SDK's log to a logger from now on, in place of the one before; none, or [`LogLevel::Off`]: to nobody.
#[uniffi::export]
pub fn set_logger(logger: Option<Arc<dyn Logger>>, level: LogLevel) -> Result<(), CallError> {
    let log = LOG.get_or_init(start).clone()?;
    let level = if logger.is_some() { level } else { LogLevel::Off };
    *log.logger.lock().unwrap_or_else(PoisonError::into_inner) = logger;
    log.level.store(level as u8, Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
    Ok(())
}

fn start() -> Result<&'static Log, CallError> {
    let (sender, records) = mpsc::channel(MAX_WAITING);
    let log: &'static Log = Box::leak(Box::new(Log {
        level: AtomicU8::new(LogLevel::Off as u8),
        records: sender,
        missed: AtomicU64::new(0),
        logger: Mutex::new(None),
    }));
    tracing::subscriber::set_global_default(Registry::default().with(HostLayer(log)))
        .map_err(|_| CallError::state("logger", "this process has a `tracing` subscriber already: the log goes there"))?;
    host::pump_to_end(hand_over(log, records))?;
    Ok(log)
}

async fn hand_over(log: &'static Log, mut records: mpsc::Receiver<LogRecord>) {
    while let Some(mut record) = records.recv().await {
        record.missed = log.missed.swap(0, Ordering::Relaxed);
        let logger = log.logger.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(logger) = logger
            && host::is_open()
        {
            // A logger that fails has nobody to be told to.
            let _ = logger.log(record);
        }
    }
}

struct HostLayer(&'static Log);

impl HostLayer {
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        level_of(*metadata.level()) as u8 <= self.0.level.load(Ordering::Relaxed) && metadata.target().starts_with("segue")
    }
}

impl<S: Subscriber> Layer<S> for HostLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.0.level.load(Ordering::Relaxed) {
            level if level == LogLevel::Off as u8 => LevelFilter::OFF,
            level if level == LogLevel::Error as u8 => LevelFilter::ERROR,
            level if level == LogLevel::Warn as u8 => LevelFilter::WARN,
            level if level == LogLevel::Info as u8 => LevelFilter::INFO,
            level if level == LogLevel::Debug as u8 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut text = Text::default();
        event.record(&mut text);
        let record = LogRecord {
            level: level_of(*metadata.level()),
            target: metadata.target().to_owned(),
            message: text.finish(),
            missed: 0,
        };
        if self.0.records.try_send(record).is_err() {
            self.0.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn level_of(level: Level) -> LogLevel {
    match level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG => LogLevel::Debug,
        Level::TRACE => LogLevel::Trace,
    }
}

/// A message and its values as one line.
#[derive(Default)]
struct Text {
    message: String,
    values: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.values, " {name}={value:?}"),
        };
    }
}

impl Text {
    fn finish(mut self) -> String {
        self.message.push_str(&self.values);
        if self.message.len() > MAX_LENGTH {
            let end = (0..=MAX_LENGTH).rev().find(|end| self.message.is_char_boundary(*end)).unwrap_or(0);
            self.message.truncate(end);
        }
        self.message
    }
}
