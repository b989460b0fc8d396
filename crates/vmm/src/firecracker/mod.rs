//! Firecracker: what it is asked for, and how it is asked.

mod api;
mod requests;

pub use api::ApiError;
pub(crate) use api::put_all;
pub use requests::{Request, args, requests};
