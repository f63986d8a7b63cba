#!/bin/busybox sh
# Guest `disk`: makes a file system on each of its drives, writes to it, drops its caches, reads
# back, compares hashes, powers off.
#
# Kernel command line: disk=DEVICE,...  instead of the first NVMe name space; mib=N  to write
# instead of 64; exits=ALONE,DEEP  to count the exits that reads cost and to fail where 100 of them
# cost more, one by one or 32 at a time.
. /lib.sh
. /measure.sh
start disk

bytes=$(option mib)
bytes=$((${bytes:-64} << 20))

# Leaves everything as it was but for what is on drive $1.
verify() {
    wait_for 30 test -b "$1" || fail "no $1"
    echo "disk: $1 has $(blockdev --getsize64 "$1") bytes"

    mke2fs -q "$1" >/dev/null || fail "cannot make a file system on $1"
    mkdir -p /mnt
    mount -t ext2 "$1" /mnt || fail "cannot mount $1"

    # The hash is taken on the way to the file, so it owes nothing to what a cache gives back.
    head -c "$bytes" /dev/urandom | tee /mnt/data | sha256sum >/run/written || fail "cannot write to $1"
    written=$(cut -d ' ' -f 1 /run/written)
    [ "$(stat -c %s /mnt/data)" = "$bytes" ] || fail "the file has $(stat -c %s /mnt/data) bytes"
    echo "disk: $1: wrote sha256 $written"

    sync
    umount /mnt || fail "cannot unmount $1"
    echo 3 >/proc/sys/vm/drop_caches
    blockdev --flushbufs "$1"
    mount -t ext2 -o ro "$1" /mnt || fail "cannot mount $1 again"
    read=$(sha256sum /mnt/data | cut -d ' ' -f 1)
    [ "$read" = "$written" ] || fail "$1: read sha256 $read"
    umount /mnt
    echo "disk: $1: verified sha256 $read"
}

# Reads drive $1 and counts: at most $2 exits for 100 reads alone, $3 for 100 of 32 at a time.
count_exits() {
    device=$1
    measure "4 KiB reads of $1" one_by_one 50 450
    [ $((more * 100)) -le $(($2 * 400)) ] || fail "$more exits for 400 reads of $1"
    measure "4 KiB reads of $1, 32 at a time" deep 5 55
    [ $((more * 100)) -le $(($3 * 1600)) ] || fail "$more exits for 1600 deep reads of $1"
}

limits=$(option exits)
devices=$(option disk)
drives=0
for device in $(echo "${devices:-/dev/nvme0n1}" | tr , ' '); do
    verify "$device"
    drives=$((drives + 1))
    [ -z "$limits" ] || count_exits "$device" "${limits%,*}" "${limits#*,}"
done
grep -iE 'nvme|virtio' /proc/interrupts
echo "disk: verified $drives drives"
finish
