//! How much is logged, and in which form.

use clap::{Args, ValueEnum};

use super::Given;
use super::config::log_format;
use crate::cli::exit::Failure;
use crate::config::Service;
use crate::telemetry::{LogFormat, init_tracing};

/// Flags for the logs on stderr.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// Form of the log lines on stderr.
    #[arg(long, env = "CRONMILL_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: FormatArg,
    /// What is logged: off, error, warn, info, debug, trace, or target=level,…
    #[arg(long, env = "CRONMILL_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArg {
    /// One readable line per event.
    Text,
    /// One JSON object per line.
    Json,
}

impl From<LogFormat> for FormatArg {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

impl LogArgs {
    /// With what a file says of logs where neither flag nor variable was given.
    #[must_use]
    pub fn or(mut self, given: Given<'_>, service: &Service) -> Self {
        self.log = given.or("log", self.log, service.log_level.map(str::to_owned));
        self.log_format = given.or("log_format", self.log_format, log_format(service).map(FormatArg::from));
        self
    }

    /// Starts logging as asked.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] for a filter that does not parse.
    pub fn init(&self) -> Result<(), Failure> {
        let format = match self.log_format {
            FormatArg::Text => LogFormat::Text,
            FormatArg::Json => LogFormat::Json,
        };
        init_tracing(format, &self.log).map_err(Failure::usage)
    }
}
