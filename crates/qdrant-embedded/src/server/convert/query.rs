//! Universal queries: nearest, recommend, discover, context, order, fusion, sample, MMR, with prefetches.

use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::query::Variant;
use qdrant_client::qdrant::vector_input::Variant as Input;
use qdrant_edge::external::ordered_float::OrderedFloat;
use qdrant_edge::{
    Condition, ContextPair, ContextQuery, DiscoverQuery, EdgeConfig, Filter, Fusion, HasIdCondition, Mmr, NamedQuery,
    PointId, Prefetch, QueryEnum, QueryRequest, RecommendQuery, Sample, ScoringQuery, Vector, VectorInternal,
};

use super::Converted;
use super::filter::filter_opt;
use super::limits::{self, at_most, check_results};
use super::select::{order_by_in, payload_selector, positive, search_params_in, vector_selector};
use super::value::id_in;
use super::vector::{inference, multi_in, sparse_in};
use crate::server::error::Fault;

/// Points returned when the request does not say.
const DEFAULT_LIMIT: usize = 10;
/// The constant of reciprocal rank fusion when the request does not say.
const DEFAULT_RRF_K: usize = 2;
/// Relevance against diversity when the request does not say.
const DEFAULT_DIVERSITY: f32 = 0.5;

/// What a conversion needs to know of the collection.
pub(crate) struct Context<'a> {
    pub(crate) config: &'a EdgeConfig,
    /// How many points it has. The engine reserves room for as many results as it is asked for, however many exist.
    pub(crate) points: usize,
    /// The vector of a stored point, by its id and the vector's name.
    pub(crate) stored: &'a dyn Fn(PointId, &str) -> Converted<VectorInternal>,
}

/// A query, and how many of its first results to leave out.
pub(crate) fn query_in(request: proto::QueryPoints, context: &Context<'_>) -> Converted<(QueryRequest, usize)> {
    let using = request.using.unwrap_or_default();
    no_lookup(request.lookup_from.as_ref())?;
    let (query, excluded) = scoring_opt(request.query, &using, !request.prefetch.is_empty(), context)?;
    let offset = usize::try_from(request.offset.unwrap_or_default()).unwrap_or(usize::MAX);
    let limit = positive("limit", request.limit, DEFAULT_LIMIT)?;
    check_results(limit, context.points)?;
    let converted = QueryRequest {
        prefetches: Prefetches { context, left: limits::PREFETCHES }.convert(request.prefetch, 1)?,
        query,
        filter: without(filter_opt(request.filter)?, excluded),
        score_threshold: request.score_threshold.map(OrderedFloat),
        limit: limit.min(context.points.max(1)),
        offset: offset.min(context.points),
        params: request.params.as_ref().map(search_params_in),
        with_vector: vector_selector(request.with_vectors),
        with_payload: payload_selector(request.with_payload, false)?,
    };
    Ok((converted, offset))
}

/// Converts the prefetches of one query, so many on all levels together.
struct Prefetches<'a, 'c> {
    context: &'a Context<'c>,
    left: usize,
}

impl Prefetches<'_, '_> {
    fn convert(&mut self, prefetches: Vec<proto::PrefetchQuery>, depth: usize) -> Converted<Vec<Prefetch>> {
        if prefetches.len() > self.left {
            return Err(Fault::bad(format!("the query has more than {} prefetches", limits::PREFETCHES)));
        }
        if !prefetches.is_empty() && depth > limits::PREFETCH_DEPTH {
            return Err(Fault::bad(format!("prefetches nest deeper than {}", limits::PREFETCH_DEPTH)));
        }
        self.left -= prefetches.len();
        prefetches.into_iter().map(|prefetch| self.convert_one(prefetch, depth)).collect()
    }

    fn convert_one(&mut self, prefetch: proto::PrefetchQuery, depth: usize) -> Converted<Prefetch> {
        let using = prefetch.using.unwrap_or_default();
        no_lookup(prefetch.lookup_from.as_ref())?;
        let (query, excluded) = scoring_opt(prefetch.query, &using, !prefetch.prefetch.is_empty(), self.context)?;
        let limit = positive("prefetch limit", prefetch.limit, DEFAULT_LIMIT)?;
        check_results(limit, self.context.points)?;
        Ok(Prefetch {
            prefetches: self.convert(prefetch.prefetch, depth + 1)?,
            query,
            limit: limit.min(self.context.points.max(1)),
            params: prefetch.params.as_ref().map(search_params_in),
            filter: without(filter_opt(prefetch.filter)?, excluded),
            score_threshold: prefetch.score_threshold.map(OrderedFloat),
        })
    }
}

fn no_lookup(lookup: Option<&proto::LookupLocation>) -> Converted<()> {
    lookup.map_or(Ok(()), |_| Err(Fault::Unsupported("`lookup_from` another collection".into())))
}

