//! Payload indexes: their parameters and how a collection reports them.

#![expect(deprecated, reason = "`on_disk` is what clients before 1.20 send and read")]

use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::payload_index_params::IndexParams;
use qdrant_client::qdrant::stemming_algorithm::StemmingParams;
use qdrant_edge::{
    BoolIndexParams, DatetimeIndexParams, FloatIndexParams, GeoIndexParams, IntegerIndexParams, KeywordIndexParams,
    PayloadFieldSchema, PayloadIndexInfo, PayloadSchemaParams, PayloadSchemaType, TextIndexParams, UuidIndexParams,
};
use serde_json::json;

use super::Converted;
use crate::server::error::Fault;

/// The schema of a new index; without a type the engine infers it from the data, as the server does.
pub(crate) fn schema_in(
    field_type: Option<i32>,
    params: Option<proto::PayloadIndexParams>,
) -> Converted<PayloadFieldSchema> {
    let field_type = field_type
        .and_then(|kind| proto::FieldType::try_from(kind).ok())
        .ok_or_else(|| Fault::bad("cannot convert field_type"))?;
    let kind = match field_type {
        proto::FieldType::Keyword => PayloadSchemaType::Keyword,
        proto::FieldType::Integer => PayloadSchemaType::Integer,
        proto::FieldType::Float => PayloadSchemaType::Float,
        proto::FieldType::Geo => PayloadSchemaType::Geo,
        proto::FieldType::Text => PayloadSchemaType::Text,
        proto::FieldType::Bool => PayloadSchemaType::Bool,
        proto::FieldType::Datetime => PayloadSchemaType::Datetime,
        proto::FieldType::Uuid => PayloadSchemaType::Uuid,
    };
    let Some(params) = params.and_then(|params| params.index_params) else {
        return Ok(PayloadFieldSchema::FieldType(kind));
    };
    let params = params_in(params)?;
    if params.kind() != kind {
        return Err(Fault::bad(format!("field_type {kind:?} and field_index_params do not match")));
    }
    Ok(PayloadFieldSchema::FieldParams(params))
}

fn params_in(params: IndexParams) -> Converted<PayloadSchemaParams> {
    Ok(match params {
        IndexParams::KeywordIndexParams(params) => PayloadSchemaParams::Keyword(KeywordIndexParams {
            is_tenant: params.is_tenant,
            on_disk: params.on_disk,
            enable_hnsw: params.enable_hnsw,
            ..Default::default()
        }),
        IndexParams::IntegerIndexParams(params) => {
            if params.lookup == Some(false) && params.range == Some(false) {
                return Err(Fault::bad("the 'lookup' and 'range' capabilities can't be both disabled"));
            }
            PayloadSchemaParams::Integer(IntegerIndexParams {
                lookup: params.lookup,
                range: params.range,
                is_principal: params.is_principal,
                on_disk: params.on_disk,
                enable_hnsw: params.enable_hnsw,
                ..Default::default()
            })
        }
        IndexParams::FloatIndexParams(params) => PayloadSchemaParams::Float(FloatIndexParams {
            is_principal: params.is_principal,
            on_disk: params.on_disk,
            enable_hnsw: params.enable_hnsw,
            ..Default::default()
        }),
        IndexParams::GeoIndexParams(params) => PayloadSchemaParams::Geo(GeoIndexParams {
            on_disk: params.on_disk,
            enable_hnsw: params.enable_hnsw,
            ..Default::default()
        }),
        IndexParams::BoolIndexParams(params) => PayloadSchemaParams::Bool(BoolIndexParams {
            on_disk: params.on_disk,
            enable_hnsw: params.enable_hnsw,
            ..Default::default()
        }),
        IndexParams::DatetimeIndexParams(params) => PayloadSchemaParams::Datetime(DatetimeIndexParams {
            is_principal: params.is_principal,
            on_disk: params.on_disk,
            enable_hnsw: params.enable_hnsw,
            ..Default::default()
        }),
        IndexParams::UuidIndexParams(params) => PayloadSchemaParams::Uuid(UuidIndexParams {
            is_tenant: params.is_tenant,
            on_disk: params.on_disk,
            enable_hnsw: params.enable_hnsw,
            ..Default::default()
        }),
        IndexParams::TextIndexParams(params) => PayloadSchemaParams::Text(text_in(&params)?),
    })
}

