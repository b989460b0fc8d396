#!/bin/sh
# Makes the small guest that these tests boot: Debian's cloud kernel, its virtio modules, busybox and a shell script as init.
# Usage: guest.sh DEST. Leaves DEST/vmlinuz and DEST/initramfs. Needs apt-get, dpkg, cpio and busybox-static; no root.
set -eu
dest=$1
work=$(mktemp -d "$dest.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | head -n 1)
apt-get -q download "$package"
dpkg -x ./*.deb kernel

mkdir -p done root/bin root/dev root/proc root/sys root/modules
cp "$(command -v busybox)" root/bin/busybox
modules="virtio_ring virtio virtio_mmio virtio_blk failover net_failover virtio_net virtio_console rng-core virtio-rng virtio_balloon"
for module in $modules; do
    for file in $(find kernel -name "$module.ko" -o -name "$module.ko.xz"); do
        case $file in
        *.xz) xz -dc "$file" >"root/modules/$module.ko" ;;
        *) cp "$file" root/modules/ ;;
        esac
        echo "$module" >>root/modules/order
    done
done

cat >root/init <<'INIT'
#!/bin/busybox sh
B=/bin/busybox
$B mount -t devtmpfs dev /dev
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
exec </dev/console >/dev/console 2>&1
for module in $($B cat /modules/order); do $B insmod "/modules/$module.ko"; done
act=wait
for word in $($B cat /proc/cmdline); do
    case $word in act=*) act=${word#act=} ;; esac
done
echo "guest: up, act $act"
echo "guest: uptime $($B cut -d' ' -f1 /proc/uptime) date $($B date +%s) memory $($B sed -n 's/MemTotal: *//p' /proc/meminfo)"
echo "guest: cpus $($B grep -c ^processor /proc/cpuinfo)"
for disk in /sys/block/vd*; do
    [ -e "$disk" ] && echo "guest: disk $($B cat "$disk/size") ro $($B cat "$disk/ro")"
done
for net in /sys/class/net/eth*; do
    [ -e "$net" ] && echo "guest: net $($B cat "$net/address")"
done
case $act in
poweroff) $B poweroff -f ;;
reboot) $B reboot -f ;;
read)
    $B cat /dev/vda >/dev/null
    $B dd if=/dev/zero of=/dev/vdb bs=1M count=1 2>/dev/null
    $B sync
    echo "guest: has read"
    ;;
panic) echo c >/proc/sysrq-trigger ;;
flood) while :; do echo "guest: $($B head -c 4000 /dev/zero | $B tr '\0' x)"; done ;;
port)
    for port in /sys/class/virtio-ports/*; do
        [ "$($B cat "$port/name")" = banger.agent ] && agent=/dev/${port##*/}
    done
    # It opens once only. Without a client at the host's end a read finds the end of the file.
    exec 3<>"$agent"
    while :; do
        while read -r line <&3; do echo "echo $line" >&3; done
        $B sleep 0.1
    done
    ;;
esac
while :; do $B sleep 1; done
INIT
chmod +x root/init
(cd root && find . | cpio -o -H newc --quiet) >done/initramfs
cp kernel/boot/vmlinuz-* done/vmlinuz
rm -rf "$dest"
mv done "$dest"
