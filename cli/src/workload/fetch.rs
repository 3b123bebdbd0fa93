//! Asks a gate's HTTP port what it counted. A GET over HTTP/1.0 that is answered and closed: no more is
//! needed of HTTP.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use vtplan_gate::http::workload::{FORMAT, Page};

/// How long a gate may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest answer that is read, bytes: 5,000 kinds of 8 KiB, escaped.
const MAX_ANSWER: u64 = 128 << 20;

/// What the gate at `http://HOST:PORT` counted, or why it does not say.
pub async fn page(url: &str) -> Result<Page, String> {
    let address = url.strip_prefix("http://").unwrap_or(url);
    let answer = timeout(PATIENCE, get(address, "/debug/workload")).await;
    let body = match answer {
        Ok(answer) => answer.map_err(|e| format!("{address}: {e}"))?,
        Err(_) => {
            return Err(format!(
                "{address}: no answer within {} s",
                PATIENCE.as_secs()
            ));
        }
    };
    let page: Page = serde_json::from_slice(&body)
        .map_err(|e| format!("{address}: its answer cannot be read: {e}"))?;
    if page.format != FORMAT {
        return Err(format!(
            "{address}: its answer's format is {}, this vtplan knows {FORMAT}",
            page.format
        ));
    }
    Ok(page)
}

async fn get(address: &str, path: &str) -> Result<Vec<u8>, String> {
    let mut stream = TcpStream::connect(address)
        .await
        .map_err(|e| e.to_string())?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let written = stream.write_all(request.as_bytes()).await;
    written.map_err(|e| e.to_string())?;
    let mut answer = Vec::new();
    let read = stream.take(MAX_ANSWER).read_to_end(&mut answer).await;
    read.map_err(|e| e.to_string())?;
    body(answer)
}

/// The body of an answer of HTTP/1.0, which ends with the connection.
fn body(mut answer: Vec<u8>) -> Result<Vec<u8>, String> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n");
    let end = end.ok_or("it does not speak HTTP")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.lines().next().unwrap_or_default();
    match status.split_whitespace().nth(1) {
        Some("200") => {}
        Some("404") => return Err("this gate's version does not count statements".to_owned()),
        _ => return Err(format!("it answers `{}`", status.escape_debug())),
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let named = name.eq_ignore_ascii_case("content-length");
        named.then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    answer.drain(..end + 4);
    if length.is_some_and(|length| length != answer.len()) {
        return Err("its answer is cut off".to_owned());
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_answer_is_taken() {
        let of = |text: &str| body(text.as_bytes().to_vec()).map(|b| b.len());
        assert_eq!(of("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"), Ok(2));
        assert_eq!(of("HTTP/1.1 200 OK\r\n\r\n{}"), Ok(2));
        for (text, why) in [
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 9\r\n\r\n{}",
                "its answer is cut off",
            ),
            (
                "HTTP/1.0 404 Not Found\r\n\r\n",
                "this gate's version does not count statements",
            ),
            (
                "HTTP/1.0 500 Oops\r\n\r\n",
                "it answers `HTTP/1.0 500 Oops`",
            ),
            ("J\0\0 11.4 MariaDB", "it does not speak HTTP"),
        ] {
            assert_eq!(of(text), Err(why.to_owned()));
        }
    }
}
