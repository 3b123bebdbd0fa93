//! A gate in front of one server that runs already, for benchmarks:
//! `bench_gate MYSQL_PORT HTTP_PORT SERVER_PORT SERVER_ID SOCKET USER PASSWORD KEYSPACE`.
//! SOCKET is `TABLETS_DIR/zone1-0000000100/mysql.sock`; user `app` with password `app` may log in.

use std::error::Error;
use std::sync::Arc;

use vtplan_gate::{GateConfig, run_gate};
use vtplan_state::model::keys::Keys;
use vtplan_state::model::{
    CellName, Credentials, FlavorKind, GateName, HostName, HostRecord, KeyspaceName,
    KeyspaceRecord, ShardName, ShardRecord, TabletAlias, TabletRecord, TabletServer, TabletType,
    UserRecord, VSchemaKeyspace,
};
use vtplan_state::store::{Op, OpenMode, Store, Txn, open};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [mysql, http, server, id, socket, user, password, keyspace] = args.as_slice() else {
        return Err("eight arguments are needed: see the source".into());
    };
    let folder = std::env::temp_dir().join(format!("vtplan-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let url = format!("sqlite:{}", folder.join("state.db").display());
    let store: Arc<dyn Store> = open(&url, OpenMode::Create).await?;
    let (keys, cell) = (Keys::new("bench"), CellName::new("zone1")?);
    let keyspace = KeyspaceName::new(keyspace.as_str())?;
    let alias = TabletAlias::new(cell.clone(), id.parse()?);
    let host = HostName::new("bench")?;
    let tablets_dir = std::path::Path::new(socket)
        .ancestors()
        .nth(2)
        .ok_or("SOCKET has no such folder")?;
    let txn = Txn::new()
        .then(Op::put(
            keys.credentials(),
            &Credentials {
                admin_user: String::new(),
                admin_password: String::new(),
                gate_user: user.clone(),
                gate_password: password.clone(),
                repl_user: String::new(),
                repl_password: String::new(),
                agent_token: String::new(),
            },
        ))
        .then(Op::put(
            keys.host(&host),
            &HostRecord {
                name: host.clone(),
                cell: cell.clone(),
                address: "127.0.0.1".to_owned(),
                agent_url: "http://127.0.0.1:1".to_owned(),
                capacity: 1,
                first_mysql_port: 1,
                flavor: FlavorKind::MariaDb,
                server_version: "10.11.0".to_owned(),
                version: String::new(),
                started_at: 0,
                tablets_dir: tablets_dir.display().to_string(),
            },
        ))
        .then(Op::put(
            keys.keyspace(&keyspace),
            &KeyspaceRecord {
                name: keyspace.clone(),
                durability: Default::default(),
            },
        ))
        .then(Op::put(
            keys.vschema(&keyspace),
            &VSchemaKeyspace::default(),
        ))
        .then(Op::put(
            keys.tablet(&alias),
            &TabletRecord {
                alias: alias.clone(),
                keyspace: keyspace.clone(),
                shard: ShardName::unsharded(),
                tablet_type: TabletType::Replica,
                host,
                mysql_port: server.parse()?,
                flavor: FlavorKind::MariaDb,
                server: TabletServer::Made,
            },
        ))
        .then(Op::put(
            keys.shard(&keyspace, &ShardName::unsharded()),
            &ShardRecord {
                keyspace: keyspace.clone(),
                shard: ShardName::unsharded(),
                primary: Some(alias),
                term: 1,
                serving: true,
                serving_reads: Default::default(),
                fenced: false,
            },
        ))
        .then(Op::put(
            keys.user("app"),
            &UserRecord::from_password("app", "app"),
        ));
    store.txn(txn).await?;
    let mut config = GateConfig::new("bench", GateName::new("bench")?, cell);
    config.mysql_port = Some(mysql.parse()?);
    config.http_port = http.parse()?;
    run_gate(config, store, std::future::pending()).await?;
    Ok(())
}
