//! Texts to vectors.

use qron::domain::failure::FailureClass;
use qron::llm::scripted::{Script, ScriptedModel};
use qron::llm::{EmbeddingSettings, Models};

use super::{models, settings};

fn embedder(server: &ScriptedModel, dimensions: u64) -> Models {
    let embeddings = EmbeddingSettings { model: "vectors".to_owned(), dimensions };
    Models::new(&settings(&server.base_url()), &embeddings).expect("good settings").expect("a model")
}

#[tokio::test]
async fn many_texts_are_embedded_in_order_and_alike_ones_are_near() {
    let server = ScriptedModel::start(Script { dimensions: 64, ..Script::default() }).await.expect("starts");
    let models = embedder(&server, 64);
    assert!(models.has_embeddings());
    let mut texts: Vec<String> = (0..200).map(|number| format!("text about subject {number}")).collect();
    texts[7].clear();
    let vectors = models.embed(&texts).await.expect("vectors");
    assert_eq!(vectors.len(), 200);
    assert!(vectors.iter().all(|vector| vector.len() == 64));
    assert_eq!(server.requests().len(), 3);
    assert!(server.requests().iter().all(|request| request.purpose == "embed"));
    let again = models.embed(&texts[150..151]).await.expect("a vector");
    assert_eq!(again[0], vectors[150]);
    assert!(models.embed(&[]).await.expect("nothing").is_empty());
}

#[tokio::test]
async fn a_model_of_another_length_is_told_the_length_or_named() {
    let server = ScriptedModel::start(Script { dimensions: 64, ..Script::default() }).await.expect("starts");
    let vectors = embedder(&server, 32).embed(&["x".to_owned()]).await.expect("a vector");
    assert_eq!(vectors[0].len(), 32);
    let stubborn = Script { dimensions: 64, ..Script::default() }.refusing("dimensions");
    let stubborn = ScriptedModel::start(stubborn).await.expect("starts");
    let failure = embedder(&stubborn, 32).embed(&["x".to_owned()]).await.expect_err("a failure");
    assert_eq!(failure.class, FailureClass::Invalid, "{failure}");
    assert!(failure.message.contains("length 64; set embeddings.dimensions"), "{failure}");
}

#[tokio::test]
async fn without_a_model_there_are_no_vectors() {
    let server = ScriptedModel::start(Script::default()).await.expect("starts");
    let models = models(&settings(&server.base_url()));
    assert!(!models.has_embeddings());
    let failure = models.embed(&["x".to_owned()]).await.expect_err("a failure");
    assert!(failure.message.contains("embeddings.model"), "{failure}");
}
