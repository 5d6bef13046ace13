//! `qron demo`: the whole program on a scripted model, for a first look.
