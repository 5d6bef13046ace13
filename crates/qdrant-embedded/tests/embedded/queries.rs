//! Vector search: dense, sparse, fused, filtered, ordered.

use qdrant_client::qdrant::{
    Condition, CreateCollectionBuilder, DeletePointVectorsBuilder, Distance, FieldType, Filter, Fusion,
    GetPointsBuilder, Modifier, NamedVectors, OrderByBuilder, PointStruct, PointVectors, PointsIdsList,
    PrefetchQueryBuilder, Query, QueryBatchPointsBuilder, QueryPoints, QueryPointsBuilder, RecommendInputBuilder,
    RecommendStrategy, Sample, SearchPointsBuilder, SparseVectorParamsBuilder, SparseVectorsConfigBuilder,
    UpdatePointVectorsBuilder, Vector, VectorInput, VectorParamsBuilder, VectorsConfigBuilder, vectors_config,
    vectors_output,
};
use qdrant_client::{Payload, Qdrant};
use serde_json::json;
use tonic::Code;

use crate::support::{client, code, fresh_name, index, insert, number_of, payload, point};

/// Points 1 to 4 with the dense vector `text` and the sparse vector `words`.
async fn documents(client: &Qdrant) -> String {
    let name = fresh_name();
    let mut dense = VectorsConfigBuilder::default();
    dense.add_named_vector_params("text", VectorParamsBuilder::new(2, Distance::Dot));
    let mut sparse = SparseVectorsConfigBuilder::default();
    sparse.add_named_vector_params("words", SparseVectorParamsBuilder::default().modifier(i32::from(Modifier::Idf)));
    let request = CreateCollectionBuilder::new(&name).vectors_config(dense).sparse_vectors_config(sparse);
    client.create_collection(request).await.expect("created");
    index(client, &name, "kind", FieldType::Keyword).await;
    index(client, &name, "rank", FieldType::Integer).await;
    let document = |id: u64, dense: Vec<f32>, sparse: &[(u32, f32)], kind: &str| {
        let vectors = NamedVectors::default().add_vector("text", dense).add_vector("words", sparse.to_vec());
        PointStruct::new(id, vectors, payload(json!({"kind": kind, "rank": 10 - id})))
    };
    insert(
        client,
        &name,
        vec![
            document(1, vec![1.0, 0.0], &[(1, 1.0), (2, 1.0)], "a"),
            document(2, vec![0.8, 0.1], &[(1, 1.0)], "b"),
            document(3, vec![0.0, 1.0], &[(1, 1.0), (3, 1.0)], "a"),
            document(4, vec![-1.0, 0.0], &[(1, 1.0)], "b"),
        ],
    )
    .await;
    name
}

async fn found(client: &Qdrant, request: impl Into<QueryPoints>) -> Vec<u64> {
    client.query(request).await.expect("queried").result.into_iter().map(|point| number_of(point.id)).collect()
}

#[tokio::test]
async fn nearest_by_vector_by_id_filtered_and_paged() {
    let client = client();
    let name = documents(&client).await;
    let query = || QueryPointsBuilder::new(&name).query(vec![1.0, 0.0]).using("text");
    assert_eq!(found(&client, query()).await, [1, 2, 3, 4]);
    assert_eq!(found(&client, query().limit(2).offset(1)).await, [2, 3]);
    assert_eq!(found(&client, query().score_threshold(0.5)).await, [1, 2]);
    let kind = Filter::must([Condition::matches("kind", "b".to_owned())]);
    assert_eq!(found(&client, query().filter(kind)).await, [2, 4]);
    let by_id = QueryPointsBuilder::new(&name).query(Query::new_nearest(1)).using("text");
    assert_eq!(found(&client, by_id).await, [2, 3, 4]);
    let best = client.query(query().limit(1).with_payload(true).with_vectors(true)).await.unwrap().result.remove(0);
    assert!((best.score - 1.0).abs() < 1e-6);
    assert_eq!(crate::support::as_json(best.payload), json!({"kind": "a", "rank": 9}));
    let Some(vectors_output::VectorsOptions::Vectors(vectors)) = best.vectors.unwrap().vectors_options else {
        panic!()
    };
    assert_eq!(vectors.vectors.len(), 2);
    let search = SearchPointsBuilder::new(&name, vec![1.0, 0.0], 2).vector_name("text");
    let old: Vec<_> = client.search_points(search).await.unwrap().result.into_iter().map(|p| number_of(p.id)).collect();
    assert_eq!(old, [1, 2]);
}

