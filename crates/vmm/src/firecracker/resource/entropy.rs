//! `/entropy`: the host's random numbers.

use super::RateLimiter;
use serde::Serialize;

/// `EntropyDevice`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct EntropyDevice {
    /// How fast they may be drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
}
