"""Drives the Qdrant under test with the Python client over gRPC: each function is one case.

Run by the Rust test `the_python_client_sees_a_qdrant_server`, or by hand:
QDRANT_TEST_PYTHON_URL=http://127.0.0.1:6334 python3 tests/python/test_embedded.py
"""

import os
import urllib.parse
import uuid

from qdrant_client import QdrantClient, models

URL = urllib.parse.urlparse(os.environ.get("QDRANT_TEST_PYTHON_URL", "http://127.0.0.1:6334"))
PREFIX = os.environ.get("QDRANT_TEST_PYTHON_PREFIX", f"python_{uuid.uuid4().hex}_")


def connect():
    return QdrantClient(
        host=URL.hostname,
        grpc_port=URL.port,
        prefer_grpc=True,
        https=False,
        check_compatibility=False,
        timeout=60,
    )


def collection(client, case, **options):
    name = f"{PREFIX}{case}"
    client.create_collection(name, **({"vectors_config": {}} | options))
    return name


def refused(call):
    try:
        call()
    except Exception as error:  # the client raises the errors of grpc
        return error.code().name
    raise AssertionError("expected a refusal")


def by_status(status):
    return models.Filter(must=[models.FieldCondition(key="status", match=models.MatchValue(value=status))])


def case_a_task_is_inserted_found_claimed_and_finished(client):
    name = collection(client, "tasks")
    client.create_payload_index(name, "status", models.PayloadSchemaType.KEYWORD, wait=True)
    client.create_payload_index(
        name, "rank", models.IntegerIndexParams(type="integer", lookup=False, range=True), wait=True
    )
    ids = [str(uuid.uuid4()) for _ in range(5)]
    points = [
        models.PointStruct(id=id, vector={}, payload={"status": "pending", "rank": 10 - i, "extra": {"deep": [1, None]}})
        for i, id in enumerate(ids)
    ]
    client.upsert(name, points, wait=True)
    due, offset = client.scroll(name, scroll_filter=by_status("pending"), order_by="rank", limit=2)
    assert [point.id for point in due] == [ids[4], ids[3]] and offset is None
    claim = models.Filter(must=[models.HasIdCondition(has_id=ids[3:]), *by_status("pending").must])
    client.set_payload(name, {"status": "running", "claim": "t1", "rank": None}, points=claim, wait=True)
    assert client.count(name, by_status("running"), exact=True).count == 2
    stored = client.retrieve(name, [ids[4]], with_payload=True)[0].payload
    assert stored == {"status": "running", "claim": "t1", "extra": {"deep": [1, None]}}, stored
    hits = client.facet(name, "status", exact=True).hits
    assert {hit.value: hit.count for hit in hits} == {"pending": 3, "running": 2}


def case_a_collection_describes_itself(client):
    name = collection(
        client,
        "described",
        vectors_config={"text": models.VectorParams(size=2, distance=models.Distance.COSINE)},
        sparse_vectors_config={"words": models.SparseVectorParams(modifier=models.Modifier.IDF)},
        metadata={"schema": 1},
    )
    assert client.collection_exists(name)
    assert name in [one.name for one in client.get_collections().collections]
    client.create_payload_index(name, "n", models.PayloadSchemaType.INTEGER, wait=True)
    client.update_collection(name, metadata={"schema": 2})
    info = client.get_collection(name)
    assert info.status == models.CollectionStatus.GREEN
    assert info.points_count == 0
    assert info.config.metadata == {"schema": 2}
    assert info.config.params.vectors["text"].size == 2
    assert info.config.params.sparse_vectors["words"].modifier == models.Modifier.IDF
    assert info.payload_schema["n"].data_type == models.PayloadSchemaType.INTEGER
    assert refused(lambda: client.create_collection(name, vectors_config={})) == "ALREADY_EXISTS"
    assert client.delete_collection(name)
    assert not client.collection_exists(name)
    assert refused(lambda: client.get_collection(name)) == "NOT_FOUND"


