#!/bin/busybox sh
# Not a guest of Bulkhead but what it is compared with: a Linux host with KVM. Its command line says what
# it gives to its guests: without `mode` a drive and a NIC by VFIO, with `mode=virtio` a virtio drive and a
# virtio interface over its own, with `mode=frames` interfaces at a bridge by vhost. The guest's console is the host's.
. /lib.sh
start host

run() { /qemu/qemu-system-x86_64 -L /qemu -machine q35 -accel kvm -cpu host -smp 1 \
    -nodefaults -display none -no-reboot "$@"; }
linux() { run -m 512M -kernel /vmlinuz -initrd /bench.cpio -serial stdio "$@"; }

bridge() {
    ip link add br0 type bridge && ip link set br0 up || fail "no bridge"
}
# Puts the interface $1 at the bridge.
join() {
    wait_for 30 test -d "/sys/class/net/$1" || fail "no $1"
    # What is lost there comes again after a second.
    echo 10000 >"/sys/class/net/$1/tx_queue_len"
    ip link set "$1" master br0 && ip link set "$1" up || fail "$1 is not at the bridge"
}

case $(option mode) in
virtio)
    wait_for 30 test -b /dev/nvme0n1 || fail "no drive"
    bridge
    join eth0
    linux -append "console=ttyS0 quiet panic=-1 kept disk=/dev/vda" \
        -blockdev host_device,node-name=drive,filename=/dev/nvme0n1,cache.direct=on,aio=native \
        -device virtio-blk-pci,drive=drive \
        -netdev tap,id=net,ifname=tap1,script=no,downscript=no,vhost=on \
        -device virtio-net-pci,netdev=net,mac=52:54:00:00:0b:01,romfile= &
    join tap1
    wait
    finish
    ;;
frames)
    bridge
    guest() {
        run -m 64M -kernel /testguest -append "$3" -serial "$4" \
            -netdev "tap,id=net,ifname=tap$1,script=no,downscript=no,vhost=on" \
            -device "virtio-net-pci,netdev=net,mac=$2,romfile=,disable-legacy=on" &
        join "tap$1"
    }
    guest 1 52:54:00:00:0b:02 load-peer null
    guest 2 52:54:00:00:0b:01 "load-rate milliseconds=$(option milliseconds)" stdio
    wait
    finish
    ;;
esac

# The drive, and the NIC behind the first root port.
for function in 0000:00:03.0 0000:01:00.0; do
    echo vfio-pci >"/sys/bus/pci/devices/$function/driver_override" || fail "no $function"
    [ ! -e "/sys/bus/pci/devices/$function/driver" ] || echo "$function" >"/sys/bus/pci/devices/$function/driver/unbind"
    echo "$function" >/sys/bus/pci/drivers_probe
    [ -e "/sys/bus/pci/drivers/vfio-pci/$function" ] || fail "vfio-pci does not take $function"
done
linux -append "console=ttyS0 quiet panic=-1" \
    -device vfio-pci,host=0000:01:00.0,rombar=0 -device vfio-pci,host=0000:00:03.0 ||
    fail "QEMU"
finish
