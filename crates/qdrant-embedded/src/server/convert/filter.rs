//! Filters and their conditions.

use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::condition::ConditionOneOf;
use qdrant_client::qdrant::r#match::MatchValue as ProtoMatch;
use qdrant_edge::external::ordered_float::OrderedFloat;
use qdrant_edge::{
    Condition, DateTimeWrapper, FieldCondition, Filter, GeoBoundingBox, GeoPoint, GeoPolygon, GeoRadius,
    HasIdCondition, HasVectorCondition, IsEmptyCondition, IsNullCondition, Match, MatchExcept, MatchPhrase, MatchText,
    MatchTextAny, MinShould, Nested, NestedCondition, Range, RangeInterface, ValuesCount,
};

use super::Converted;
use super::value::{ids_in, path_in};
use crate::server::error::Fault;

/// How deep filters may nest: far beyond any real one, far below what would exhaust the stack.
const DEPTH_LIMIT: usize = 32;

pub(crate) fn filter_in(filter: proto::Filter) -> Converted<Filter> {
    filter_at(filter, 0)
}

pub(crate) fn filter_opt(filter: Option<proto::Filter>) -> Converted<Option<Filter>> {
    filter.map(filter_in).transpose()
}

fn filter_at(filter: proto::Filter, depth: usize) -> Converted<Filter> {
    if depth > DEPTH_LIMIT {
        return Err(Fault::bad(format!("filter nests deeper than {DEPTH_LIMIT}")));
    }
    let min_should = filter.min_should.map(|min| {
        let min_count = usize::try_from(min.min_count).unwrap_or(usize::MAX);
        Ok::<_, Fault>(MinShould { conditions: conditions_in(min.conditions, depth)?.unwrap_or_default(), min_count })
    });
    Ok(Filter {
        should: conditions_in(filter.should, depth)?,
        min_should: min_should.transpose()?,
        must: conditions_in(filter.must, depth)?,
        must_not: conditions_in(filter.must_not, depth)?,
    })
}

fn conditions_in(conditions: Vec<proto::Condition>, depth: usize) -> Converted<Option<Vec<Condition>>> {
    if conditions.is_empty() {
        return Ok(None);
    }
    let known = conditions.into_iter().filter_map(|condition| condition.condition_one_of);
    known.map(|condition| condition_in(condition, depth)).collect::<Converted<_>>().map(Some)
}

fn condition_in(condition: ConditionOneOf, depth: usize) -> Converted<Condition> {
    Ok(match condition {
        ConditionOneOf::Field(field) => Condition::Field(field_in(field)?),
        ConditionOneOf::HasId(has_id) => {
            Condition::HasId(ids_in(has_id.has_id)?.into_iter().collect::<HasIdCondition>())
        }
        ConditionOneOf::IsEmpty(empty) => Condition::IsEmpty(IsEmptyCondition::from(path_in(&empty.key)?)),
        ConditionOneOf::IsNull(null) => Condition::IsNull(IsNullCondition::from(path_in(&null.key)?)),
        ConditionOneOf::Filter(filter) => Condition::Filter(filter_at(filter, depth + 1)?),
        ConditionOneOf::Nested(nested) => {
            let filter = nested.filter.ok_or_else(|| Fault::bad("Nested condition without a filter"))?;
            let nested = Nested { key: path_in(&nested.key)?, filter: filter_at(filter, depth + 1)? };
            Condition::Nested(NestedCondition { nested })
        }
        ConditionOneOf::HasVector(vector) => Condition::HasVector(HasVectorCondition { has_vector: vector.has_vector }),
        ConditionOneOf::Slice(_) => return Err(Fault::Unsupported("the filter condition `slice`".into())),
    })
}