def case_dense_sparse_and_fused_queries(client):
    name = collection(
        client,
        "vectors",
        vectors_config={"text": models.VectorParams(size=2, distance=models.Distance.DOT)},
        sparse_vectors_config={"words": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    sparse = lambda *indices: models.SparseVector(indices=list(indices), values=[1.0] * len(indices))
    vectors = [([1.0, 0.0], sparse(1)), ([0.5, 0.0], sparse(1, 2)), ([0.0, 1.0], sparse(3))]
    points = [
        models.PointStruct(id=i + 1, vector={"text": dense, "words": words}, payload={"n": i})
        for i, (dense, words) in enumerate(vectors)
    ]
    client.upsert(name, points, wait=True)
    found = lambda **query: [point.id for point in client.query_points(name, **query).points]
    assert found(query=[1.0, 0.0], using="text") == [1, 2, 3]
    assert found(query=1, using="text", limit=1) == [2]
    assert found(query=sparse(2, 1), using="words") == [2, 1]
    prefetch = [
        models.Prefetch(query=[0.5, 0.0], using="text", limit=2),
        models.Prefetch(query=sparse(2), using="words", limit=2),
    ]
    for fusion in (models.Fusion.RRF, models.Fusion.DBSF):
        assert found(prefetch=prefetch, query=models.FusionQuery(fusion=fusion))[0] == 2
    point = client.retrieve(name, [2], with_vectors=True)[0]
    assert point.vector["text"] == [0.5, 0.0] and point.vector["words"].indices == [1, 2]
    assert refused(lambda: client.query_points(name, query=[1.0], using="text")) == "INVALID_ARGUMENT"


def case_every_change_of_payloads_and_vectors(client):
    name = collection(client, "changes", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    client.upsert(name, [models.PointStruct(id=i, vector=[1.0, i], payload={"a": 1, "b": {"c": 1}}) for i in (1, 2, 3)])
    client.set_payload(name, {"d": 2}, points=[1], key="b", wait=True)
    client.overwrite_payload(name, {"only": True}, points=[2], wait=True)
    client.delete_payload(name, ["a"], points=[3], wait=True)
    payloads = [point.payload for point in client.retrieve(name, [1, 2, 3])]
    assert payloads == [{"a": 1, "b": {"c": 1, "d": 2}}, {"only": True}, {"b": {"c": 1}}], payloads
    client.clear_payload(name, points_selector=[1], wait=True)
    client.update_vectors(name, [models.PointVectors(id=1, vector=[7.0, 7.0])], wait=True)
    client.delete_vectors(name, vectors=[""], points=[2], wait=True)
    points = client.retrieve(name, [1, 2], with_vectors=True)
    assert points[0].payload == {} and points[0].vector == [7.0, 7.0], points
    client.batch_update_points(
        name,
        [
            models.UpsertOperation(upsert=models.PointsList(points=[models.PointStruct(id=9, vector=[0, 0], payload={})])),
            models.SetPayloadOperation(set_payload=models.SetPayload(payload={"x": 1}, points=[9])),
            models.DeleteOperation(delete=models.PointIdsList(points=[3])),
        ],
        wait=True,
    )
    assert client.retrieve(name, [3, 9])[0].payload == {"x": 1}
    client.delete(name, models.FilterSelector(filter=models.Filter()), wait=True)
    assert client.count(name).count == 0


def case_paging_and_refusals(client):
    name = collection(client, "paging")
    client.upsert(name, [models.PointStruct(id=i, vector={}, payload={"i": i}) for i in range(25)], wait=True)
    seen, offset = [], None
    while True:
        page, offset = client.scroll(name, limit=10, offset=offset)
        seen += [point.id for point in page]
        if offset is None:
            break
    assert seen == list(range(25))
    assert refused(lambda: client.set_payload(name, {"x": 1}, points=[404], wait=True)) == "NOT_FOUND"
    assert refused(lambda: client.scroll(name, order_by="i")) == "INVALID_ARGUMENT"
    assert refused(lambda: client.count(f"{PREFIX}missing")) == "NOT_FOUND"


def main():
    client = connect()
    cases = [value for name, value in globals().items() if name.startswith("case_")]
    try:
        for case in cases:
            case(client)
            print(f"ok {case.__name__}")
    finally:
        for one in client.get_collections().collections:
            if one.name.startswith(PREFIX):
                client.delete_collection(one.name)
    print(f"all cases passed: {len(cases)}")


if __name__ == "__main__":
    main()
