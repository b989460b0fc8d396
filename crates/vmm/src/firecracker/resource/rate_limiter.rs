//! How fast a device may be used.

use serde::Serialize;

/// `RateLimiter`. What is left out is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct RateLimiter {
    /// A token is a byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<TokenBucket>,
    /// A token is an operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops: Option<TokenBucket>,
}

/// `TokenBucket`: so much may be used at once, and so fast it fills again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TokenBucket {
    /// What it holds when it is full.
    pub size: u64,
    /// How long an empty one takes to be full, in milliseconds.
    pub refill_time: u64,
    /// What may be used beyond that once, at the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_time_burst: Option<u64>,
}

impl TokenBucket {
    /// So many tokens a second. None of zero: a bucket that holds nothing would stop the device for good.
    pub fn per_second(tokens: u64) -> Option<Self> {
        (tokens > 0).then_some(Self { size: tokens, refill_time: 1000, one_time_burst: None })
    }
}
