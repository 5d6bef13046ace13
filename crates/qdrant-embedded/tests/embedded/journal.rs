//! What a crash leaves, and what the journal makes of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use qdrant_client::Qdrant;
use qdrant_client::qdrant::{
    ClearPayloadPointsBuilder, Condition, CreateCollectionBuilder, DeletePayloadPointsBuilder,
    DeletePointVectorsBuilder, DeletePointsBuilder, Distance, FieldType, Filter, NamedVectors, PointStruct,
    PointVectors, Range, ScrollPointsBuilder, SetPayloadPointsBuilder, SparseVectorParamsBuilder,
    SparseVectorsConfigBuilder, UpdateMode, UpdatePointVectorsBuilder, UpsertPointsBuilder, VectorParamsBuilder,
    VectorsConfigBuilder, VectorsSelector,
};
use serde_json::json;

use crate::embedded::{data_of, folder, start};
use crate::support::{count, fresh_name, index, insert, number, payload, plain_collection, point};

/// Operations of one storm.
const STORM: u64 = 400;
const STATES: [&str; 3] = ["waiting", "running", "done"];

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let (source, target) = {
            let path = entry.expect("an entry").path();
            let target = to.join(path.file_name().expect("a name"));
            (path, target)
        };
        if source.is_dir() {
            copy(&source, &target);
        } else {
            fs::copy(&source, &target).expect("a copy");
        }
    }
}

/// A collection with both kinds of vectors and two indexes.
async fn furnished(client: &Qdrant) -> String {
    let name = fresh_name();
    let mut dense = VectorsConfigBuilder::default();
    dense.add_named_vector_params("text", VectorParamsBuilder::new(2, Distance::Dot));
    let mut sparse = SparseVectorsConfigBuilder::default();
    sparse.add_named_vector_params("words", SparseVectorParamsBuilder::default());
    let request = CreateCollectionBuilder::new(&name).vectors_config(dense).sparse_vectors_config(sparse);
    client.create_collection(request).await.expect("created");
    index(client, &name, "state", FieldType::Keyword).await;
    index(client, &name, "n", FieldType::Integer).await;
    name
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn state(&mut self) -> &'static str {
        STATES[usize::try_from(self.below(3)).expect("small")]
    }

    fn points(&mut self, step: u64) -> Vec<PointStruct> {
        let count = 1 + self.below(4);
        let one = |_| {
            let (id, state) = (1 + self.below(40), self.state());
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let (x, tenth) = (step as f32, step as f64 * 0.1);
            let vectors =
                NamedVectors::default().add_vector("text", vec![x, 0.1]).add_vector("words", vec![(7_u32, x + 0.3)]);
            PointStruct::new(id, vectors, payload(json!({"state": state, "n": step, "tenth": tenth})))
        };
        (0..count).map(one).collect()
    }
}

fn of(state: &str) -> Filter {
    Filter::must([Condition::matches("state", state.to_owned())])
}

