//! The command line. Speaks to a running qron over its HTTP API. Holds no rules.
