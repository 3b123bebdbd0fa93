//! Bytes that no client should send, and clients that should not get in.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;

use super::lab::{Flavor, Lab, PASSWORD, on_each};

fn code(error: &mysql_async::Error) -> u16 {
    match error {
        mysql_async::Error::Server(error) => error.code,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn wrong_credentials_and_databases_are_refused_as_mysql_does() {
    on_each("wrong_credentials_are_refused", async |lab| {
        let refused = [
            (lab.options("commerce").pass(Some("wrong")), 1045),
            (lab.options("commerce").user(Some("nobody")), 1045),
            (lab.options("commerce").pass(None::<&str>), 1045),
            (lab.options("commerce").user(Some("empty")), 1045),
            (lab.options("nowhere"), 1049),
            (lab.options("commerce/-80"), 1049),
        ];
        for (options, expected) in refused {
            let error = mysql_async::Conn::new(options).await.unwrap_err();
            assert_eq!(code(&error), expected, "{error}");
        }
        let options = lab
            .options("commerce")
            .user(Some("empty"))
            .pass(None::<&str>);
        let mut conn = mysql_async::Conn::new(options).await.unwrap();
        conn.ping().await.unwrap();
        conn.disconnect().await.unwrap();
    })
    .await;
}

fn read_packet(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).ok()?;
    let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).ok()?;
    Some(payload)
}

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_le_bytes()[..3].to_vec();
    out.push(sequence);
    out.extend_from_slice(payload);
    out
}

fn greeted(lab: &Lab) -> TcpStream {
    let mut stream = TcpStream::connect(lab.mysql).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    assert_eq!(read_packet(&mut stream).unwrap()[0], 10);
    stream
}

/// A session of the user without a password, on raw bytes.
fn logged_in(lab: &Lab) -> TcpStream {
    let mut stream = greeted(lab);
    // PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH.
    let mut hello = 0x0008_8200u32.to_le_bytes().to_vec();
    hello.extend_from_slice(&[0, 0, 0, 1, 45]);
    hello.extend_from_slice(&[0; 23]);
    hello.extend_from_slice(b"empty\0\0mysql_native_password\0");
    stream.write_all(&packet(1, &hello)).unwrap();
    assert_eq!(read_packet(&mut stream).unwrap()[0], 0);
    stream
}

fn error_code(payload: &[u8]) -> u16 {
    assert_eq!(payload[0], 0xff, "{payload:?}");
    u16::from_le_bytes([payload[1], payload[2]])
}

#[tokio::test]
async fn malformed_packets_get_an_error_and_harm_nobody() {
    on_each("malformed_packets", async |lab| {
        // The handshake: truncated, out of order, oversized, nonsense.
        for (bytes, expected) in [
            (packet(1, &[0; 10]), 1043),
            (packet(7, &[0; 40]), 1156),
            (packet(1, &[0xff; 40]), 1043),
            (vec![0xff, 0xff, 0xff, 1], 1043),
        ] {
            let mut stream = greeted(&lab);
            stream.write_all(&bytes).unwrap();
            let answer = read_packet(&mut stream).unwrap();
            assert_eq!(error_code(&answer), expected, "{bytes:?}");
            assert_eq!(read_packet(&mut stream), None);
        }
        // Commands.
        let too_large: Vec<u8> = (0..4)
            .flat_map(|sequence| {
                let mut part = vec![0xff, 0xff, 0xff, sequence];
                part.resize(4 + 0xff_ff_ff, b'x');
                part
            })
            .collect();
        for (bytes, expected) in [
            (packet(5, b"\x03SELECT 1"), 1156),
            (packet(0, b""), 1835),
            (packet(0, b"\xee"), 1047),
            (packet(0, b"\x17\x09\0\0\0"), 1243),
            (packet(0, b"\x1a\x01"), 1243),
            (packet(0, b"\x1c\x01\0\0\0\x01\0\0\0"), 1235),
            (too_large, 1153),
        ] {
            let mut stream = logged_in(&lab);
            // The gate may stop reading before all of it is written.
            let _ = stream.write_all(&bytes);
            if let Some(answer) = read_packet(&mut stream) {
                assert_eq!(error_code(&answer), expected);
            } else {
                assert_eq!(expected, 1153, "only a flood may end without a word");
            }
        }
        // An execute whose parameters end too early.
        let mut stream = logged_in(&lab);
        stream.write_all(&packet(0, b"\x02commerce")).unwrap();
        assert_eq!(read_packet(&mut stream).unwrap()[0], 0);
        stream.write_all(&packet(0, b"\x16SELECT ?")).unwrap();
        let ok = read_packet(&mut stream).unwrap();
        assert_eq!(ok[0], 0);
        for _ in 0..4 {
            read_packet(&mut stream).unwrap();
        }
        let mut execute = vec![0x17];
        execute.extend_from_slice(&ok[1..5]);
        execute.extend_from_slice(&[0, 1, 0, 0, 0, 0, 1, 8, 0, 1, 2]);
        stream.write_all(&packet(0, &execute)).unwrap();
        assert_eq!(error_code(&read_packet(&mut stream).unwrap()), 1835);
        // The same session, and others, go on.
        stream.write_all(&packet(0, b"\x0e")).unwrap();
        assert_eq!(read_packet(&mut stream).unwrap()[0], 0);
        let mut client = lab.client("commerce").await;
        let one: Option<i32> = client.query_first("SELECT 1").await.unwrap();
        assert_eq!(one, Some(1));
    })
    .await;
}

#[tokio::test]
async fn a_user_can_be_changed_and_a_wrong_one_cannot() {
    on_each("a_user_can_be_changed", async |lab| {
        let mut client = lab.client("commerce").await;
        client.query_drop("SET @x = 1").await.unwrap();
        let same = mysql_async::ChangeUserOpts::new().with_pass(Some(PASSWORD.to_owned()));
        client.change_user(same).await.unwrap();
        let x: Option<Option<i64>> = client.query_first("SELECT @x").await.unwrap();
        assert_eq!(x, Some(None));
        let wrong = mysql_async::ChangeUserOpts::new().with_pass(Some("wrong".to_owned()));
        let error = client.change_user(wrong).await.unwrap_err();
        assert_eq!(code(&error), 1045);
    })
    .await;
}

#[tokio::test]
async fn http_tells_health_metrics_and_sessions_without_literals() {
    on_each("http_tells", async |lab| {
        let get = |path: &str| {
            let mut stream = TcpStream::connect(lab.http).unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        };
        let mut client = lab.client("commerce").await;
        client
            .query_drop("SELECT SLEEP(0.05), 'very secret'")
            .await
            .unwrap();
        assert!(get("/healthz").starts_with("HTTP/1.1 200"));
        let metrics = get("/metrics");
        for name in [
            "vtplan_gate_statements_total{plan=\"single\"}",
            "vtplan_gate_sessions ",
            "vtplan_gate_statement_duration_seconds_bucket",
            "vtplan_gate_pool_open{tablet=\"zone1-0000000100\"}",
        ] {
            assert!(metrics.contains(name), "{name} is not in {metrics}");
        }
        let status = get("/debug/status");
        assert!(status.contains("\"slowest\"") && status.contains("\"sessions\""));
        assert!(!status.contains("very secret"), "{status}");
        assert!(matches!(lab.flavor, Flavor::MariaDb | Flavor::MySql));
    })
    .await;
}
