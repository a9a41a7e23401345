//! `tollgate-dataplane check STATUS=URL…`: asks until every address answers with the status that is expected of it. The pod of
//! `helm test` runs this, so that a test pulls no image but ours.

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use std::{io::Write, str::FromStr, time::Duration};
use tokio::time::{Instant, sleep, timeout};

/// Ask until every address answers as expected; exit code 1 when one does not in time.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Seconds after which no address is asked again.
    #[arg(long, default_value = "60", value_parser = seconds, value_name = "SECONDS")]
    pub timeout: Duration,
    /// Log as JSON lines.
    #[arg(long, env = "TOLLGATE_LOG_JSON")]
    pub log_json: bool,
    /// An http:// address and the status that it must answer with, such as 200=http://tollgate:9090/readyz.
    #[arg(required = true, value_name = "STATUS=URL")]
    pub expected: Vec<Expected>,
}

/// An address and how it must answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    status: StatusCode,
    url: Uri,
}

/// What an address said last, in words.
type Said = String;

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// The pause between two questions.
const PAUSE: Duration = Duration::from_millis(500);
/// How much of an answer is read, in bytes: `/readyz` says in a few lines what is missing.
const MOST: usize = 4096;

/// Asks, a line of output for each address.
///
/// # Errors
/// Names each address that did not answer as expected, and what it said last.
pub fn run(args: Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(check(&args, &mut std::io::stdout()))
}

async fn check(args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let deadline = Instant::now() + args.timeout;
    let mut failed = 0_usize;
    for expected in &args.expected {
        match until(&client, expected, deadline).await {
            Ok(()) => writeln!(out, "ok      {expected}")?,
            Err(said) => {
                failed += 1;
                writeln!(out, "FAILED  {expected}: {said}")?;
            }
        }
    }
    ensure!(failed == 0, "{failed} of {} did not answer as expected", args.expected.len());
    Ok(())
}

/// Asks one address until it answers as expected, once at least; after the deadline, what it said last.
async fn until(
    client: &Client<HttpConnector, Empty<Bytes>>,
    expected: &Expected,
    deadline: Instant,
) -> Result<(), Said> {
    loop {
        let said = match ask(client, expected).await {
            Ok(()) => return Ok(()),
            Err(said) => said,
        };
        if Instant::now() + PAUSE >= deadline {
            return Err(said);
        }
        sleep(PAUSE).await;
    }
}

async fn ask(client: &Client<HttpConnector, Empty<Bytes>>, expected: &Expected) -> Result<(), Said> {
    let request =
        Request::get(expected.url.clone()).header(header::USER_AGENT, "tollgate-check").body(Empty::new());
    let request = request.map_err(|error| error.to_string())?;
    let answer = async {
        let (head, body) = client.request(request).await.map_err(|e| chain(&e))?.into_parts();
        if head.status == expected.status {
            return Ok(());
        }
        let body = Limited::new(body, MOST).collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        let words = String::from_utf8_lossy(&body);
        Err(format!("{}: {}", head.status.as_u16(), words.split_whitespace().collect::<Vec<_>>().join(" ")))
    };
    timeout(ANSWER, answer).await.unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER.as_secs())))
}

/// An error and what caused it: hyper's own words say only that it could not connect.
fn chain(error: &dyn std::error::Error) -> Said {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).map_err(|_| format!("{text:?} is no whole number of seconds"))
}

// === impl Expected ===

impl FromStr for Expected {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let Some((status, url)) = text.split_once('=') else {
            bail!("{text:?} is no STATUS=URL, such as 200=http://tollgate:9090/readyz");
        };
        let status = status.parse().with_context(|| format!("{status:?} is no HTTP status"))?;
        let url: Uri = url.parse().with_context(|| format!("{url:?} is no address"))?;
        ensure!(url.scheme_str() == Some("http") && url.host().is_some(), "{url} is no http:// address");
        Ok(Self { status, url })
    }
}

impl std::fmt::Display for Expected {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {}", self.status.as_u16(), self.url)
    }
}

#[cfg(test)]
mod tests;