/// Points that served as examples are no results.
fn without(filter: Option<Filter>, excluded: Vec<PointId>) -> Option<Filter> {
    if excluded.is_empty() {
        return filter;
    }
    let mut filter = filter.unwrap_or_default();
    let condition = Condition::HasId(excluded.into_iter().collect::<HasIdCondition>());
    filter.must_not.get_or_insert_default().push(condition);
    Some(filter)
}

fn scoring_opt(
    query: Option<proto::Query>,
    using: &str,
    has_prefetch: bool,
    context: &Context<'_>,
) -> Converted<(Option<ScoringQuery>, Vec<PointId>)> {
    let Some(query) = query else { return Ok((None, Vec::new())) };
    let mut examples = Examples { using, context, ids: Vec::new(), count: 0 };
    let scoring = scoring_in(query, has_prefetch, &mut examples)?;
    Ok((Some(scoring), examples.ids))
}

fn scoring_in(query: proto::Query, has_prefetch: bool, examples: &mut Examples<'_, '_>) -> Converted<ScoringQuery> {
    let fused = |fusion| if has_prefetch { Ok(ScoringQuery::Fusion(fusion)) } else { Err(fusion_alone()) };
    Ok(match query.variant.ok_or_else(|| Fault::bad("Query variant is missing"))? {
        Variant::Nearest(input) => {
            let query = examples.vector(Some(input))?;
            ScoringQuery::Vector(QueryEnum::Nearest(examples.named(query)))
        }
        Variant::NearestWithMmr(input) => {
            let mmr = input.mmr.unwrap_or_default();
            let diversity = mmr.diversity.unwrap_or(DEFAULT_DIVERSITY);
            ScoringQuery::Mmr(Mmr {
                vector: examples.vector(input.nearest)?,
                using: examples.using.to_owned(),
                lambda: OrderedFloat(1.0 - diversity),
                candidates_limit: mmr
                    .candidates_limit
                    .map_or(100, |limit| limit as usize)
                    .min(examples.context.points.max(1)),
            })
        }
        Variant::Recommend(input) => recommend_in(input, examples)?,
        Variant::Discover(input) => {
            let target = examples.vector(input.target)?;
            let pairs = pairs_in(input.context.unwrap_or_default(), examples)?;
            ScoringQuery::Vector(QueryEnum::Discover(examples.named(DiscoverQuery::new(target, pairs))))
        }
        Variant::Context(input) => {
            let pairs = pairs_in(input, examples)?;
            ScoringQuery::Vector(QueryEnum::Context(examples.named(ContextQuery::new(pairs))))
        }
        Variant::OrderBy(order) => ScoringQuery::OrderBy(order_by_in(order)?),
        Variant::Fusion(fusion) => match proto::Fusion::try_from(fusion) {
            Ok(proto::Fusion::Rrf) => fused(Fusion::Rrf { k: DEFAULT_RRF_K, weights: None })?,
            Ok(proto::Fusion::Dbsf) => fused(Fusion::Dbsf)?,
            Err(_) => return Err(Fault::bad("unknown fusion")),
        },
        Variant::Rrf(rrf) => {
            let weights = (!rrf.weights.is_empty()).then(|| rrf.weights.into_iter().map(OrderedFloat).collect());
            fused(Fusion::Rrf { k: rrf.k.map_or(DEFAULT_RRF_K, |k| k as usize), weights })?
        }
        Variant::Sample(_) => ScoringQuery::Sample(Sample::Random),
        Variant::Formula(_) => return Err(Fault::Unsupported("the query `formula`".into())),
        Variant::RelevanceFeedback(_) => return Err(Fault::Unsupported("the query `relevance_feedback`".into())),
        Variant::Text(_) => return Err(Fault::Unsupported("the query `text`".into())),
    })
}

fn fusion_alone() -> Fault {
    Fault::bad("cannot apply a fusion query without prefetches")
}

fn recommend_in(input: proto::RecommendInput, examples: &mut Examples<'_, '_>) -> Converted<ScoringQuery> {
    let mut vectors = |inputs: Vec<proto::VectorInput>| {
        inputs.into_iter().map(|input| examples.vector(Some(input))).collect::<Converted<Vec<_>>>()
    };
    let positives = vectors(input.positive)?;
    let negatives = vectors(input.negative)?;
    let strategy = input.strategy.and_then(|strategy| proto::RecommendStrategy::try_from(strategy).ok());
    Ok(ScoringQuery::Vector(match strategy.unwrap_or(proto::RecommendStrategy::AverageVector) {
        proto::RecommendStrategy::AverageVector => QueryEnum::Nearest(examples.named(average(positives, negatives)?)),
        proto::RecommendStrategy::BestScore => {
            QueryEnum::RecommendBestScore(examples.named(RecommendQuery::new(positives, negatives)))
        }
        proto::RecommendStrategy::SumScores => {
            QueryEnum::RecommendSumScores(examples.named(RecommendQuery::new(positives, negatives)))
        }
    }))
}

