//! Artifacts: inside the store, beside it, and damaged.

use qron::domain::id::TaskId;
use qron::store::StoreError;

use super::bed::{Bed, NOW};

/// The files of artifacts.
fn files(bed: &Bed) -> Vec<std::path::PathBuf> {
    let Ok(tasks) = std::fs::read_dir(bed.folder.path().join("artifacts")) else { return Vec::new() };
    let folders = tasks.flatten().map(|entry| entry.path());
    folders
        .flat_map(|folder| std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()))
        .collect()
}

#[tokio::test]
async fn artifacts_of_any_size_and_content_come_back() {
    let bed = Bed::new().await;
    let task = TaskId::fresh();
    let contents: [(&str, Vec<u8>); 6] = [
        ("empty", Vec::new()),
        ("text.md", "Größe ✓".into()),
        ("bytes", vec![0, 159, 146, 150, 255]),
        ("limit", vec![b'x'; 1000]),
        ("over", vec![b'x'; 1001]),
        ("large bytes", (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect()),
    ];
    for (name, content) in &contents {
        let saved = bed.store.save_artifact(task, "s1", name, "text/plain", content, NOW).await.expect("saved");
        assert_eq!(saved.size, content.len() as u64);
        let (artifact, read) = bed.store.artifact(task, name).await.expect("readable").expect("there");
        assert_eq!((artifact, &read), (saved, content), "{name}");
    }
    assert_eq!(files(&bed).len(), 2);
    let names: Vec<String> =
        bed.store.artifacts(task).await.expect("listed").into_iter().map(|artifact| artifact.name).collect();
    assert_eq!(names, ["bytes", "empty", "large bytes", "limit", "over", "text.md"]);
    assert!(bed.store.artifacts(TaskId::fresh()).await.expect("listed").is_empty());
    assert!(bed.store.artifact(TaskId::fresh(), "empty").await.expect("readable").is_none());
}

#[tokio::test]
async fn the_same_name_replaces_and_leaves_no_file_behind() {
    let bed = Bed::new().await;
    let task = TaskId::Number(1);
    for content in [vec![b'a'; 5000], vec![b'b'; 6000], b"small".to_vec()] {
        bed.store.save_artifact(task, "s", "report", "text/plain", &content, NOW).await.expect("saved");
        assert_eq!(bed.store.artifact(task, "report").await.expect("readable").expect("there").1, content);
        assert_eq!(files(&bed).len(), usize::from(content.len() > 1000));
    }
    assert_eq!(bed.store.artifacts(task).await.expect("listed").len(), 1);
}

#[tokio::test]
async fn a_tampered_or_missing_file_is_told_not_given_out() {
    let bed = Bed::new().await;
    let task = TaskId::Number(1);
    bed.store.save_artifact(task, "s", "report", "text/plain", &[b'a'; 5000], NOW).await.expect("saved");
    let file = files(&bed).remove(0);
    let reason = async || match bed.store.artifact(task, "report").await {
        Err(StoreError::Artifact { name, reason }) if name == "report" => reason,
        other => panic!("{other:?}"),
    };
    std::fs::write(&file, [b'b'; 5000]).expect("tampered");
    assert!(reason().await.contains("checksum"));
    std::fs::write(&file, vec![b'a'; 200_000]).expect("grown");
    assert!(reason().await.contains("200000"));
    std::fs::remove_file(&file).expect("removed");
    assert!(reason().await.contains("cannot be read"));
}

#[tokio::test]
async fn bad_names_and_sizes_are_refused_before_anything_is_written() {
    let bed = Bed::new().await;
    let task = TaskId::Number(1);
    for name in ["", "..", "../x", "a/b", "a\\b", "a\0", "a\nb", &"x".repeat(256)] {
        let error = bed.store.save_artifact(task, "s", name, "text/plain", b"x", NOW).await.expect_err("refused");
        assert!(matches!(error, StoreError::Artifact { .. }), "{error}");
    }
    let error =
        bed.store.save_artifact(task, "s", "big", "text/plain", &vec![0; 100_001], NOW).await.expect_err("refused");
    assert!(error.to_string().contains("100000"), "{error}");
    assert!(bed.store.artifacts(task).await.expect("listed").is_empty());
    assert!(files(&bed).is_empty());
}