/// Every kind of write there is, with every kind of condition.
async fn storm(client: &Qdrant, name: &str, dice: &mut Dice) {
    for step in 0..STORM {
        let from = dice.state();
        match dice.below(12) {
            0 | 1 => drop(client.upsert_points(UpsertPointsBuilder::new(name, dice.points(step)).wait(true)).await),
            2 | 3 => {
                let mode = if dice.below(2) == 0 { UpdateMode::InsertOnly } else { UpdateMode::UpdateOnly };
                let request = UpsertPointsBuilder::new(name, dice.points(step)).update_mode(mode).wait(true);
                client.upsert_points(request).await.expect("upserted");
            }
            4 => {
                let request = UpsertPointsBuilder::new(name, dice.points(step)).update_filter(of(from)).wait(true);
                client.upsert_points(request).await.expect("upserted");
            }
            5 | 6 => {
                let patch = payload(json!({"state": dice.state(), "step": step, "gone": null}));
                let ids = Condition::has_id((0..8).map(|_| 1 + dice.below(40)));
                let filter = Filter::must([ids, Condition::matches("state", from.to_owned())]);
                let request = SetPayloadPointsBuilder::new(name, patch).points_selector(filter).wait(true);
                client.set_payload(request).await.expect("set");
            }
            7 => {
                let new = payload(json!({"state": dice.state(), "n": step}));
                let few = Range { lt: Some(20.0), ..Range::default() };
                let filter = Filter::must([Condition::range("n", few)]);
                let request = SetPayloadPointsBuilder::new(name, new).points_selector(filter).wait(true);
                client.overwrite_payload(request).await.expect("overwritten");
            }
            8 => {
                let keys = vec!["n".to_owned(), "step".to_owned()];
                let request = DeletePayloadPointsBuilder::new(name, keys).points_selector(of(from)).wait(true);
                client.delete_payload(request).await.expect("deleted");
            }
            9 => {
                let one = Filter::must([Condition::has_id([1 + dice.below(40)])]);
                let request = ClearPayloadPointsBuilder::new(name).points(one).wait(true);
                client.clear_payload(request).await.expect("cleared");
            }
            10 => {
                let old =
                    Range { lt: Some(f64::from(u32::try_from(step).expect("small")) - 150.0), ..Range::default() };
                let filter = Filter::must([Condition::range("n", old)]);
                client.delete_points(DeletePointsBuilder::new(name).points(filter).wait(true)).await.expect("deleted");
            }
            _ => {
                let words = VectorsSelector { names: vec!["words".to_owned()] };
                let request = DeletePointVectorsBuilder::new(name).points_selector(of(from)).vectors(words).wait(true);
                client.delete_vectors(request).await.expect("deleted");
                let vectors = NamedVectors::default().add_vector("text", vec![0.2, 0.7]);
                let update = PointVectors { id: Some(1.into()), vectors: Some(vectors.into()) };
                let request = UpdatePointVectorsBuilder::new(name, vec![update]).update_filter(of(from)).wait(true);
                // There may be no point 1 at the time.
                drop(client.update_vectors(request).await);
            }
        }
    }
}

/// All that can be seen of a collection: its points with payload and vectors, and what its indexes count.
async fn seen(client: &Qdrant, name: &str) -> (BTreeMap<u64, String>, Vec<u64>) {
    let request = ScrollPointsBuilder::new(name).limit(1_000).with_payload(true).with_vectors(true);
    let points = client.scroll(request).await.expect("scrolled").result;
    let mut all = BTreeMap::new();
    for point in points {
        let payload: BTreeMap<_, _> = point.payload.iter().map(|(key, value)| (key, value.to_string())).collect();
        all.insert(number(&point), format!("{payload:?} {:?}", vectors_of(&point)));
    }
    let mut counts = Vec::new();
    for state in STATES {
        counts.push(count(client, name, Some(of(state))).await);
    }
    for bound in [50.0, 200.0, 400.0] {
        let below = Range { lt: Some(bound), ..Range::default() };
        counts.push(count(client, name, Some(Filter::must([Condition::range("n", below)]))).await);
    }
    (all, counts)
}

fn vectors_of(point: &qdrant_client::qdrant::RetrievedPoint) -> Vec<String> {
    use qdrant_client::qdrant::vectors_output::VectorsOptions;
    match point.vectors.as_ref().and_then(|vectors| vectors.vectors_options.as_ref()) {
        Some(VectorsOptions::Vectors(named)) => {
            let mut named: Vec<_> = named.vectors.iter().map(|(name, vector)| format!("{name} {vector:?}")).collect();
            named.sort();
            named
        }
        other => vec![format!("{other:?}")],
    }
}

