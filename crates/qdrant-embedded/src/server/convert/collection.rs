//! Collections: what a new one is made of, and how one describes itself.

#![expect(deprecated, reason = "`on_disk` is what clients before 1.20 send and read")]

use std::collections::HashMap;

use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::vectors_config::Config;
use qdrant_edge::{
    Distance, EdgeConfig, EdgeOptimizersConfig, EdgeSparseVectorParams, EdgeVectorParams, Modifier,
    MultiVectorComparator, MultiVectorConfig, ShardInfo, VectorStorageDatatype,
};
use serde_json::{Map, Value};

use super::Converted;
use super::index::info_out;
use super::limits::{self, at_most};
use super::value::{object_in, object_out};
use crate::server::error::Fault;

/// Vector names become folder names.
const VECTOR_NAME_LIMIT: usize = 200;

/// The shard of a new collection and its metadata.
///
/// Sharding, replication, quantisation, HNSW, optimiser, log and strict-mode settings tune a server; here they are
/// accepted and have no effect, so that programs written for a server run unchanged.
pub(crate) fn config_in(request: proto::CreateCollection) -> Converted<(EdgeConfig, Map<String, Value>)> {
    let mut vectors = HashMap::new();
    match request.vectors_config.and_then(|config| config.config) {
        None => {}
        Some(Config::Params(params)) => {
            vectors.insert(String::new(), dense_in(&params)?);
        }
        Some(Config::ParamsMap(params)) => {
            for (name, params) in params.map {
                check_vector_name(&name)?;
                vectors.insert(name, dense_in(&params)?);
            }
        }
    }
    let mut sparse_vectors = HashMap::new();
    for (name, params) in request.sparse_vectors_config.map(|config| config.map).unwrap_or_default() {
        check_vector_name(&name)?;
        if vectors.contains_key(&name) {
            return Err(Fault::bad(format!("vector name {name:?} is both dense and sparse")));
        }
        sparse_vectors.insert(name, sparse_in(&params));
    }
    at_most("vectors", vectors.len() + sparse_vectors.len(), limits::VECTORS)?;
    let config = EdgeConfig {
        on_disk_payload: request.on_disk_payload.unwrap_or(true),
        vectors,
        sparse_vectors,
        optimizers: EdgeOptimizersConfig::default(),
        ..EdgeConfig::default()
    };
    Ok((config, object_in(request.metadata)?))
}

fn check_vector_name(name: &str) -> Converted<()> {
    let odd = |character: char| character.is_control() || "<>:\"/\\|?*".contains(character);
    if name.len() > VECTOR_NAME_LIMIT || name.starts_with('.') || name.contains(odd) {
        return Err(Fault::bad(format!(
            "vector name {name:?} must have at most {VECTOR_NAME_LIMIT} bytes, no leading dot, no control characters \
             and none of <>:\"/\\|?*"
        )));
    }
    Ok(())
}

fn dense_in(params: &proto::VectorParams) -> Converted<EdgeVectorParams> {
    let size = usize::try_from(params.size).ok().filter(|size| (1..=65536).contains(size));
    let size = size.ok_or_else(|| Fault::bad(format!("vector size {} is not within 1 to 65536", params.size)))?;
    let distance = match proto::Distance::try_from(params.distance) {
        Ok(proto::Distance::Cosine) => Distance::Cosine,
        Ok(proto::Distance::Euclid) => Distance::Euclid,
        Ok(proto::Distance::Dot) => Distance::Dot,
        Ok(proto::Distance::Manhattan) => Distance::Manhattan,
        _ => return Err(Fault::bad("unknown distance of a vector")),
    };
    let multivector_config =
        params.multivector_config.map(|_| MultiVectorConfig { comparator: MultiVectorComparator::MaxSim });
    Ok(EdgeVectorParams {
        size,
        distance,
        on_disk: params.on_disk,
        multivector_config,
        datatype: params.datatype.and_then(datatype_in),
        quantization_config: None,
        hnsw_config: None,
    })
}

fn sparse_in(params: &proto::SparseVectorParams) -> EdgeSparseVectorParams {
    let idf = params.modifier == Some(proto::Modifier::Idf as i32);
    EdgeSparseVectorParams {
        full_scan_threshold: None,
        on_disk: None,
        modifier: idf.then_some(Modifier::Idf),
        datatype: params.index.as_ref().and_then(|index| index.datatype).and_then(datatype_in),
    }
}

fn datatype_in(datatype: i32) -> Option<VectorStorageDatatype> {
    match proto::Datatype::try_from(datatype).ok()? {
        proto::Datatype::Float32 => Some(VectorStorageDatatype::Float32),
        proto::Datatype::Float16 => Some(VectorStorageDatatype::Float16),
        proto::Datatype::Uint8 => Some(VectorStorageDatatype::Uint8),
        _ => None,
    }
}

