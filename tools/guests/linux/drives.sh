# What guests with drives have in common: `. /drives.sh` behind lib.sh and measure.sh.

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

# Reads drive $1 and counts: at most $2 exits for 100 reads alone, $3 for 100 of 32 at a time, and $4
# interrupts for 100 of which the drive has 32 at once.
count_exits() {
    device=$1
    measure "4 KiB reads of $1" one_by_one 50 450
    [ $((more * 100)) -le $(($2 * 400)) ] || fail "$more exits for 400 reads of $1"
    measure "4 KiB reads of $1, 32 at a time" deep 5 55
    [ $((more * 100)) -le $(($3 * 1600)) ] || fail "$more exits for 1600 deep reads of $1"
    limit=/sys/block/${1##*/}/queue/max_sectors_kb
    before_limit=$(cat "$limit")
    echo 4 >"$limit" || fail "cannot make the requests of $1 small"
    measure "4 KiB reads of $1, 32 at once" at_once 5 55
    echo "$before_limit" >"$limit"
    echo "disk: $1: $more_interrupts interrupts for 1600 reads, 32 at once"
    [ $((more_interrupts * 100)) -le $(($4 * 1600)) ] || fail "$more_interrupts interrupts for 1600 reads of $1"
}

# For each drive of `disk=DEVICE,...` (without it the first NVMe name space) and what `mib=` and
# `exits=` say.
verify_all() {
    bytes=$(option mib)
    bytes=$((${bytes:-64} << 20))
    limits=$(option exits)
    devices=$(option disk)
    drives=0
    for device in $(echo "${devices:-/dev/nvme0n1}" | tr , ' '); do
        verify "$device"
        drives=$((drives + 1))
        # shellcheck disable=SC2086 # words
        [ -z "$limits" ] || count_exits "$device" $(echo "$limits" | tr , ' ')
    done
    grep -iE 'nvme|virtio|ata_piix' /proc/interrupts
    echo "disk: verified $drives drives"
}

# Leaves a file on drive $1 and resets the guest while it is being written again, with what it holds; in
# the guest's next life, finds it unchanged.
survive() {
    wait_for 30 test -b "$1" || fail "no $1"
    mkdir -p /mnt
    if mount -t ext2 "$1" /mnt 2>/dev/null && [ -f /mnt/again ]; then
        sha256sum -c /mnt/again || fail "$1 does not hold what an earlier life wrote"
        rm /mnt/again
        umount /mnt
        echo "disk: $1: verified what an earlier life wrote"
        return
    fi
    umount /mnt 2>/dev/null
    mke2fs -q "$1" >/dev/null || fail "cannot make a file system on $1"
    mount -t ext2 "$1" /mnt || fail "cannot mount $1"
    head -c 4194304 /dev/urandom >/run/data
    cp /run/data /mnt/data || fail "cannot write to $1"
    sha256sum /mnt/data >/mnt/again
    sync
    while :; do
        dd if=/run/data of=/mnt/data bs=128k conv=notrunc oflag=direct 2>/dev/null || fail "cannot write to $1 again"
    done &
    sleep 1
    echo "disk: $1: resets the guest"
    # At once: no driver ends what its device has under way.
    echo b >/proc/sysrq-trigger
    while :; do sleep 1; done
}

# Writes records 1 to $2 to the ext4 file system on drive $1, and flushes each before the next: in turn
# a file of its own, a place of the file `slots`, and one that takes the place of `newest`. What the
# drive is told to write is logged; the lab's `power_cuts` knows what must be there when.
keep_records() {
    wait_for 30 test -b "$1" || fail "no $1"
    mkdir -p /mnt
    mount -t ext4 "$1" /mnt || fail "cannot mount $1"
    number=1
    while [ "$number" -le "$2" ]; do
        line="record $(printf %06d $number) of power cut test"
        case $((number % 3)) in
        1) yes "$line" | dd of=/mnt/r$number bs=1024 count=$((1 + number % 7)) iflag=fullblock conv=fsync ;;
        2) yes "$line" | dd of=/mnt/slots bs=4096 count=1 iflag=fullblock \
            seek=$((number / 3 % 16)) conv=notrunc,fsync ;;
        0) yes "$line" | dd of=/mnt/next bs=3072 count=1 iflag=fullblock conv=fsync &&
            mv /mnt/next /mnt/newest && sync /mnt ;;
        esac 2>/run/said || fail "record $number on $1: $(cat /run/said)"
        number=$((number + 1))
    done
    umount /mnt || fail "cannot unmount $1"
    echo "disk: $1: flushed $2 records"
}

# Writes to drive $1, an image with an overlay, until that is full: an error to whoever writes, and
# nothing that was written before is lost. What is discarded makes room again where the drive takes that.
fill() {
    head -c 65536 /dev/urandom >/run/first
    dd if=/run/first of="$1" bs=64k oflag=direct 2>/dev/null || fail "cannot write to $1"
    # It says why it ended on the way.
    dd if=/dev/urandom of="$1" bs=64k seek=1 oflag=direct 2>/run/full && fail "all of $1 has room"
    echo "disk: $1: is full: $(grep -o 'No space left\|I/O error\|Input/output error' /run/full | head -n 1)"
    dd if="$1" of=/run/read bs=64k count=1 iflag=direct 2>/dev/null || fail "cannot read $1"
    cmp /run/first /run/read || fail "$1 lost what was written"
    [ "$(cat "/sys/class/block/${1##*/}/queue/discard_max_bytes")" -gt 0 ] || return 0
    blkdiscard -o 1048576 -l 1048576 "$1" || fail "$1 discards nothing"
    dd if=/run/first of="$1" bs=64k seek=16 oflag=direct 2>/dev/null || fail "$1 has no room after a discard"
    echo "disk: $1: has room again"
}

# For each drive of `full=DEVICE,...`.
fill_all() {
    for device in $(option full | tr , ' '); do
        fill "$device"
    done
}
