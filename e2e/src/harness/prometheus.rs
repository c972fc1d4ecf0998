//! Questions to a Prometheus, over plain HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// One answer: labels and value.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Labels, as Prometheus returns them.
    pub labels: Value,
    /// The value.
    pub value: f64,
}

impl Sample {
    /// A label's value; empty where it is not set.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

/// Asks `base` (`http://host:port`) for the present value of an expression.
pub fn query(base: &str, expression: &str) -> Result<Vec<Sample>> {
    let body = get(base, &format!("/api/v1/query?query={}", escape(expression)))?;
    let answer: Value =
        serde_json::from_str(&body).with_context(|| format!("{base} did not answer with JSON: {body}"))?;
    let Some(rows) = answer.pointer("/data/result").and_then(Value::as_array) else {
        bail!("{base} refuses {expression:?}: {body}");
    };
    let sample = |row: &Value| {
        let value = row.pointer("/value/1")?.as_str()?.parse().ok()?;
        Some(Sample { labels: row.get("metric")?.clone(), value })
    };
    Ok(rows.iter().filter_map(sample).collect())
}

/// One request of the oldest kind: the connection ends with the answer.
pub fn get(base: &str, path: &str) -> Result<String> {
    let address = base.strip_prefix("http://").with_context(|| format!("{base} is no http:// address"))?;
    let mut stream = TcpStream::connect(address).with_context(|| format!("cannot reach {base}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).with_context(|| format!("{base}{path} does not answer"))?;
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("{base} does not speak HTTP"))?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if !(status == "200" || path.starts_with("/api/v1/query") && body.starts_with('{')) {
        bail!("{base}{path} answers {status}: {body}");
    }
    Ok(body.to_owned())
}

/// Percent encoding of everything but letters, digits and `-._~`.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            escaped.push_str(&crate::deps::hex(&[byte]).to_uppercase());
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_travels_in_an_address() {
        assert_eq!(escape("up{a=\"b c\"} > 1"), "up%7Ba%3D%22b%20c%22%7D%20%3E%201");
    }
}
