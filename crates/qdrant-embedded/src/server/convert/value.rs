//! Point ids, payload values, JSON paths.

use std::collections::HashMap;

use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::{ListValue, PointId as ProtoId, Struct, Value};
use qdrant_edge::{JsonPath, Payload, PointId};
use serde_json::{Map, Number, Value as Json};
use uuid::Uuid;

use super::Converted;
use super::limits::{self, at_most, check_path};
use crate::server::error::Fault;

pub(crate) fn id_in(id: Option<ProtoId>) -> Converted<PointId> {
    match id.and_then(|id| id.point_id_options) {
        Some(PointIdOptions::Num(number)) => Ok(PointId::NumId(number)),
        Some(PointIdOptions::Uuid(text)) => {
            Uuid::parse_str(&text).map(PointId::Uuid).map_err(|_| Fault::bad(format!("Unable to parse UUID: {text}")))
        }
        None => Err(Fault::bad("Empty ID is provided, expected one of: uuid, num")),
    }
}

pub(crate) fn ids_in(ids: Vec<ProtoId>) -> Converted<Vec<PointId>> {
    at_most("ids", ids.len(), limits::POINTS)?;
    ids.into_iter().map(|id| id_in(Some(id))).collect()
}

pub(crate) fn id_out(id: PointId) -> ProtoId {
    let options = match id {
        PointId::NumId(number) => PointIdOptions::Num(number),
        PointId::Uuid(uuid) => PointIdOptions::Uuid(uuid.to_string()),
    };
    ProtoId { point_id_options: Some(options) }
}

pub(crate) fn path_in(text: &str) -> Converted<JsonPath> {
    check_path(text)?;
    text.parse().map_err(|()| Fault::bad(format!("Invalid json path: '{text}'")))
}

pub(crate) fn paths_in(texts: &[String]) -> Converted<Vec<JsonPath>> {
    at_most("keys", texts.len(), limits::PATHS)?;
    texts.iter().map(|text| path_in(text)).collect()
}

pub(crate) fn json_in(value: Value) -> Converted<Json> {
    Ok(match value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(flag)) => Json::Bool(flag),
        Some(Kind::IntegerValue(number)) => Json::Number(number.into()),
        Some(Kind::DoubleValue(number)) => Number::from_f64(number)
            .map(Json::Number)
            .ok_or_else(|| Fault::bad(format!("cannot convert {number} to json number")))?,
        Some(Kind::StringValue(text)) => Json::String(text),
        Some(Kind::ListValue(list)) => Json::Array(list.values.into_iter().map(json_in).collect::<Converted<_>>()?),
        Some(Kind::StructValue(fields)) => Json::Object(object_in(fields.fields)?),
    })
}

pub(crate) fn object_in(fields: HashMap<String, Value>) -> Converted<Map<String, Json>> {
    fields.into_iter().map(|(key, value)| Ok((key, json_in(value)?))).collect()
}

pub(crate) fn payload_in(fields: HashMap<String, Value>) -> Converted<Payload> {
    object_in(fields).map(Payload)
}

pub(crate) fn json_out(value: Json) -> Value {
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(flag) => Kind::BoolValue(flag),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Kind::IntegerValue(integer),
            // Only numbers beyond i64 and fractions come here, and those have an f64.
            None => Kind::DoubleValue(number.as_f64().unwrap_or(f64::MAX)),
        },
        Json::String(text) => Kind::StringValue(text),
        Json::Array(values) => Kind::ListValue(ListValue { values: values.into_iter().map(json_out).collect() }),
        Json::Object(fields) => Kind::StructValue(Struct { fields: object_out(fields) }),
    };
    Value { kind: Some(kind) }
}

pub(crate) fn object_out(fields: Map<String, Json>) -> HashMap<String, Value> {
    fields.into_iter().map(|(key, value)| (key, json_out(value))).collect()
}

pub(crate) fn payload_out(payload: Option<Payload>) -> HashMap<String, Value> {
    payload.map(|payload| object_out(payload.0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_survives_the_round_trip() {
        let value = json!({"a": [1, -2.5, null, true, "x", {"deep": [[]]}], "big": i64::MAX});
        assert_eq!(json_in(json_out(value.clone())), Ok(value));
    }

    #[test]
    fn what_json_cannot_hold_is_refused() {
        assert!(json_in(Value { kind: Some(Kind::DoubleValue(f64::NAN)) }).is_err());
    }

    #[test]
    fn ids_survive_the_round_trip() {
        for id in [PointId::NumId(u64::MAX), PointId::Uuid(Uuid::from_u128(7))] {
            assert_eq!(id_in(Some(id_out(id))), Ok(id));
        }
        assert!(id_in(None).is_err());
        assert!(id_in(Some(ProtoId { point_id_options: Some(PointIdOptions::Uuid("7".into())) })).is_err());
    }
}
