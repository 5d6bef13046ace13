//! A server process that is killed, and one whose disk refuses to take more.
//!
//! The child is this test binary run again for one ignored test, which starts a server and says where it listens.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use qdrant_client::Qdrant;
use qdrant_client::qdrant::{
    Condition, CreateCollectionBuilder, DeletePointsBuilder, FieldType, Filter, PointsIdsList, SetPayloadPointsBuilder,
    UpsertPointsBuilder,
};
use qdrant_embedded::Server;
use serde_json::json;
use tonic::Code;

use crate::support::settings_in;
use crate::support::{client_of, code, count, index, insert, payload, point, stored};

const FOLDER: &str = "QDRANT_TEST_CHILD_FOLDER";
const NAME: &str = "points";
/// Longer than anything here should take.
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the body of a child process, run by the other tests"]
async fn child_server() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = PathBuf::from(folder);
    let server = Server::start(&settings_in(&folder.join("data"))).await.expect("a server");
    let announced = folder.join("url.new");
    fs::write(&announced, server.url()).unwrap();
    fs::rename(announced, folder.join("url")).unwrap();
    std::future::pending::<()>().await;
}

/// A server in a process of its own, killed when dropped.
struct ServerProcess {
    process: Child,
    client: Qdrant,
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("ended");
    }
}

