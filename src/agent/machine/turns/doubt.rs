//! Why an answer that is said to be the result may be none.

use crate::agent::machine::statement::Lack;

/// What follows from an answer that may be no result.
pub(super) enum Doubt {
    /// The model is asked whether it meant its words.
    Words(String),
    /// The answer lacks what the goal asks for: the model is told once.
    Lacks(Lack),
    /// Numbers stand nowhere: the model is told, and must call a tool or look at what it has.
    Numbers(Vec<String>),
    /// It has been told often enough.
    Invented(Vec<String>),
    /// It has been told, and a calculation has given what the goal asks for.
    Calculated { invented: Vec<String>, calculation: String },
}
