//! What every guest's kernel is told, whichever VMM boots it: pure.

use crate::config::VmmConfig;

/// `quiet` hides progress only: a panic, and how the guest ends, are printed above its level. `panic=-1` reboots at once,
/// which ends the VMM. The rest keeps the kernel from looking for what no VM has (more than one serial port, RAID disks,
/// an old machine's timers) and from testing its ciphers, which together is a quarter of a boot under a translator; and
/// it takes the processor's random numbers, which come from the host, as random from the first moment on.
const COMMON: &str = "console=ttyS0 panic=-1 quiet 8250.nr_uarts=1 raid=noautodetect no_timer_check \
                      cryptomgr.notests random.trust_cpu=on";

/// Our own arguments, the VMM's, and last, so that they win, the configuration's.
pub(crate) fn kernel_line(vmm: &str, config: &VmmConfig) -> String {
    let own = [COMMON, vmm].into_iter().filter(|part| !part.is_empty());
    own.chain(config.kernel_args.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
}
