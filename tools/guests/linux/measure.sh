# What guests that count exits have in common: `. /measure.sh` behind lib.sh.
#
# Each result is a line `NAME: WHAT: N in T s, E exits for M`; the exits are a dash where nobody
# counts them.

# Bulkhead's count of this processor's exits, the look at it included (MSR 0x42480000).
# One program after the other: side by side they would take turns at asking CPUID.
exits() {
    dd if=/dev/cpu/0/msr of=/run/exits bs=8 count=1 iflag=skip_bytes skip=1112014848 2>/dev/null
    od -An -t u8 /run/exits
}

# Interrupts of drives, on all processors.
interrupts() {
    awk '/nvme|virtio/ { for (i = 2; $i ~ /^[0-9]+$/; i++) sum += $i } END { print sum + 0 }' /proc/interrupts
}

# Runs the command $1 with the amount $2. Leaves in $taken the exits, in $interrupted the interrupts, in $count how often it did
# something, in $before and $after when it began and ended. Between the looks nothing but the
# command starts a program: each that starts asks CPUID some 24 times.
run() {
    interrupts_before=$(interrupts)
    exits_before=$(exits)
    read -r before _ </proc/uptime
    "$1" "$2" || fail "$1 $2"
    read -r after _ </proc/uptime
    taken=$(($(exits) - exits_before))
    interrupted=$(($(interrupts) - interrupts_before))
}

# measure NAME COMMAND LITTLE MUCH: times much, and counts the exits ($more) and interrupts
# ($more_interrupts) that much takes more than little, so that what starting the command costs is in
# neither.
measure() {
    run "$2" "$3"
    little=$taken little_count=$count little_interrupted=$interrupted
    run "$2" "$4"
    more_interrupts=$((interrupted - little_interrupted))
    more=-
    [ "$(exits)" -eq 0 ] || more=$((taken - little))
    echo "$NAME: $1: $count in $(echo "$after $before" | awk '{ print $1 - $2 }') s," \
        "$more exits for $((count - little_count))"
}

# Reads $2 blocks of $1 bytes of $device, behind the first $3.
read_drive() { dd if=$device of=/dev/null bs="$1" count="$2" skip="${3:-0}" iflag=direct 2>/dev/null; }
one_by_one() {
    read_drive 4096 "$1"
    count=$1
}
large() {
    read_drive 65536 "$1"
    count=$1
}
# 32 at a time of one read, on a drive whose requests have 4 KiB at most: it has them all at once.
at_once() {
    dd if=$device of=/dev/null bs=131072 count="$1" iflag=direct 2>/dev/null
    count=$((32 * $1))
}
# 32 at a time, each a process of its own: as many as the guest's processor gets to.
deep() { many 4096 "$1"; }
deep_large() { many 65536 "$1"; }
many() {
    for part in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31; do
        read_drive "$1" "$2" $((part * $2)) &
    done
    wait
    count=$((32 * $2))
}
