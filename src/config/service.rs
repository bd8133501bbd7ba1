//! go-zero's keys that every service has.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::error::ConfigFault;
use super::findings::Findings;
use super::section::{Section, shown};

/// Where go-zero serves metrics when only a host is named.
const METRICS_PORT: i64 = 9101;
/// Where metrics are here.
const METRICS_PATH: &str = "/metrics";

/// What a service's file says about the service itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// `Name`.
    pub name: Option<String>,
    /// `Log.ServiceName`: what the logs call it, if that is not its name.
    pub log_name: Option<String>,
    /// `Log.Level`, as our own filter spells it.
    pub log_level: Option<&'static str>,
    /// `Log.Encoding`.
    pub log_encoding: Option<LogEncoding>,
    /// `Prometheus.Host` and `Port`.
    pub listen: Option<SocketAddr>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogEncoding {
    /// For people.
    Plain,
    /// A JSON object per line.
    Json,
}

impl Service {
    /// What the logs call it.
    #[must_use]
    pub fn told_name(&self) -> Option<&str> {
        self.log_name.as_deref().or(self.name.as_deref())
    }

    /// Takes the keys of a service.
    pub(super) fn take(file: &mut Section<'_>, found: &mut Findings<'_>) -> Self {
        let mut service = Self::default();
        if let Some((path, name)) = file.text("Name", found) {
            if name.trim().is_empty() || name.len() > 200 {
                let message = if name.trim().is_empty() { "is empty" } else { "is too long" };
                found.refuse(&path, ConfigFault::InvalidValue, message, "1 to 200 bytes");
            }
            service.name = Some(name.to_owned());
        }
        let modes = ["dev", "test", "rt", "pre", "pro"];
        if file.choice("Mode", &modes, found).is_some() {
            let path = file.place("Mode");
            found.idle(&path, "");
        }
        if let Some(log) = file.section("Log", found) {
            service.take_log(log, found);
        }
        if let Some(prometheus) = file.section("Prometheus", found) {
            service.listen = listen(prometheus, found);
        }
        file.idle(&["Telemetry", "DevServer", "MetricsUrl", "Shutdown", "Profiling"], "", found);
        service
    }

    fn take_log(&mut self, mut log: Section<'_>, found: &mut Findings<'_>) {
        self.log_name = log.text("ServiceName", found).map(|(_, name)| name.to_owned());
        self.log_name.take_if(|name| name.trim().is_empty());
        let level = log.choice("Level", &["debug", "info", "error", "severe"], found);
        self.log_level = level.map(|level| if level == "severe" { "error" } else { level });
        self.log_encoding =
            log.choice("Encoding", &["json", "plain"], found).map(|encoding| match encoding {
                "json" => LogEncoding::Json,
                _ => LogEncoding::Plain,
            });
        if matches!(log.choice("Mode", &["console", "file", "volume"], found), Some("file" | "volume")) {
            let path = log.place("Mode");
            found.idle(&path, "logs go to stderr");
        }
        let of_files =
            ["Path", "Compress", "KeepDays", "MaxBackups", "MaxSize", "Rotation", "FileTimeFormat"];
        log.idle(&of_files, "logs go to stderr", found);
        log.idle(&["TimeFormat", "MaxContentLength", "Stat", "StackCooldownMillis", "FieldKeys"], "", found);
        log.close(&[], "", found);
    }
}

/// Where metrics are served. As with go-zero, a part without a host asks for nothing.
fn listen(mut prometheus: Section<'_>, found: &mut Findings<'_>) -> Option<SocketAddr> {
    let host = prometheus.text("Host", found).filter(|(_, host)| !host.is_empty());
    let port = prometheus.number("Port", 1, 65535, found);
    if let Some((path, text)) = prometheus.text("Path", found)
        && text != METRICS_PATH
    {
        found.idle(&path, "metrics are at /metrics");
    }
    let path = prometheus.path().clone();
    prometheus.close(&[], "", found);
    let Some((at, host)) = host else {
        found.idle(&path, "without a Host nothing listens");
        return None;
    };
    let ip = match host {
        "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        host => host.trim_start_matches('[').trim_end_matches(']').parse().ok(),
    };
    let Some(ip) = ip else {
        let allowed = "an IP address of this machine, localhost, or 0.0.0.0 for all";
        found.refuse(&at, ConfigFault::InvalidValue, format!("{} is no address", shown(host)), allowed);
        return None;
    };
    // Within bounds, or refused.
    Some(SocketAddr::new(ip, port.unwrap_or(METRICS_PORT) as u16))
}
