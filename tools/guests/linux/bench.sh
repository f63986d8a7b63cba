#!/bin/busybox sh
# Guest `bench`: times what a drive and a NIC do, and counts the exits that it takes. What
# `cargo hv bench` compares with no hypervisor at all.
#
# Each result is a line `bench: NAME: N in T s, E exits`; the exits are a dash where nobody
# counts them.
. /lib.sh
. /measure.sh
start bench

device=$(option disk)
device=${device:-/dev/nvme0n1}
wait_for 30 test -b $device || fail "no $device"
# With `kept` on the command line drive and NIC are somebody's who drives them for the guest, or were to be
# compared with that.
case " $(cat /proc/cmdline) " in
*" kept "*)
    is_kept=true
    measure "4 KiB reads" one_by_one 100 10000
    measure "4 KiB reads, 32 at a time" deep 10 300
    measure "64 KiB reads" large 100 3000
    measure "64 KiB reads, 32 at a time" deep_large 4 60
    ;;
*) is_kept=false ;;
esac
interface() { ls -d /sys/class/net/[!l]*; }
wait_for 20 interface || fail "no network interface"
interface=$(basename "$(interface | head -n 1)")
ip link set lo up
ip link set "$interface" up || fail "cannot bring $interface up"
udhcpc -i "$interface" -s /lease.sh -q -n -f -t 15 -T 2 >/dev/null || fail "no address by DHCP"
. /run/lease

packets() { cat "/sys/class/net/$interface/statistics/rx_packets"; }

# The file $1 times.
fetch() {
    first=$(packets)
    urls=
    while [ "${#urls}" -lt $(($1 * (${#boot_file} + 1))) ]; do urls="$urls$boot_file "; done
    # shellcheck disable=SC2086 # Several words are meant.
    wget -q -O /dev/null $urls || return 1
    count=$(($(packets) - first))
}
# A sleep that is no program.
mkfifo /run/never
idle() {
    read -r -t "$1" _ <>/run/never
    count=$1
}

if $is_kept; then
    measure "packets received" fetch 1 16
    finish
fi
measure "4 KiB reads" one_by_one 100 20000
measure "4 KiB reads, 32 at a time" deep 10 500
measure "64 KiB reads" large 100 4000
measure "packets received" fetch 1 16
measure "idle seconds" idle 1 4
finish
