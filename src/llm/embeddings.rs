//! Texts to vectors, through the same endpoint, limits and circuit breaker.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::EmbeddingSettings;
use super::client::{Deadline, Exchange, ExchangeCost, ModelClient};
use super::model::{Model, RequestFeatures};
use super::wire::Dialect;
use crate::domain::failure::Failure;

/// Most texts of one request.
const BATCH: usize = 96;
/// Bytes of one number of a vector in JSON, at most.
const NUMBER_BYTES: u64 = 26;

/// The embeddings model.
pub(super) struct Embedder {
    model: String,
    dimensions: u64,
    /// Whether requests name the vector length. Models with a fixed length reject requests that name it.
    sends_dimensions: AtomicBool,
}

impl Embedder {
    /// The model of `settings`; `None` when there is none.
    ///
    /// # Errors
    /// Class invalid, naming the setting.
    pub(super) fn from_settings(settings: &EmbeddingSettings) -> Result<Option<Self>, Failure> {
        if settings.model.trim().is_empty() {
            return Ok(None);
        }
        if settings.dimensions == 0 {
            return Err(Failure::invalid("embeddings.dimensions must be at least 1"));
        }
        Ok(Some(Self {
            model: settings.model.trim().to_owned(),
            dimensions: settings.dimensions,
            sends_dimensions: AtomicBool::new(false),
        }))
    }

    pub(super) async fn embed(&self, core: &ModelClient, texts: &[String]) -> Result<Vec<Vec<f32>>, Failure> {
        let fits =
            u64::try_from(core.settings.max_response_bytes).unwrap_or(u64::MAX) / (self.dimensions * NUMBER_BYTES);
        let batch = usize::try_from(fits).unwrap_or(BATCH).clamp(1, BATCH);
        let mut vectors = Vec::with_capacity(texts.len());
        for texts in texts.chunks(batch) {
            vectors.extend(self.embed_batch(core, texts).await?);
        }
        Ok(vectors)
    }

    async fn embed_batch(&self, core: &ModelClient, texts: &[String]) -> Result<Vec<Vec<f32>>, Failure> {
        let model = core.model(&self.model);
        let mut deadline = Deadline::after_ms(core.settings.timeout_ms);
        let mut own_length = None;
        loop {
            let sends_dimensions = self.sends_dimensions.load(Ordering::Relaxed);
            let batch = EmbeddingExchange { texts, dimensions: sends_dimensions.then_some(self.dimensions) };
            let called = core.call(&model, &batch, &mut ExchangeCost::default(), &mut deadline).await;
            let vectors = match (called, own_length) {
                (Ok(vectors), _) => vectors,
                (Err(asked), Some(length)) if !asked.failure.class.is_retryable() => {
                    return Err(self.wrong_length(length));
                }
                (Err(asked), _) => return Err(asked.failure),
            };
            let wrong = vectors.iter().map(|vector| vector.len() as u64).find(|length| *length != self.dimensions);
            let Some(length) = wrong else { return Ok(vectors) };
            if sends_dimensions {
                return Err(self.wrong_length(length));
            }
            own_length = Some(length);
            self.sends_dimensions.store(true, Ordering::Relaxed);
        }
    }

    fn wrong_length(&self, length: u64) -> Failure {
        // The next call detects this again, because the endpoint may have changed.
        self.sends_dimensions.store(false, Ordering::Relaxed);
        let (model, dimensions) = (&self.model, self.dimensions);
        Failure::invalid(format!(
            "model {model:?} makes vectors of length {length}; set embeddings.dimensions to it (now {dimensions})"
        ))
    }
}

struct EmbeddingExchange<'a> {
    texts: &'a [String],
    dimensions: Option<u64>,
}

impl Exchange for EmbeddingExchange<'_> {
    type Answer = Vec<Vec<f32>>;
    const EMBEDDING: bool = true;

    fn purpose(&self) -> &'static str {
        "embed"
    }
    fn answer_tokens(&self) -> u64 {
        0
    }
    fn body(&self, model: &Model, _: Dialect) -> (Value, RequestFeatures) {
        // Endpoints refuse empty texts, and with them the whole batch.
        let texts: Vec<&str> = self.texts.iter().map(|text| if text.is_empty() { " " } else { text }).collect();
        let mut body = json!({ "model": model.name, "input": texts, "encoding_format": "float" });
        if let Some(dimensions) = self.dimensions {
            body["dimensions"] = json!(dimensions);
        }
        (body, RequestFeatures::default())
    }
    fn read(&self, body: &Value, _: RequestFeatures) -> Result<Self::Answer, &'static str> {
        let mut vectors: Vec<Option<Vec<f32>>> = vec![None; self.texts.len()];
        let data = body["data"].as_array().ok_or("no data")?;
        for (position, entry) in data.iter().enumerate() {
            let index = entry["index"].as_u64().and_then(|index| usize::try_from(index).ok()).unwrap_or(position);
            let numbers = entry["embedding"].as_array().ok_or("an embedding that is no list of numbers")?;
            #[expect(clippy::cast_possible_truncation, reason = "vectors are stored in single precision")]
            let vector: Option<Vec<f32>> = numbers.iter().map(|number| number.as_f64().map(|n| n as f32)).collect();
            let vector = vector.filter(|vector| !vector.is_empty() && vector.iter().all(|number| number.is_finite()));
            *vectors.get_mut(index).ok_or("more embeddings than texts")? = Some(vector.ok_or("an unusable embedding")?);
        }
        vectors.into_iter().collect::<Option<_>>().ok_or("fewer embeddings than texts")
    }
}