fn field_in(field: proto::FieldCondition) -> Converted<FieldCondition> {
    let range = match (field.range, field.datetime_range) {
        (Some(range), _) => Some(RangeInterface::Float(Range {
            lt: range.lt.map(OrderedFloat),
            gt: range.gt.map(OrderedFloat),
            gte: range.gte.map(OrderedFloat),
            lte: range.lte.map(OrderedFloat),
        })),
        (None, Some(range)) => Some(RangeInterface::DateTime(Range {
            lt: range.lt.map(|at| timestamp_in(at.seconds, at.nanos)).transpose()?,
            gt: range.gt.map(|at| timestamp_in(at.seconds, at.nanos)).transpose()?,
            gte: range.gte.map(|at| timestamp_in(at.seconds, at.nanos)).transpose()?,
            lte: range.lte.map(|at| timestamp_in(at.seconds, at.nanos)).transpose()?,
        })),
        (None, None) => None,
    };
    let count = |count: Option<u64>| count.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    Ok(FieldCondition {
        key: path_in(&field.key)?,
        r#match: field.r#match.map(match_in).transpose()?,
        range,
        geo_bounding_box: field.geo_bounding_box.map(|geo| box_in(&geo)).transpose()?,
        geo_radius: field.geo_radius.map(|geo| radius_in(&geo)).transpose()?,
        geo_polygon: field.geo_polygon.map(|geo| polygon_in(&geo)).transpose()?,
        values_count: field.values_count.map(|counts| ValuesCount {
            lt: count(counts.lt),
            gt: count(counts.gt),
            gte: count(counts.gte),
            lte: count(counts.lte),
        }),
        is_empty: field.is_empty,
        is_null: field.is_null,
    })
}

fn match_in(matching: proto::Match) -> Converted<Match> {
    Ok(match matching.match_value {
        Some(ProtoMatch::Keyword(word)) => Match::from(word),
        Some(ProtoMatch::Integer(number)) => Match::from(number),
        Some(ProtoMatch::Boolean(flag)) => Match::from(flag),
        Some(ProtoMatch::Keywords(words)) => Match::from(words.strings),
        Some(ProtoMatch::Integers(numbers)) => Match::from(numbers.integers),
        Some(ProtoMatch::ExceptKeywords(words)) => Match::Except(MatchExcept::from(words.strings)),
        Some(ProtoMatch::ExceptIntegers(numbers)) => Match::Except(MatchExcept::from(numbers.integers)),
        Some(ProtoMatch::Text(text)) => Match::Text(MatchText { text }),
        Some(ProtoMatch::TextAny(text_any)) => Match::TextAny(MatchTextAny { text_any }),
        Some(ProtoMatch::Phrase(phrase)) => Match::Phrase(MatchPhrase { phrase }),
        Some(ProtoMatch::Prefix(_)) => return Err(Fault::Unsupported("the match `prefix`".into())),
        Some(ProtoMatch::Substring(_)) => return Err(Fault::Unsupported("the match `substring`".into())),
        None => return Err(Fault::bad("Malformed Match condition")),
    })
}

pub(crate) fn timestamp_in(seconds: i64, nanos: i32) -> Converted<DateTimeWrapper> {
    let nanos = u32::try_from(nanos).ok();
    nanos
        .and_then(|nanos| chrono::DateTime::from_timestamp(seconds, nanos))
        .map(DateTimeWrapper)
        .ok_or_else(|| Fault::bad(format!("Unable to parse timestamp: {seconds} s")))
}

fn geo_in(point: proto::GeoPoint) -> Converted<GeoPoint> {
    GeoPoint::new(point.lon, point.lat).map_err(|error| Fault::bad(error.to_string()))
}

fn box_in(geo: &proto::GeoBoundingBox) -> Converted<GeoBoundingBox> {
    match (geo.top_left, geo.bottom_right) {
        (Some(top_left), Some(bottom_right)) => {
            Ok(GeoBoundingBox { top_left: geo_in(top_left)?, bottom_right: geo_in(bottom_right)? })
        }
        _ => Err(Fault::bad("Malformed GeoBoundingBox type")),
    }
}

fn radius_in(geo: &proto::GeoRadius) -> Converted<GeoRadius> {
    let center = geo.center.ok_or_else(|| Fault::bad("Malformed GeoRadius type"))?;
    Ok(GeoRadius { center: geo_in(center)?, radius: OrderedFloat(f64::from(geo.radius)) })
}

/// Goes through JSON, because the engine does not export the type of a line.
fn polygon_in(geo: &proto::GeoPolygon) -> Converted<GeoPolygon> {
    let line = |line: &proto::GeoLineString| {
        let points: Vec<_> =
            line.points.iter().map(|point| serde_json::json!({"lon": point.lon, "lat": point.lat})).collect();
        serde_json::json!({ "points": points })
    };
    let interiors: Vec<_> = geo.interiors.iter().map(line).collect();
    let shape = serde_json::json!({"exterior": geo.exterior.as_ref().map(line), "interiors": interiors});
    serde_json::from_value(shape).map_err(|error| Fault::bad(format!("Malformed GeoPolygon type: {error}")))
}