fn pairs_in(
    input: proto::ContextInput,
    examples: &mut Examples<'_, '_>,
) -> Converted<Vec<ContextPair<VectorInternal>>> {
    let pairs = input.pairs.into_iter();
    let pairs = pairs.map(|pair| {
        let positive = examples.vector(pair.positive)?;
        Ok(ContextPair { positive, negative: examples.vector(pair.negative)? })
    });
    pairs.collect()
}

/// The mean of the positive examples, pushed away from the mean of the negative ones.
fn average(positives: Vec<VectorInternal>, negatives: Vec<VectorInternal>) -> Converted<VectorInternal> {
    let Some(positive) = mean(positives)? else {
        return Err(Fault::bad("At least one positive vector ID required with this strategy"));
    };
    let Some(negative) = mean(negatives)? else { return Ok(VectorInternal::Dense(positive)) };
    let pushed = positive.iter().zip(&negative).map(|(positive, negative)| positive + positive - negative);
    Ok(VectorInternal::Dense(pushed.collect()))
}

#[expect(clippy::cast_precision_loss, reason = "nobody gives 16 million examples")]
fn mean(vectors: Vec<VectorInternal>) -> Converted<Option<Vec<f32>>> {
    let count = vectors.len() as f32;
    let mut sum: Option<Vec<f32>> = None;
    for vector in vectors {
        let VectorInternal::Dense(vector) = vector else {
            return Err(Fault::Unsupported("the average of sparse or multi-dense examples".into()));
        };
        match &mut sum {
            None => sum = Some(vector),
            Some(sum) => sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value),
        }
    }
    Ok(sum.map(|sum| sum.into_iter().map(|value| value / count).collect()))
}

/// Turns the vectors of one query into what the engine compares, and notes the stored points among them.
struct Examples<'a, 'c> {
    using: &'a str,
    context: &'a Context<'c>,
    ids: Vec<PointId>,
    count: usize,
}

impl Examples<'_, '_> {
    fn vector(&mut self, input: Option<proto::VectorInput>) -> Converted<VectorInternal> {
        self.count += 1;
        at_most("examples", self.count, limits::EXAMPLES)?;
        let vector = match input.and_then(|input| input.variant) {
            Some(Input::Id(id)) => {
                let id = id_in(Some(id))?;
                self.ids.push(id);
                (self.context.stored)(id, self.using)?
            }
            Some(Input::Dense(dense)) => VectorInternal::Dense(dense.data),
            Some(Input::Sparse(sparse)) => sparse_in(sparse.indices, sparse.values)?,
            Some(Input::MultiDense(multi)) => multi_in(multi)?,
            Some(Input::Document(_) | Input::Image(_) | Input::Object(_)) => return Err(inference()),
            None => return Err(Fault::bad("VectorInput variant is missing")),
        };
        fitting(vector, self.using, self.context.config)
    }

    fn named<T>(&self, query: T) -> NamedQuery<T> {
        NamedQuery { query, using: Some(self.using.to_owned()) }
    }
}

/// Checks kind and size against the collection, because the engine takes them for granted.
fn fitting(vector: VectorInternal, using: &str, config: &EdgeConfig) -> Converted<VectorInternal> {
    if config.sparse_vectors.contains_key(using) {
        return match vector {
            VectorInternal::Sparse(_) => Ok(vector),
            _ => Err(Fault::bad(format!("vector {using:?} is sparse, the query is not"))),
        };
    }
    let Some(params) = config.vectors.get(using) else {
        return Err(Fault::bad(format!("Not existing vector name error: {using}")));
    };
    let (vector, size) = match (vector, params.multivector_config.is_some()) {
        (VectorInternal::Dense(row), true) => {
            let size = row.len();
            (Vector::new_multi(vec![row])?.into(), size)
        }
        (VectorInternal::Dense(row), false) => {
            let size = row.len();
            (VectorInternal::Dense(row), size)
        }
        (VectorInternal::MultiDense(rows), true) => {
            let size = rows.dim;
            (VectorInternal::MultiDense(rows), size)
        }
        (VectorInternal::MultiDense(_), false) => {
            return Err(Fault::bad("Conversion between multi and regular vectors failed"));
        }
        (VectorInternal::Sparse(_), _) => {
            return Err(Fault::bad("Conversion between sparse and regular vectors failed"));
        }
    };
    if size == params.size {
        return Ok(vector);
    }
    Err(Fault::bad(format!("Vector dimension error: expected dim: {}, got {size}", params.size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recommendation_moves_away_from_negatives() {
        let dense = |values: &[f32]| VectorInternal::Dense(values.to_vec());
        let mixed = average(vec![dense(&[1.0, 0.0]), dense(&[3.0, 0.0])], vec![dense(&[0.0, 1.0])]);
        assert_eq!(mixed, Ok(dense(&[4.0, -1.0])));
        assert!(average(vec![], vec![dense(&[1.0, 1.0])]).is_err());
    }
}
