#!/bin/busybox sh
# Guest `disk`: makes a file system, writes 64 MiB, drops its caches, reads back, compares
# hashes, powers off.
#
# Kernel command line: disk=DEVICE  instead of the first NVMe name space.
. /lib.sh
start disk

device=$(option disk)
device=${device:-/dev/nvme0n1}
wait_for 30 test -b "$device" || fail "no $device"
echo "disk: $device has $(blockdev --getsize64 "$device") bytes"

mke2fs -q "$device" >/dev/null || fail "cannot make a file system"
mkdir -p /mnt
mount -t ext2 "$device" /mnt || fail "cannot mount $device"

# The hash is taken on the way to the file, so it owes nothing to what a cache gives back.
head -c 67108864 /dev/urandom | tee /mnt/data | sha256sum >/run/written || fail "cannot write"
written=$(cut -d ' ' -f 1 /run/written)
[ "$(stat -c %s /mnt/data)" = 67108864 ] || fail "the file has $(stat -c %s /mnt/data) bytes"
echo "disk: wrote sha256 $written"

sync
umount /mnt || fail "cannot unmount"
echo 3 >/proc/sys/vm/drop_caches
blockdev --flushbufs "$device"
mount -t ext2 -o ro "$device" /mnt || fail "cannot mount again"
read=$(sha256sum /mnt/data | cut -d ' ' -f 1)
[ "$read" = "$written" ] || fail "read sha256 $read"
umount /mnt

grep -i nvme /proc/interrupts
echo "disk: verified sha256 $read"
finish
