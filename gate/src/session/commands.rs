//! The client's commands, one after the other.

use super::{Diagnostics, Session};
use crate::exec::{Failure, Request};
use crate::plan::{Target, split_statements};
use crate::protocol::SqlError;
use crate::protocol::constants::{caps, com};
use crate::protocol::framing::{Message, put_with};
use crate::protocol::handshake::{ClientHello, Handshake};
use crate::protocol::messages::{OkPacket, put_rows_end};

impl Session {
    /// Carries out one command; `false`: the session ends.
    pub(super) async fn command(&mut self, message: &Message) -> bool {
        let payload = message.payload();
        let Some((&command, body)) = payload.split_first() else {
            let error = SqlError::malformed("a command is empty");
            let _ = self.put_sql_error(&error).await;
            return false;
        };
        let result = match command {
            com::QUERY => return self.com_query(message).await,
            com::STMT_EXECUTE => return self.com_execute(payload).await,
            com::QUIT => return false,
            com::PING => self.put_ok(false).await.map_err(Failure::Client),
            com::INIT_DB => self.com_init_db(body).await,
            com::STMT_PREPARE => self.com_prepare(body).await,
            com::STMT_SEND_LONG_DATA => return self.com_long_data(body),
            com::STMT_CLOSE => {
                if let Some(id) = body.first_chunk::<4>() {
                    self.statements.remove(&u32::from_le_bytes(*id));
                }
                return true;
            }
            com::STMT_RESET => self.com_stmt_reset(body).await,
            com::STMT_FETCH => Err(SqlError::unsupported("cursors").into()),
            com::SET_OPTION => self.com_set_option(body).await,
            com::RESET_CONNECTION => {
                self.reset().await;
                self.put_ok(false).await.map_err(Failure::Client)
            }
            com::CHANGE_USER => return self.com_change_user(payload).await,
            com::STATISTICS => self.com_statistics().await,
            com::FIELD_LIST => self.com_field_list().await,
            com::PROCESS_KILL => match body.first_chunk::<4>() {
                Some(id) => {
                    let id = u64::from(u32::from_le_bytes(*id));
                    self.kill(id, false, false).await
                }
                None => Err(SqlError::malformed("COM_PROCESS_KILL").into()),
            },
            _ => Err(SqlError::new(1047, b"08S01", "Unknown command").into()),
        };
        self.report(result).await
    }

    /// Tells the client what failed; `false`: the session ends.
    pub(super) async fn report(&mut self, result: Result<(), Failure>) -> bool {
        let (error, goes_on) = match result {
            Ok(()) => return true,
            Err(Failure::Client(error)) => {
                tracing::debug!(session = self.handle.id, %error, "the client is gone");
                return false;
            }
            Err(Failure::Sql(error) | Failure::Again(error, _)) => (error, true),
            Err(Failure::Fatal(error)) => (error, false),
        };
        self.errors(error.code);
        self.values.row_count = -1;
        if let Diagnostics::None = self.diagnostics {
            self.diagnostics.error(&error);
        }
        self.put_sql_error(&error).await.is_ok() && goes_on
    }

    async fn com_query(&mut self, message: &Message) -> bool {
        let sql = &message.payload()[1..];
        let several = self.has(caps::MULTI_STATEMENTS) && sql.contains(&b';');
        if several {
            let parts = split_statements(sql, self.modes);
            if parts.len() > 1 {
                return self.several(&parts).await;
            }
        }
        let request = Request {
            sql,
            message: Some(message),
            prepared: None,
            more: false,
        };
        let result = self.statement(&request, &[]).await;
        self.report(result).await
    }

    /// Statements of one message, until one fails.
    async fn several(&mut self, parts: &[&[u8]]) -> bool {
        for (i, sql) in parts.iter().enumerate() {
            let request = Request {
                sql,
                message: None,
                prepared: None,
                more: i + 1 < parts.len(),
            };
            let result = self.statement(&request, &[]).await;
            let failed = result.is_err() || self.last_failed;
            if !self.report(result).await {
                return false;
            }
            if failed {
                return true;
            }
        }
        true
    }

