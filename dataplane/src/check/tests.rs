use super::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// A server that answers its connections with these heads and bodies in turn, the last one for ever.
async fn server(answers: &'static [&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut answers = answers.iter();
        let mut answer = answers.next().unwrap();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _read = stream.read(&mut [0; 1024]).await;
            let _sent = stream.write_all(answer.as_bytes()).await;
            answer = answers.next().unwrap_or(answer);
        }
    });
    format!("http://{address}/readyz")
}

async fn checked(timeout: u64, expected: &[String]) -> (bool, String) {
    let expected = expected.iter().map(|e| e.parse().unwrap()).collect();
    let args = Args { timeout: Duration::from_secs(timeout), log_json: false, expected };
    let mut out = Vec::new();
    let outcome = check(&args, &mut out).await;
    (outcome.is_ok(), String::from_utf8(out).unwrap())
}

const OK: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const NO_KEY: &str = "HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const UNREADY: &str = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 21\r\n\r\nRedis:\n  connecting\n\n";

#[tokio::test]
async fn asks_until_all_answer_as_expected() {
    let (late, strict) = (server(&[UNREADY, OK]).await, server(&[NO_KEY]).await);
    let (ok, said) = checked(30, &[format!("200={late}"), format!("401={strict}")]).await;
    assert!(ok, "{said}");
    assert_eq!(said, format!("ok      200 {late}\nok      401 {strict}\n"));
}

#[tokio::test]
async fn tells_what_was_said_last() {
    let unready = server(&[UNREADY]).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (ok, said) = checked(1, &[format!("200={unready}"), format!("200=http://{nobody}/")]).await;
    assert!(!ok);
    assert!(said.contains(&format!("FAILED  200 {unready}: 503: Redis: connecting")), "{said}");
    assert!(said.to_lowercase().contains("refused"), "{said}");
}

#[test]
fn refuses_what_it_cannot_ask() {
    for (text, why) in [
        ("http://a/b", "is no STATUS=URL"),
        ("abc=http://a/b", "is no HTTP status"),
        ("200=https://a/b", "is no http:// address"),
        ("200=/healthz", "is no http:// address"),
    ] {
        let error = text.parse::<Expected>().map(|_| ()).unwrap_err();
        assert!(format!("{error:#}").contains(why), "{text}: {error:#}");
    }
    let expected: Expected = "401=http://a:1/b=c".parse().unwrap();
    assert_eq!(expected.to_string(), "401 http://a:1/b=c");
}
