//! Waiting until a stream has committed a position on a target of this host, whichever agent runs
//! the stream: by looking at `_vt` there, often.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::target::vt_tables::StreamId;
use crate::error::AgentError;
use crate::flavor::gtid;
use crate::proto::v1::{WaitForStreamRequest, WaitForStreamResponse};
use crate::tablet::Tablet;

/// How often `_vt` is looked at. Waits are short and rare (a switch of writes), and what they
/// cost is one row by its key over a socket.
const POLL: Duration = Duration::from_millis(2);

/// Waits as the request says.
///
/// # Errors
/// A position that is none; a server that cannot be asked.
pub async fn wait_for_stream(
    tablet: &Tablet,
    request: &WaitForStreamRequest,
) -> Result<WaitForStreamResponse, AgentError> {
    if !gtid::is_position(&request.position) {
        return Err(AgentError::Refused(format!(
            "`{}` is not a position",
            request.position
        )));
    }
    let id = StreamId {
        workflow: format!("{}.{}", request.keyspace, request.workflow),
        source_shard: request.from_shard.clone(),
        epoch: request.epoch,
    };
    let query = format!(
        "SELECT CONVERT(pos USING utf8mb4) AS pos, CONVERT(state USING utf8mb4) AS state, \
         CONVERT(message USING utf8mb4) AS message, parked FROM _vt.vreplication WHERE {}",
        id.condition()
    );
    let exists = "SELECT table_name FROM information_schema.tables \
                  WHERE table_schema = '_vt' AND table_name = 'vreplication'";
    let give_up = Instant::now() + Duration::from_millis(request.timeout_ms);
    let mut sql = tablet.connect(None).await?;
    let mut has_table = false;
    loop {
        has_table = has_table
            || !sql
                .column("looking for _vt.vreplication", exists)
                .await?
                .is_empty();
        let mut answer = WaitForStreamResponse::default();
        if has_table {
            let rows = sql.rows("reading _vt.vreplication", &query).await?;
            if let Some(mut row) = rows.into_iter().next() {
                let mut take = |name| row.remove(name).flatten().unwrap_or_default();
                answer.position = take("pos");
                answer.state = take("state");
                answer.message = take("message");
                let parked = take("parked");
                answer.reached =
                    gtid::contains(&answer.position, &request.position) && parked == "0";
                if answer.message.is_empty() && parked != "0" {
                    answer.message = format!(
                        "{parked} rows wait for rows of other shards to leave their places"
                    );
                }
            }
        }
        if answer.reached || Instant::now() >= give_up {
            sql.close().await;
            return Ok(answer);
        }
        sleep(POLL).await;
    }
}
