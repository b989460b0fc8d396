//! How fast this host's time stamp counter runs.
//!
//! QEMU's translator hands the guest the host's counter, and `microvm` has no other clock worth calibrating against: a
//! guest that must find the frequency out itself often hangs in the attempt. So it is told.

#![allow(unsafe_code)]

use rustix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;
use std::time::Duration;

/// The frequency of the host's time stamp counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TscFacts {
    /// In kHz.
    pub khz: u64,
}

impl TscFacts {
    /// The kernel's `lpj=`: counter ticks for each timer tick of a kernel with that `CONFIG_HZ`.
    pub fn lpj(self, hz: u32) -> u64 {
        self.khz * 1000 / u64::from(hz.max(1))
    }

    /// This host's, measured once in the life of the process. The first call takes 10 ms and blocks its thread.
    pub fn measure() -> Self {
        static FACTS: OnceLock<TscFacts> = OnceLock::new();
        *FACTS.get_or_init(|| {
            let start = Sample::take();
            std::thread::sleep(Duration::from_millis(10));
            Self { khz: Sample::take().khz_since(start) }
        })
    }
}

/// The counter and the clock at one moment.
#[derive(Clone, Copy)]
struct Sample {
    ticks: u64,
    ns: u128,
}

impl Sample {
    /// The clock is read between two reads of the counter; of several tries the tightest is kept, so that being preempted
    /// in the middle does not count.
    fn take() -> Self {
        let (mut best, mut tightest) = Self::attempt();
        for _ in 0..8 {
            let (sample, gap) = Self::attempt();
            if gap < tightest {
                (best, tightest) = (sample, gap);
            }
        }
        best
    }

    fn attempt() -> (Self, u64) {
        let before = counter();
        let now = clock_gettime(ClockId::MonotonicRaw);
        let gap = counter().wrapping_sub(before);
        let ns = u128::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u128::try_from(now.tv_nsec).unwrap_or(0);
        (Self { ticks: before.wrapping_add(gap / 2), ns }, gap)
    }

    fn khz_since(self, start: Self) -> u64 {
        let ticks = u128::from(self.ticks.wrapping_sub(start.ticks));
        let ns = self.ns.saturating_sub(start.ns).max(1);
        u64::try_from(ticks * 1_000_000 / ns).unwrap_or(u64::MAX)
    }
}

fn counter() -> u64 {
    // SAFETY: every x86-64 processor has RDTSC, and Linux leaves it enabled for user programs.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lpj_is_ticks_per_jiffy() {
        assert_eq!(TscFacts { khz: 2_596_148 }.lpj(250), 10_384_592);
    }

    #[test]
    fn two_measurements_agree_within_a_thousandth() {
        let measure = || {
            let start = Sample::take();
            std::thread::sleep(Duration::from_millis(10));
            Sample::take().khz_since(start)
        };
        let (a, b) = (measure(), measure());
        assert!(a.abs_diff(b) * 1000 < a, "{a} kHz, then {b} kHz");
        assert!((500_000..10_000_000).contains(&a), "{a} kHz");
    }
}
