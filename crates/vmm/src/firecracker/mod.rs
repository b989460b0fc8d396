//! Firecracker: what it is asked for, and how it is asked.

mod api;
mod requests;
pub mod resource;

pub use api::{Api, ApiError};
pub use requests::{args, requests};
