//! The model client against the scripted model server, over real sockets.

mod scripted;
