//! How soon does everybody know of a crash, at what price, and how often is it not true?

pub mod beliefs;
#[cfg(feature = "peers")]
pub mod chitchat_nodes;
#[cfg(feature = "peers")]
pub mod foca_nodes;
