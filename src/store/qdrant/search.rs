//! Searching any collection by vector, with the filter language of Qdrant's REST interface.

use qdrant_client::qdrant::{Condition, Filter, Query, QueryPointsBuilder, Range};
use serde_json::{Value, json};

use super::collections::Collection;
use super::requests::show_id;
use super::values::{exactly, from_payload, point_id};
use crate::store::{Store, StoreError};

/// Deepest nesting of filters.
const MAX_DEPTH: usize = 8;

impl Store {
    /// Whether `collection` is one that qron keeps its own data in.
    #[must_use]
    pub fn owns_collection(&self, collection: &str) -> bool {
        Collection::ALL.into_iter().any(|own| self.inner.name(own) == collection)
            || (!self.inner.prefix.is_empty() && collection.starts_with(&self.inner.prefix))
    }

    /// Points of any collection nearest to `vector` (of the vector named `using`), as objects with `id`, `score`,
    /// `payload`. `filter` is written as in Qdrant's REST interface: `must`, `should` and `must_not` with `match`
    /// (`value`, `any`, `text`), `range`, `has_id` and filters within filters.
    ///
    /// # Errors
    /// A failure of the store, or [`StoreError::Refused`] that names the part of the filter it does not know.
    pub async fn search_collection(
        &self,
        collection: &str,
        using: Option<&str>,
        vector: Vec<f32>,
        filter: Option<Value>,
        limit: u32,
    ) -> Result<Vec<Value>, StoreError> {
        let mut request = QueryPointsBuilder::new(collection)
            .query(Query::new_nearest(vector))
            .limit(u64::from(limit))
            .with_payload(true);
        if let Some(using) = using {
            request = request.using(using);
        }
        if let Some(filter) = filter {
            let filter = read_filter(&filter, MAX_DEPTH)
                .map_err(|reason| StoreError::Refused { operation: "search", reason })?;
            request = request.filter(filter);
        }
        let found = self.inner.query("search", request.build()).await?;
        let hits = found.into_iter().map(|point| {
            json!({
                "id": point.id.as_ref().map(show_id),
                "score": point.score,
                "payload": from_payload(point.payload),
            })
        });
        Ok(hits.collect())
    }
}

fn read_filter(value: &Value, depth: usize) -> Result<Filter, String> {
    let Value::Object(clauses) = value else { return Err(format!("filter: {value} is not an object")) };
    if depth == 0 {
        return Err(format!("filter: nested deeper than {MAX_DEPTH} levels"));
    }
    let mut filter = Filter::default();
    for (clause, conditions) in clauses {
        let conditions = match conditions {
            Value::Array(conditions) => conditions.iter().map(|one| read_condition(one, depth)).collect(),
            one => read_condition(one, depth).map(|one| vec![one]),
        }?;
        match clause.as_str() {
            "must" => filter.must = conditions,
            "should" => filter.should = conditions,
            "must_not" => filter.must_not = conditions,
            other => return Err(format!("filter: {other:?} is not known: use must, should or must_not")),
        }
    }
    Ok(filter)
}

fn read_condition(value: &Value, depth: usize) -> Result<Condition, String> {
    if let Some(ids) = value.get("has_id") {
        return read_ids(ids);
    }
    let Some(key) = value.get("key").and_then(Value::as_str) else {
        return read_filter(value, depth - 1).map(Condition::from);
    };
    if let Some(wanted) = value.get("match") {
        return read_match(key, wanted);
    }
    if let Some(range) = value.get("range") {
        return read_range(key, range);
    }
    Err(format!("filter: condition {value} is not known: use match or range"))
}

fn read_ids(ids: &Value) -> Result<Condition, String> {
    let read = |id: &Value| {
        let text = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        text.parse().map(point_id).map_err(|error| format!("filter: {error}"))
    };
    let ids = ids.as_array().ok_or_else(|| format!("filter: has_id: {ids} is not a list"))?;
    Ok(Condition::has_id(ids.iter().map(read).collect::<Result<Vec<_>, _>>()?))
}

fn read_match(key: &str, wanted: &Value) -> Result<Condition, String> {
    let unknown = || format!("filter: match {wanted} of {key:?} is not known: use value, any or text");
    if let Some(text) = wanted.get("text").and_then(Value::as_str) {
        return Ok(Condition::matches_text(key, text));
    }
    match (wanted.get("value"), wanted.get("any").and_then(Value::as_array)) {
        (Some(Value::String(text)), _) => Ok(exactly(key, text.clone())),
        (Some(Value::Bool(truth)), _) => Ok(Condition::matches(key, *truth)),
        (Some(Value::Number(number)), _) => Ok(Condition::matches(key, number.as_i64().ok_or_else(unknown)?)),
        (None, Some(any)) => {
            let words: Option<Vec<String>> = any.iter().map(|one| one.as_str().map(str::to_owned)).collect();
            let numbers: Option<Vec<i64>> = any.iter().map(Value::as_i64).collect();
            match (words, numbers) {
                (Some(words), _) => Ok(Condition::matches(key, words)),
                (None, Some(numbers)) => Ok(Condition::matches(key, numbers)),
                (None, None) => Err(unknown()),
            }
        }
        _ => Err(unknown()),
    }
}

fn read_range(key: &str, range: &Value) -> Result<Condition, String> {
    let unknown = || format!("filter: range {range} of {key:?} is not known: use gt, gte, lt, lte with numbers");
    let mut bounds = Range::default();
    for (bound, value) in range.as_object().ok_or_else(unknown)? {
        let place = match bound.as_str() {
            "gt" => &mut bounds.gt,
            "gte" => &mut bounds.gte,
            "lt" => &mut bounds.lt,
            "lte" => &mut bounds.lte,
            _ => return Err(unknown()),
        };
        *place = Some(value.as_f64().ok_or_else(unknown)?);
    }
    Ok(Condition::range(key, bounds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_language_is_understood() {
        let filter = read_filter(
            &json!({
                "must": [
                    {"key": "city", "match": {"value": "Berlin"}},
                    {"key": "n", "range": {"gte": 1, "lt": 2.5}},
                    {"should": [{"key": "a", "match": {"any": [1, 2]}}, {"has_id": [7, "550e8400-e29b-41d4-a716-446655440000"]}]},
                ],
                "must_not": {"key": "old", "match": {"value": true}},
            }),
            MAX_DEPTH,
        )
        .expect("a filter");
        assert_eq!((filter.must.len(), filter.must_not.len()), (3, 1));
        assert_eq!(filter.must[0], Condition::matches("city", "Berlin".to_owned()));
        assert_eq!(filter.must[1], Condition::range("n", Range { gte: Some(1.0), lt: Some(2.5), ..Range::default() }));
    }

    #[test]
    fn what_is_not_understood_is_named_not_ignored() {
        let endless = (0..20).fold(json!({"must": []}), |inner, _| json!({"must": [inner]}));
        for (filter, named) in [
            (json!([]), "object"),
            (json!({"musst": []}), "musst"),
            (json!({"must": [{"key": "a", "geo": {}}]}), "geo"),
            (json!({"must": [{"key": "a", "match": {"except": ["b"]}}]}), "except"),
            (json!({"must": [{"key": "a", "match": {"value": 1.5}}]}), "1.5"),
            (json!({"must": [{"key": "a", "range": {"above": 1}}]}), "above"),
            (json!({"must": [{"has_id": ["x"]}]}), "x"),
            (endless, "nested"),
        ] {
            let error = read_filter(&filter, MAX_DEPTH).expect_err("not a filter");
            assert!(error.contains(named), "{error}");
        }
    }
}
