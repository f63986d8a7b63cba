#!/bin/busybox sh
# Guest `bench`: times what a drive and a NIC do, and counts the exits that it takes. What
# `cargo hv bench` compares with no hypervisor at all.
#
# Each result is a line `bench: NAME: N in T s, E exits`; the exits are a dash where nobody
# counts them.
. /lib.sh
start bench

device=/dev/nvme0n1
wait_for 30 test -b $device || fail "no $device"
interface() { ls -d /sys/class/net/[!l]*; }
wait_for 20 interface || fail "no network interface"
interface=$(basename "$(interface | head -n 1)")
ip link set lo up
ip link set "$interface" up || fail "cannot bring $interface up"
udhcpc -i "$interface" -s /lease.sh -q -n -f -t 15 -T 2 >/dev/null || fail "no address by DHCP"
. /run/lease

# Bulkhead's count of this processor's exits, the look at it included (MSR 0x42480000).
exits() { dd if=/dev/cpu/0/msr bs=8 count=1 iflag=skip_bytes skip=1112014848 2>/dev/null | od -An -t u8; }
now() { cut -d ' ' -f 1 /proc/uptime; }
packets() { cat "/sys/class/net/$interface/statistics/rx_packets"; }

# Does the rest of its words, which leave in $count what was done how often.
measure() {
    name=$1
    shift
    exits_before=$(exits)
    before=$(now)
    "$@" || fail "$name"
    after=$(now)
    exits_after=$(exits)
    taken=-
    [ "${exits_after:-0}" -eq 0 ] || taken=$((exits_after - exits_before - 1))
    echo "bench: $name: $count in $(echo "$after $before" | awk '{ print $1 - $2 }') s, $taken exits"
}

read_drive() { dd if=$device of=/dev/null bs="$1" count="$2" skip="${3:-0}" iflag=direct 2>/dev/null; }
one_by_one() { count=$1; read_drive 4096 "$count"; }
large() { count=$1; read_drive 65536 "$count"; }
# 32 at a time, each a process of its own.
deep() {
    count=$((32 * $1))
    for part in $(seq 0 31); do read_drive 4096 "$1" $((part * $1)) & done
    wait
}
fetch() {
    first=$(packets)
    for _ in $(seq "$1"); do timeout 120 wget -q -O /dev/null "$boot_file" || return 1; done
    count=$(($(packets) - first))
}
idle() { count=$1; sleep "$1"; }

one_by_one 100
measure "4 KiB reads" one_by_one 16000
measure "4 KiB reads, 32 at a time" deep 500
measure "64 KiB reads" large 4000
measure "packets received" fetch 3
measure "idle seconds" idle 3
finish