impl ServerProcess {
    /// Starts the child through `shell`, a line of sh that ends with running its arguments.
    async fn start(folder: &Path, shell: &str) -> Self {
        let announced = folder.join("url");
        drop(fs::remove_file(&announced));
        let mut process = Command::new("sh")
            .args(["-c", shell, "sh"])
            .arg(std::env::current_exe().expect("this binary"))
            .args(["--ignored", "--exact", "crash::child_server"])
            .env(FOLDER, folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a child");
        let began = Instant::now();
        let url = loop {
            if let Ok(url) = fs::read_to_string(&announced) {
                break url;
            }
            if let Some(status) = process.try_wait().expect("its state") {
                panic!("the child ended: {status}");
            }
            assert!(began.elapsed() < PATIENCE, "the child does not say where it listens");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        Self { process, client: client_of(&url) }
    }
}

/// What each of several writers was told is done.
#[derive(Default)]
struct Acknowledged {
    inserted: AtomicU64,
    changed: AtomicU64,
    deleted: AtomicU64,
}

/// Inserts, changes and deletes points of its own range until the server is gone, noting what was acknowledged.
async fn work(client: Qdrant, base: u64, done: Arc<Acknowledged>) {
    for step in 0..10_000 {
        let id = base + step;
        let upsert = UpsertPointsBuilder::new(NAME, vec![point(id, json!({"state": "new", "n": id}))]).wait(true);
        if client.upsert_points(upsert).await.is_err() {
            return;
        }
        done.inserted.store(step + 1, Ordering::Relaxed);
        let new = Filter::must([Condition::has_id([id]), Condition::matches("state", "new".to_owned())]);
        let patch = payload(json!({"state": "done", "n": null}));
        let set = SetPayloadPointsBuilder::new(NAME, patch).points_selector(new).wait(true);
        if client.set_payload(set).await.is_err() {
            return;
        }
        done.changed.store(step + 1, Ordering::Relaxed);
        if step % 3 == 0 {
            let only = PointsIdsList { ids: vec![id.into()] };
            if client.delete_points(DeletePointsBuilder::new(NAME).points(only).wait(true)).await.is_err() {
                return;
            }
            done.deleted.store(step + 1, Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..5_u64 {
        let server = ServerProcess::start(folder.path(), "exec \"$@\"").await;
        let client = server.client.clone();
        if round == 0 {
            client.create_collection(CreateCollectionBuilder::new(NAME)).await.unwrap();
            index(&client, NAME, "state", FieldType::Keyword).await;
            index(&client, NAME, "n", FieldType::Integer).await;
        }
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (base, done) = ((round * 10 + writer) * 100_000, Arc::<Acknowledged>::default());
                let task = tokio::spawn(work(client.clone(), base, Arc::clone(&done)));
                (base, done, task)
            })
            .collect();
        // Each round ends at another point of the work: after more and more acknowledged steps.
        let began = Instant::now();
        while writers.iter().map(|(_, done, _)| done.changed.load(Ordering::Relaxed)).sum::<u64>() < 10 + round * 37 {
            assert!(began.elapsed() < PATIENCE, "too little is acknowledged");
            tokio::task::yield_now().await;
        }
        drop(server);
        let server = ServerProcess::start(folder.path(), "exec \"$@\"").await;
        for (base, done, task) in writers {
            task.await.unwrap();
            let [inserted, changed, deleted] =
                [&done.inserted, &done.changed, &done.deleted].map(|count| count.load(Ordering::Relaxed));
            for step in 0..inserted {
                let found = stored(&server.client, NAME, base + step).await;
                if step % 3 == 0 && step < deleted {
                    assert_eq!(found, None, "point {step} of {base} was deleted");
                } else if step < changed && (step % 3 != 0 || step + 1 < changed) {
                    assert_eq!(found, Some(json!({"state": "done"})), "point {step} of {base} was changed");
                } else if step % 3 != 0 {
                    assert!(found.is_some(), "point {step} of {base} was inserted");
                }
            }
        }
        let states = [json!("new"), json!("done")]
            .map(|state| Filter::must([Condition::matches("state", state.as_str().unwrap().to_owned())]));
        let by_index = count(&server.client, NAME, Some(states[0].clone())).await
            + count(&server.client, NAME, Some(states[1].clone())).await;
        assert_eq!(by_index, count(&server.client, NAME, None).await, "index and points agree");
    }
}

/// Files may not grow beyond 40 MiB. Shells count in blocks of 512 bytes, bash in those of 1024.
const FILE_LIMIT: &str = "trap '' XFSZ; ulimit -f $((81920 / (1 + ${BASH_VERSION:+1}0 / 10))); exec \"$@\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_the_disk_refuses_fails_alone_and_the_next_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(folder.path(), FILE_LIMIT).await;
    let client = &server.client;
    client.create_collection(CreateCollectionBuilder::new(NAME)).await.unwrap();
    insert(client, NAME, vec![point(1, json!({"before": true}))]).await;
    let big = || vec![point(2, json!({"text": "x".repeat(60 << 20)}))];
    for _ in 0..2 {
        let refused = client.upsert_points(UpsertPointsBuilder::new(NAME, big()).wait(true)).await.unwrap_err();
        assert!(refused.to_string().contains(&folder.path().join("data").display().to_string()), "{refused}");
        assert_eq!(code(Err::<(), _>(refused)), Code::Internal);
        insert(client, NAME, vec![point(3, json!({"after": true}))]).await;
    }
    assert_eq!(stored(client, NAME, 1).await, Some(json!({"before": true})));
    assert_eq!(stored(client, NAME, 2).await, None);
    drop(server);
    let server = ServerProcess::start(folder.path(), "exec \"$@\"").await;
    assert_eq!(stored(&server.client, NAME, 3).await, Some(json!({"after": true})));
    assert_eq!(count(&server.client, NAME, None).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_until_there_is_space_again() {
    let mount = "unshare --user --map-root-user --mount true";
    if !Command::new("sh").args(["-c", mount]).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return crate::support::skipped("a full disk needs `unshare`, which this system does not allow");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    let script = "exec unshare --user --map-root-user --mount sh -c \
        'mount -t tmpfs -o size=96m none \"$0/data\" && exec \"$@\"' \"$QDRANT_TEST_CHILD_FOLDER\" \"$@\"";
    let server = ServerProcess::start(folder.path(), script).await;
    let client = &server.client;
    client.create_collection(CreateCollectionBuilder::new(NAME)).await.unwrap();
    insert(client, NAME, vec![point(1, json!({}))]).await;
    // The parent sees the child's disk through its process.
    let inside = PathBuf::from(format!("/proc/{}/root", server.process.id()))
        .join(folder.path().join("data").strip_prefix("/").unwrap());
    let ballast = inside.join("format.json.ballast");
    fs::write(&ballast, vec![1; 70 << 20]).unwrap();
    let write = || UpsertPointsBuilder::new(NAME, vec![point(2, json!({}))]).wait(true);
    let refused = client.upsert_points(write()).await.unwrap_err();
    assert!(refused.to_string().contains("full"), "{refused}");
    assert!(refused.to_string().contains(&folder.path().join("data").display().to_string()), "{refused}");
    assert_eq!(code(Err::<(), _>(refused)), Code::ResourceExhausted);
    assert_eq!(count(client, NAME, None).await, 1, "reads go on");
    fs::remove_file(&ballast).unwrap();
    client.upsert_points(write()).await.unwrap();
    assert_eq!(count(client, NAME, None).await, 2);
}
