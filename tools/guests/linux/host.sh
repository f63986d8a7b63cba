#!/bin/busybox sh
# Not a guest of Bulkhead but what it is compared with: a Linux host that gives a drive and a NIC
# to one guest by KVM and VFIO. The guest's console is the host's.
. /lib.sh
start host

# The drive, and the NIC behind the first root port.
for function in 0000:00:03.0 0000:01:00.0; do
    echo vfio-pci >"/sys/bus/pci/devices/$function/driver_override" || fail "no $function"
    echo "$function" >/sys/bus/pci/drivers_probe
    [ -e "/sys/bus/pci/drivers/vfio-pci/$function" ] || fail "vfio-pci does not take $function"
done
/qemu/qemu-system-x86_64 -L /qemu -machine q35 -accel kvm -cpu host -smp 1 -m 512M \
    -nodefaults -display none -no-reboot -kernel /vmlinuz -initrd /bench.cpio \
    -append "console=ttyS0 quiet panic=-1" -serial stdio \
    -device vfio-pci,host=0000:01:00.0,rombar=0 -device vfio-pci,host=0000:00:03.0 ||
    fail "QEMU"
finish