    async fn com_init_db(&mut self, body: &[u8]) -> Result<(), Failure> {
        let name = String::from_utf8_lossy(body).into_owned();
        self.use_database(&name)?;
        self.put_ok(false).await.map_err(Failure::Client)
    }

    async fn com_set_option(&mut self, body: &[u8]) -> Result<(), Failure> {
        match body {
            [0, 0] => self.capabilities |= caps::MULTI_STATEMENTS,
            [1, 0] => self.capabilities &= !caps::MULTI_STATEMENTS,
            _ => return Err(SqlError::new(1047, b"08S01", "Unknown command").into()),
        }
        let ok = OkPacket {
            status: self.status(false),
            ..OkPacket::default()
        };
        self.out.clear();
        put_rows_end(&mut self.out, &mut self.sequence, self.capabilities, &ok);
        self.flush().await.map_err(Failure::Client)
    }

    async fn com_statistics(&mut self) -> Result<(), Failure> {
        let text = format!(
            "Uptime: {}  Threads: {}  Questions: {}",
            self.shared.started.elapsed().as_secs(),
            self.shared.sessions.count(),
            self.shared.metrics.statements_now()
        );
        self.out.clear();
        put_with(&mut self.out, &mut self.sequence, |out| {
            out.extend_from_slice(text.as_bytes());
        });
        self.flush().await.map_err(Failure::Client)
    }

    /// Deprecated by all servers; clients use it to complete column names and do without.
    async fn com_field_list(&mut self) -> Result<(), Failure> {
        let ok = OkPacket {
            status: self.status(false),
            ..OkPacket::default()
        };
        self.out.clear();
        // Always in the old form.
        put_rows_end(&mut self.out, &mut self.sequence, 0, &ok);
        self.flush().await.map_err(Failure::Client)
    }

    /// Everything as after the handshake.
    async fn reset(&mut self) {
        self.clear_diagnostics();
        self.roll_back_all().await;
        for held in std::mem::take(&mut self.held) {
            self.give_back_clean(held);
        }
        self.handle.activity.clear();
        self.shared.topology.activity_changed();
        self.locked_on = None;
        self.reserved = false;
        self.settings = crate::exec::set::none();
        self.modes = crate::plan::SqlModes::default();
        self.autocommit = true;
        self.next_transaction.clear();
        self.statements.clear();
        self.values = crate::plan::SessionValues::default();
    }

    async fn com_change_user(&mut self, payload: &[u8]) -> bool {
        let Ok(hello) = ClientHello::parse_change_user(payload, self.capabilities) else {
            let error = SqlError::malformed("COM_CHANGE_USER");
            let _ = self.put_sql_error(&error).await;
            return false;
        };
        self.reset().await;
        let shared = self.shared.clone();
        let users = |name: &str| shared.verifiers(name);
        let handshake = Handshake {
            connection_id: self.handle.id,
            server_version: "",
            tls: None,
            peer: &self.handle.peer.clone(),
            users: &users,
        };
        let proven = handshake
            .authenticate(&mut self.stream, &mut self.sequence, &hello, self.nonce)
            .await;
        match proven {
            Ok(nonce) => self.nonce = nonce,
            Err(error) => {
                tracing::info!(session = self.handle.id, %error, "a change of user was refused");
                return false;
            }
        }
        self.handle.set_user(&hello.user, hello.program.clone());
        if hello.collation != 0 {
            self.collation = hello.collation;
        }
        self.target = Target::default();
        self.database = None;
        let used = match &hello.database {
            Some(name) => self.use_database(name),
            None => Ok(()),
        };
        match used {
            Ok(()) => self.put_ok(false).await.is_ok(),
            Err(error) => {
                let _ = self.put_sql_error(&error).await;
                false
            }
        }
    }
}