/// Goes through JSON, because the engine does not export the types of stop words and stemmers.
fn text_in(params: &proto::TextIndexParams) -> Converted<TextIndexParams> {
    let tokenizer = match proto::TokenizerType::try_from(params.tokenizer) {
        Ok(proto::TokenizerType::Prefix) => "prefix",
        Ok(proto::TokenizerType::Whitespace) => "whitespace",
        Ok(proto::TokenizerType::Word) => "word",
        Ok(proto::TokenizerType::Multilingual) => "multilingual",
        _ => return Err(Fault::bad("unknown tokenizer type")),
    };
    let mut text = json!({
        "type": "text",
        "tokenizer": tokenizer,
        "min_token_len": params.min_token_len,
        "max_token_len": params.max_token_len,
        "lowercase": params.lowercase,
        "ascii_folding": params.ascii_folding,
        "phrase_matching": params.phrase_matching,
        "on_disk": params.on_disk,
        "enable_hnsw": params.enable_hnsw,
    });
    if let Some(words) = &params.stopwords {
        text["stopwords"] = json!({"languages": words.languages, "custom": words.custom});
    }
    if let Some(StemmingParams::Snowball(snowball)) =
        params.stemmer.as_ref().and_then(|stem| stem.stemming_params.as_ref())
    {
        text["stemmer"] = json!({"type": "snowball", "language": snowball.language});
    }
    serde_json::from_value(text).map_err(|error| Fault::bad(format!("Malformed text index: {error}")))
}

pub(crate) fn info_out(info: PayloadIndexInfo) -> proto::PayloadSchemaInfo {
    let data_type = match info.data_type {
        PayloadSchemaType::Keyword => proto::PayloadSchemaType::Keyword,
        PayloadSchemaType::Integer => proto::PayloadSchemaType::Integer,
        PayloadSchemaType::Float => proto::PayloadSchemaType::Float,
        PayloadSchemaType::Geo => proto::PayloadSchemaType::Geo,
        PayloadSchemaType::Text => proto::PayloadSchemaType::Text,
        PayloadSchemaType::Bool => proto::PayloadSchemaType::Bool,
        PayloadSchemaType::Datetime => proto::PayloadSchemaType::Datetime,
        PayloadSchemaType::Uuid => proto::PayloadSchemaType::Uuid,
    };
    proto::PayloadSchemaInfo {
        data_type: data_type.into(),
        params: info.params.map(|params| proto::PayloadIndexParams { index_params: Some(params_out(params)) }),
        points: Some(info.points as u64),
    }
}

fn params_out(params: PayloadSchemaParams) -> IndexParams {
    match params {
        PayloadSchemaParams::Keyword(params) => IndexParams::KeywordIndexParams(proto::KeywordIndexParams {
            is_tenant: params.is_tenant,
            on_disk: params.on_disk,
            enable_hnsw: params.enable_hnsw,
            ..Default::default()
        }),
        PayloadSchemaParams::Integer(params) => IndexParams::IntegerIndexParams(proto::IntegerIndexParams {
            lookup: params.lookup,
            range: params.range,
            is_principal: params.is_principal,
            on_disk: params.on_disk,
            enable_hnsw: params.enable_hnsw,
            ..Default::default()
        }),
        PayloadSchemaParams::Float(params) => IndexParams::FloatIndexParams(proto::FloatIndexParams {
            is_principal: params.is_principal,
            on_disk: params.on_disk,
            enable_hnsw: params.enable_hnsw,
            ..Default::default()
        }),
        PayloadSchemaParams::Geo(params) => IndexParams::GeoIndexParams(proto::GeoIndexParams {
            on_disk: params.on_disk,
            enable_hnsw: params.enable_hnsw,
            ..Default::default()
        }),
        PayloadSchemaParams::Bool(params) => IndexParams::BoolIndexParams(proto::BoolIndexParams {
            on_disk: params.on_disk,
            enable_hnsw: params.enable_hnsw,
            ..Default::default()
        }),
        PayloadSchemaParams::Datetime(params) => IndexParams::DatetimeIndexParams(proto::DatetimeIndexParams {
            is_principal: params.is_principal,
            on_disk: params.on_disk,
            enable_hnsw: params.enable_hnsw,
            ..Default::default()
        }),
        PayloadSchemaParams::Uuid(params) => IndexParams::UuidIndexParams(proto::UuidIndexParams {
            is_tenant: params.is_tenant,
            on_disk: params.on_disk,
            enable_hnsw: params.enable_hnsw,
            ..Default::default()
        }),
        PayloadSchemaParams::Text(params) => IndexParams::TextIndexParams(text_out(&params)),
    }
}

fn text_out(params: &TextIndexParams) -> proto::TextIndexParams {
    use qdrant_edge::TokenizerType;
    let tokenizer = match params.tokenizer {
        TokenizerType::Prefix => proto::TokenizerType::Prefix,
        TokenizerType::Whitespace => proto::TokenizerType::Whitespace,
        TokenizerType::Word => proto::TokenizerType::Word,
        TokenizerType::Multilingual => proto::TokenizerType::Multilingual,
    };
    proto::TextIndexParams {
        tokenizer: tokenizer.into(),
        lowercase: params.lowercase,
        ascii_folding: params.ascii_folding,
        min_token_len: params.min_token_len.map(|len| len as u64),
        max_token_len: params.max_token_len.map(|len| len as u64),
        phrase_matching: params.phrase_matching,
        on_disk: params.on_disk,
        enable_hnsw: params.enable_hnsw,
        ..Default::default()
    }
}