#[tokio::test]
async fn the_journal_holds_every_kind_of_write_and_may_be_read_twice() {
    let (used, left) = (folder(), folder());
    let (server, client) = start(used.path()).await;
    let name = furnished(&client).await;
    storm(&client, &name, &mut Dice(7)).await;
    let expected = seen(&client, &name).await;
    assert!(expected.0.len() > 10 && expected.1.iter().sum::<u64>() > 10, "little is left of the storm: {expected:?}");
    // What is on the disk now is what a kill would leave.
    copy(used.path(), left.path());
    server.shutdown().await.unwrap();
    let journal = data_of(left.path(), &name).join("journal");
    let kept = fs::read(&journal).unwrap();

    for _ in 0..2 {
        let (server, client) = start(left.path()).await;
        assert_eq!(seen(&client, &name).await, expected);
        server.shutdown().await.unwrap();
        // As if the checkpoint had been finished and the journal not been cleared.
        fs::write(&journal, &kept).unwrap();
    }
    fs::remove_file(&journal).unwrap();
    let (server, client) = start(left.path()).await;
    assert_eq!(seen(&client, &name).await, expected, "a checkpoint holds all of it");
    server.shutdown().await.unwrap();
}

/// The index directories of a shard, which a flush writes apart from the payloads.
fn indexes_of(data: &Path) -> Vec<PathBuf> {
    let segments = fs::read_dir(data.join("segments")).expect("segments").map(|entry| entry.expect("an entry").path());
    segments.map(|segment| segment.join("payload_index")).filter(|index| index.is_dir()).collect()
}

/// Fifty points, first inserted as running and then as done, in files that a crash in the midst of a flush left: new
/// payloads and old indexes. `journal` says whether the journal still holds what the indexes lack.
async fn cut_off(folder: &Path, journal: bool) -> (String, PathBuf) {
    let saved = tempfile::tempdir().expect("a folder");
    let (server, client) = start(folder).await;
    let name = plain_collection(&client).await;
    index(&client, &name, "state", FieldType::Keyword).await;
    insert(&client, &name, (1..=50_u64).map(|id| point(id, json!({"state": "running"}))).collect()).await;
    server.shutdown().await.expect("stopped");
    let data = data_of(folder, &name);
    let indexes = indexes_of(&data);
    assert!(!indexes.is_empty(), "the engine keeps its indexes elsewhere now");
    for (number, index) in indexes.iter().enumerate() {
        copy(index, &saved.path().join(number.to_string()));
    }
    let (server, client) = start(folder).await;
    insert(&client, &name, (1..=50_u64).map(|id| point(id, json!({"state": "done"}))).collect()).await;
    let kept = fs::read(data.join("journal")).expect("a journal");
    server.shutdown().await.expect("stopped");
    for (number, index) in indexes.iter().enumerate() {
        copy(&saved.path().join(number.to_string()), index);
    }
    if journal {
        fs::write(data.join("journal"), kept).expect("written");
    }
    (name, data)
}

async fn states(client: &Qdrant, name: &str) -> [u64; 2] {
    [count(client, name, Some(of("running"))).await, count(client, name, Some(of("done"))).await]
}

#[tokio::test]
async fn an_index_that_a_crash_cut_off_from_its_payload_is_mended_from_the_journal() {
    let (without, with) = (folder(), folder());
    let (name, _) = cut_off(without.path(), false).await;
    let (server, client) = start(without.path()).await;
    assert_ne!(states(&client, &name).await, [0, 50], "nothing was cut off, so this test shows nothing");
    server.shutdown().await.unwrap();

    let (name, _) = cut_off(with.path(), true).await;
    let (server, client) = start(with.path()).await;
    assert_eq!(states(&client, &name).await, [0, 50]);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_shard_that_was_left_with_a_mark_is_rebuilt() {
    let folder = folder();
    let (name, data) = cut_off(folder.path(), false).await;
    assert!(!data.join("unclean").exists(), "a shard that was closed well has no mark");
    fs::write(data.join("unclean"), "").unwrap();
    let (server, client) = start(folder.path()).await;
    assert_eq!(states(&client, &name).await, [0, 50]);
    assert_ne!(data_of(folder.path(), &name), data);
    server.shutdown().await.unwrap();
}
