//! Bytes that no honest client sends. After each of them the next client is served as if nothing had happened.

mod announced;
mod bombs;
mod counts;
mod lengths;
mod limits;
mod many;
mod truncations;
