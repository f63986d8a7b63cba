#!/bin/busybox sh
# Called by udhcpc: sets the address and leaves what the server said in /run/lease.
case $1 in
deconfig)
    ip addr flush dev "$interface"
    ;;
bound | renew)
    ip addr add "$ip/${mask:-24}" dev "$interface"
    [ -z "$router" ] || ip route add default via "${router%% *}"
    { echo "ip='$ip'"; echo "boot_file='$boot_file'"; } >/run/lease
    ;;
esac