fn datatype_out(datatype: VectorStorageDatatype) -> i32 {
    let datatype = match datatype {
        VectorStorageDatatype::Float32 => proto::Datatype::Float32,
        VectorStorageDatatype::Float16 => proto::Datatype::Float16,
        VectorStorageDatatype::Uint8 => proto::Datatype::Uint8,
        VectorStorageDatatype::Turbo4 => proto::Datatype::Turbo4,
    };
    datatype.into()
}

/// How the collection answers to "get info". It is always green: nothing is built in the background.
pub(crate) fn info_out_of(config: &EdgeConfig, metadata: Map<String, Value>, info: ShardInfo) -> proto::CollectionInfo {
    proto::CollectionInfo {
        status: proto::CollectionStatus::Green.into(),
        optimizer_status: Some(proto::OptimizerStatus { ok: true, error: String::new() }),
        segments_count: info.segments_count as u64,
        config: Some(config_out(config, metadata)),
        payload_schema: info.payload_schema.into_iter().map(|(key, info)| (key.to_string(), info_out(info))).collect(),
        points_count: Some(info.points_count as u64),
        indexed_vectors_count: Some(info.indexed_vectors_count as u64),
        ..Default::default()
    }
}

fn config_out(config: &EdgeConfig, metadata: Map<String, Value>) -> proto::CollectionConfig {
    let mut dense: HashMap<_, _> =
        config.vectors.iter().map(|(name, params)| (name.clone(), dense_out(params))).collect();
    let vectors = match dense.remove("") {
        Some(unnamed) if dense.is_empty() => Some(Config::Params(unnamed)),
        Some(unnamed) => {
            dense.insert(String::new(), unnamed);
            Some(Config::ParamsMap(proto::VectorParamsMap { map: dense }))
        }
        None if dense.is_empty() => None,
        None => Some(Config::ParamsMap(proto::VectorParamsMap { map: dense })),
    };
    let sparse: HashMap<_, _> = config
        .sparse_vectors
        .iter()
        .map(|(name, params)| {
            let modifier = params.modifier.map(|modifier| match modifier {
                Modifier::None => proto::Modifier::None.into(),
                Modifier::Idf => proto::Modifier::Idf.into(),
            });
            (name.clone(), proto::SparseVectorParams { index: None, modifier })
        })
        .collect();
    proto::CollectionConfig {
        params: Some(proto::CollectionParams {
            shard_number: 1,
            on_disk_payload: config.on_disk_payload,
            vectors_config: vectors.map(|config| proto::VectorsConfig { config: Some(config) }),
            replication_factor: Some(1),
            write_consistency_factor: Some(1),
            sparse_vectors_config: (!sparse.is_empty()).then_some(proto::SparseVectorConfig { map: sparse }),
            ..Default::default()
        }),
        hnsw_config: Some(proto::HnswConfigDiff {
            m: Some(config.hnsw_config.m as u64),
            ef_construct: Some(config.hnsw_config.ef_construct as u64),
            full_scan_threshold: Some(config.hnsw_config.full_scan_threshold as u64),
            ..Default::default()
        }),
        // Clients insist on these; they say what happens here: one segment, every write durable.
        optimizer_config: Some(proto::OptimizersConfigDiff {
            deleted_threshold: Some(1.0),
            vacuum_min_vector_number: Some(0),
            default_segment_number: Some(1),
            indexing_threshold: Some(0),
            flush_interval_sec: Some(0),
            ..Default::default()
        }),
        wal_config: Some(proto::WalConfigDiff {
            wal_capacity_mb: Some(4),
            wal_segments_ahead: Some(0),
            wal_retain_closed: Some(1),
        }),
        metadata: object_out(metadata),
        ..Default::default()
    }
}

fn dense_out(params: &EdgeVectorParams) -> proto::VectorParams {
    let distance = match params.distance {
        Distance::Cosine => proto::Distance::Cosine,
        Distance::Euclid => proto::Distance::Euclid,
        Distance::Dot => proto::Distance::Dot,
        Distance::Manhattan => proto::Distance::Manhattan,
    };
    proto::VectorParams {
        size: params.size as u64,
        distance: distance.into(),
        on_disk: params.on_disk,
        datatype: params.datatype.map(datatype_out),
        multivector_config: params
            .multivector_config
            .map(|_| proto::MultiVectorConfig { comparator: proto::MultiVectorComparator::MaxSim.into() }),
        ..Default::default()
    }
}
