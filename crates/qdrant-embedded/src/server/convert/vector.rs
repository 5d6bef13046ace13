//! Vectors of points: dense, sparse and multi-dense, named or not.

use std::collections::HashMap;

use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::vector::Vector as ProtoVector;
use qdrant_client::qdrant::vectors::VectorsOptions;
use qdrant_client::qdrant::{vector_output, vectors_output};
use qdrant_edge::{Vector, VectorInternal, VectorPersisted, VectorStructInternal, VectorStructPersisted};

use super::Converted;
use crate::server::error::Fault;

pub(crate) fn vectors_in(vectors: Option<proto::Vectors>) -> Converted<VectorStructPersisted> {
    let options = vectors.ok_or_else(|| Fault::bad("Expected some vectors"))?.vectors_options;
    match options.ok_or_else(|| Fault::bad("Expected some vectors"))? {
        VectorsOptions::Vectors(named) => {
            let vectors = named.vectors.into_iter().map(|(name, vector)| Ok((name, persisted(vector_in(vector)?))));
            vectors.collect::<Converted<HashMap<_, _>>>().map(VectorStructPersisted::Named)
        }
        VectorsOptions::Vector(vector) => Ok(match vector_in(vector)? {
            VectorInternal::Sparse(_) => return Err(Fault::bad("Sparse vector must be named")),
            vector => VectorStructPersisted::Named([(String::new(), persisted(vector))].into()),
        }),
    }
}

fn persisted(vector: VectorInternal) -> VectorPersisted {
    VectorPersisted::from(vector)
}

#[expect(deprecated, reason = "clients before 1.16 send the old fields")]
pub(crate) fn vector_in(vector: proto::Vector) -> Converted<VectorInternal> {
    match vector.vector {
        Some(ProtoVector::Dense(dense)) => Ok(VectorInternal::Dense(dense.data)),
        Some(ProtoVector::Sparse(sparse)) => sparse_in(sparse.indices, sparse.values),
        Some(ProtoVector::MultiDense(multi)) => multi_in(multi),
        Some(ProtoVector::Document(_) | ProtoVector::Image(_) | ProtoVector::Object(_)) => Err(inference()),
        None => match (vector.indices, vector.vectors_count) {
            (Some(indices), _) => sparse_in(indices.data, vector.data),
            (None, Some(count)) if count > 0 => {
                let size = vector.data.len() / count as usize;
                let rows = vector.data.chunks(size.max(1)).map(<[f32]>::to_vec).collect();
                matrix_in(rows)
            }
            (None, _) => Ok(VectorInternal::Dense(vector.data)),
        },
    }
}

pub(crate) fn sparse_in(indices: Vec<u32>, values: Vec<f32>) -> Converted<VectorInternal> {
    Vector::new_sparse(indices, values).map(VectorInternal::from).map_err(Fault::from)
}

pub(crate) fn multi_in(multi: proto::MultiDenseVector) -> Converted<VectorInternal> {
    matrix_in(multi.vectors.into_iter().map(|row| row.data).collect())
}

fn matrix_in(rows: Vec<Vec<f32>>) -> Converted<VectorInternal> {
    Vector::new_multi(rows).map(VectorInternal::from).map_err(Fault::from)
}

/// Turning text or images into vectors needs a model, which this server does not have.
pub(crate) fn inference() -> Fault {
    Fault::Unsupported("inference (a document, image or object in place of a vector)".into())
}

pub(crate) fn vectors_out(vectors: VectorStructInternal) -> proto::VectorsOutput {
    let options = match vectors {
        VectorStructInternal::Single(dense) => vectors_output::VectorsOptions::Vector(vector_out(dense.into())),
        VectorStructInternal::MultiDense(multi) => {
            vectors_output::VectorsOptions::Vector(vector_out(VectorInternal::MultiDense(multi)))
        }
        VectorStructInternal::Named(named) => {
            let vectors = named.into_iter().map(|(name, vector)| (name, vector_out(vector))).collect();
            vectors_output::VectorsOptions::Vectors(proto::NamedVectorsOutput { vectors })
        }
    };
    proto::VectorsOutput { vectors_options: Some(options) }
}

fn vector_out(vector: VectorInternal) -> proto::VectorOutput {
    let vector = match vector {
        VectorInternal::Dense(data) => vector_output::Vector::Dense(proto::DenseVector { data }),
        VectorInternal::Sparse(sparse) => {
            vector_output::Vector::Sparse(proto::SparseVector { values: sparse.values, indices: sparse.indices })
        }
        VectorInternal::MultiDense(multi) => {
            let rows = multi.flattened_vectors.chunks(multi.dim.max(1));
            let vectors = rows.map(|row| proto::DenseVector { data: row.to_vec() }).collect();
            vector_output::Vector::MultiDense(proto::MultiDenseVector { vectors })
        }
    };
    proto::VectorOutput { vector: Some(vector), ..Default::default() }
}

/// Bytes that the vectors of a point take at most.
pub(crate) fn vectors_bytes(vectors: &VectorStructPersisted) -> usize {
    let rows = |rows: &Vec<Vec<f32>>| rows.iter().map(Vec::len).sum::<usize>() * 4;
    match vectors {
        VectorStructPersisted::Single(dense) => dense.len() * 4,
        VectorStructPersisted::MultiDense(multi) => rows(multi),
        VectorStructPersisted::Named(named) => named
            .values()
            .map(|vector| match vector {
                VectorPersisted::Dense(dense) => dense.len() * 4,
                VectorPersisted::Sparse(sparse) => sparse.indices.len() * 8,
                VectorPersisted::MultiDense(multi) => rows(multi),
            })
            .sum(),
    }
}