#[tokio::test]
async fn rare_words_weigh_more_in_sparse_search() {
    let client = client();
    let name = documents(&client).await;
    let query = |words: Vec<(u32, f32)>| QueryPointsBuilder::new(&name).query(words).using("words");
    assert_eq!(found(&client, query(vec![(1, 1.0), (3, 1.0)]).limit(1)).await, [3]);
    assert_eq!(found(&client, query(vec![(2, 1.0)])).await, [1]);
    assert_eq!(found(&client, query(vec![(99, 1.0)])).await, Vec::<u64>::new());
}

#[tokio::test]
async fn fusion_joins_what_prefetches_find() {
    let client = client();
    let name = documents(&client).await;
    let dense = || PrefetchQueryBuilder::default().query(vec![1.0, 0.0]).using("text").limit(3_u64);
    let sparse = || PrefetchQueryBuilder::default().query(vec![(3, 1.0)]).using("words").limit(3_u64);
    for fusion in [Fusion::Rrf, Fusion::Dbsf] {
        let query = || QueryPointsBuilder::new(&name).add_prefetch(dense()).add_prefetch(sparse()).query(fusion);
        let all = found(&client, query()).await;
        assert_eq!(all[0], 3, "{fusion:?} puts what both found first");
        assert_eq!(all.len(), 3);
        assert_eq!(found(&client, query().offset(1)).await, all[1..]);
        let kind = Filter::must([Condition::matches("kind", "b".to_owned())]);
        assert_eq!(found(&client, query().filter(kind)).await[0], 2);
    }
    let alone = QueryPointsBuilder::new(&name).query(Fusion::Rrf);
    assert_eq!(code(client.query(alone).await), Code::InvalidArgument);
}

#[tokio::test]
async fn queries_without_vectors_order_sample_or_list() {
    let client = client();
    let name = documents(&client).await;
    let ordered =
        QueryPointsBuilder::new(&name).query(Query::new_order_by(OrderByBuilder::new("rank").build())).limit(2);
    assert_eq!(found(&client, ordered).await, [4, 3]);
    let mut sampled = found(&client, QueryPointsBuilder::new(&name).query(Query::new_sample(Sample::Random))).await;
    sampled.sort_unstable();
    assert_eq!(sampled, [1, 2, 3, 4]);
    assert_eq!(found(&client, QueryPointsBuilder::new(&name).limit(2)).await, [1, 2]);
}

#[tokio::test]
async fn asking_for_more_than_there_is_gives_what_there_is() {
    let client = client();
    let name = documents(&client).await;
    let query = || QueryPointsBuilder::new(&name).query(vec![1.0, 0.0]).using("text");
    let most = 1 << 20;
    assert_eq!(found(&client, query().limit(most)).await, [1, 2, 3, 4]);
    assert_eq!(found(&client, query().limit(most).offset(3)).await, [4]);
    assert_eq!(found(&client, query().offset(most)).await, Vec::<u64>::new());
}

#[tokio::test]
async fn recommendations_follow_examples() {
    let client = client();
    let name = documents(&client).await;
    for strategy in [RecommendStrategy::AverageVector, RecommendStrategy::BestScore, RecommendStrategy::SumScores] {
        let input = RecommendInputBuilder::default().add_positive(VectorInput::new_id(2)).strategy(i32::from(strategy));
        let query = QueryPointsBuilder::new(&name).query(Query::new_recommend(input)).using("text");
        let result = found(&client, query).await;
        assert_eq!((result[0], result.len()), (1, 3), "{strategy:?}");
    }
}

