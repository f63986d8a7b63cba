#!/bin/busybox sh
# Guest `disk`: for each of its drives, makes a file system, writes a file, drops its caches, reads back and
# compares hashes. Then it powers off.
#
# Kernel command line: disk=DEVICE[,DEVICE...]  instead of the first NVMe name space,
#                      mib=NUMBER  instead of files of 64 MiB.
. /lib.sh
start disk

# Says the hash of what was written to the drive $1 and read back.
verify() {
    wait_for 30 test -b "$1" || fail "no $1"
    echo "disk: $1 has $(blockdev --getsize64 "$1") bytes"

    mke2fs -q "$1" >/dev/null || fail "cannot make a file system on $1"
    mount -t ext2 "$1" /mnt || fail "cannot mount $1"

    # The hash is taken on the way to the file, so it owes nothing to what a cache gives back.
    head -c "$bytes" /dev/urandom | tee /mnt/data | sha256sum >/run/written || fail "cannot write to $1"
    written=$(cut -d ' ' -f 1 /run/written)
    [ "$(stat -c %s /mnt/data)" = "$bytes" ] || fail "the file has $(stat -c %s /mnt/data) bytes"
    echo "disk: wrote sha256 $written"

    sync
    umount /mnt || fail "cannot unmount $1"
    echo 3 >/proc/sys/vm/drop_caches
    blockdev --flushbufs "$1"
    mount -t ext2 -o ro "$1" /mnt || fail "cannot mount $1 again"
    read=$(sha256sum /mnt/data | cut -d ' ' -f 1)
    [ "$read" = "$written" ] || fail "read sha256 $read from $1"
    umount /mnt
}

mkdir -p /mnt
devices=$(option disk)
mib=$(option mib)
bytes=$((${mib:-64} << 20))
drives=0
for device in $(echo "${devices:-/dev/nvme0n1}" | tr , ' '); do
    verify "$device"
    drives=$((drives + 1))
    echo "disk: verified sha256 $read"
done

grep -i nvme /proc/interrupts
echo "disk: verified $drives drives"
finish
