//! The two text forms of metrics, and which one a scraper gets.

use std::borrow::Cow;

/// A text form of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exposition {
    /// OpenMetrics 1.0, for scrapers that ask for it.
    OpenMetrics,
    /// Prometheus's older text form 0.0.4, for everybody else.
    Plain,
}

impl Exposition {
    /// The form for a request with this `Accept` header.
    pub(super) fn for_accept(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Plain }
    }

    /// The `Content-Type` of the answer.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// `open_metrics` in this form.
    ///
    /// The forms differ where it matters to a parser in one thing: OpenMetrics describes a counter by its
    /// name without `_total`, the older form by the name of its samples. Left as it is, every counter would
    /// arrive without type and help.
    pub(super) fn convert(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Plain => to_plain(&open_metrics),
        }
    }
}

fn to_plain(open_metrics: &str) -> String {
    let mut plain = String::with_capacity(open_metrics.len() + 256);
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        let line = match line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            // The writer puts a metric's type on the line after its help.
            Some((name, help)) if lines.peek() == Some(&format!("# TYPE {name} counter").as_str()) => {
                lines.next();
                Cow::Owned(format!("# HELP {name}_total {help}\n# TYPE {name}_total counter"))
            }
            _ if line == "# EOF" || line.starts_with("# UNIT ") => continue,
            _ => Cow::Borrowed(line),
        };
        plain.push_str(&line);
        plain.push('\n');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_METRICS: &str = "# HELP a_b A.\n# TYPE a_b counter\na_b_total{q=\"x\"} 1\n\
        # HELP c_seconds C.\n# TYPE c_seconds gauge\n# UNIT c_seconds seconds\nc_seconds 0.5\n# EOF\n";

    #[test]
    fn the_older_form_describes_counters_by_their_sample_name() {
        assert_eq!(
            Exposition::Plain.convert(OPEN_METRICS.to_owned()),
            "# HELP a_b_total A.\n# TYPE a_b_total counter\na_b_total{q=\"x\"} 1\n\
             # HELP c_seconds C.\n# TYPE c_seconds gauge\nc_seconds 0.5\n"
        );
        assert_eq!(Exposition::OpenMetrics.convert(OPEN_METRICS.to_owned()), OPEN_METRICS);
    }

    #[test]
    fn a_scraper_gets_open_metrics_only_when_it_asks() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5";
        assert_eq!(Exposition::for_accept(prometheus), Exposition::OpenMetrics);
        assert_eq!(Exposition::for_accept("*/*"), Exposition::Plain);
    }
}
