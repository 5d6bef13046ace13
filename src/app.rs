//! Composition root: the only place that names concrete parts and starts them in order.