#[tokio::test]
async fn a_batch_of_queries_answers_in_order() {
    let client = client();
    let name = documents(&client).await;
    let one = |vector: Vec<f32>| QueryPointsBuilder::new(&name).query(vector).using("text").limit(1).build();
    let batch = QueryBatchPointsBuilder::new(&name, vec![one(vec![1.0, 0.0]), one(vec![-1.0, 0.0])]);
    let answers = client.query_batch(batch).await.unwrap().result;
    let first: Vec<_> = answers.into_iter().map(|mut answer| number_of(answer.result.remove(0).id)).collect();
    assert_eq!(first, [1, 4]);
}

#[tokio::test]
async fn vectors_come_and_go_without_the_point() {
    let client = client();
    let name = documents(&client).await;
    let only = || PointsIdsList { ids: vec![1.into()] };
    let delete = DeletePointVectorsBuilder::new(&name)
        .points_selector(only())
        .vectors(qdrant_client::qdrant::VectorsSelector { names: vec!["text".to_owned()] })
        .wait(true);
    client.delete_vectors(delete).await.unwrap();
    let near = || QueryPointsBuilder::new(&name).query(vec![1.0, 0.0]).using("text").limit(1);
    assert_eq!(found(&client, near()).await, [2]);
    let update = PointVectors {
        id: Some(1.into()),
        vectors: Some(NamedVectors::default().add_vector("text", vec![9.0, 0.0]).into()),
    };
    client.update_vectors(UpdatePointVectorsBuilder::new(&name, vec![update]).wait(true)).await.unwrap();
    assert_eq!(found(&client, near()).await, [1]);
    let kept = client.get_points(GetPointsBuilder::new(&name, vec![1.into()]).with_payload(true)).await.unwrap();
    assert_eq!(crate::support::as_json(kept.result[0].payload.clone()), json!({"kind": "a", "rank": 9}));
}

#[tokio::test]
async fn unnamed_and_several_vectors_come_back_as_they_went_in() {
    let client = client();
    let name = fresh_name();
    client
        .create_collection(
            CreateCollectionBuilder::new(&name).vectors_config(VectorParamsBuilder::new(3, Distance::Euclid)),
        )
        .await
        .unwrap();
    insert(&client, &name, vec![PointStruct::new(1, vec![1.0, 2.0, 3.0], Payload::new())]).await;
    let got = client
        .get_points(GetPointsBuilder::new(&name, vec![1.into()]).with_vectors(true))
        .await
        .unwrap()
        .result
        .remove(0);
    let Some(vectors_output::VectorsOptions::Vector(vector)) = got.vectors.unwrap().vectors_options else { panic!() };
    let dense = vector.into_vector();
    assert_eq!(format!("{dense:?}").matches("[1.0, 2.0, 3.0]").count(), 1, "{dense:?}");
    assert_eq!(found(&client, QueryPointsBuilder::new(&name).query(vec![1.0, 2.0, 3.0])).await, [1]);
    let info = client.collection_info(&name).await.unwrap().result.unwrap();
    let config = info.config.unwrap().params.unwrap().vectors_config.unwrap().config.unwrap();
    let vectors_config::Config::Params(params) = config else { panic!("{config:?}") };
    assert_eq!((params.size, params.distance), (3, i32::from(Distance::Euclid)));
}

#[tokio::test]
async fn queries_that_do_not_fit_are_refused() {
    let client = client();
    let name = documents(&client).await;
    let query = |vector: Vec<f32>, using: &str| QueryPointsBuilder::new(&name).query(vector).using(using);
    assert_eq!(code(client.query(query(vec![1.0], "text")).await), Code::InvalidArgument);
    assert_eq!(code(client.query(query(vec![1.0, 1.0], "nope")).await), Code::InvalidArgument);
    assert_eq!(code(client.query(query(vec![1.0, 1.0], "words")).await), Code::InvalidArgument);
    let unknown = QueryPointsBuilder::new(&name).query(Query::new_nearest(404)).using("text");
    assert_eq!(code(client.query(unknown).await), Code::NotFound);
    let wrong = PointStruct::new(
        9,
        NamedVectors::default().add_vector("text", Vector::new_dense(vec![1.0; 3])),
        Payload::new(),
    );
    let upsert = qdrant_client::qdrant::UpsertPointsBuilder::new(&name, vec![wrong, point(10, json!({}))]).wait(true);
    assert_eq!(code(client.upsert_points(upsert).await), Code::InvalidArgument);
}
