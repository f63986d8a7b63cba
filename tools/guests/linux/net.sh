#!/bin/busybox sh
# Guest `net`: gets an address, fetches a file over HTTP, checks its hash, powers off.
#
# Kernel command line: payload=URL  where the file is. Without it the DHCP server's boot
# file name is the URL (QEMU: -netdev user,bootfile=URL), and without that the default.
. /lib.sh
start net

interface() { ls -d /sys/class/net/[!l]*; }
wait_for 20 interface || fail "no network interface"
interface=$(basename "$(interface | head -n 1)")
driver=$(basename "$(readlink "/sys/class/net/$interface/device/driver")")
echo "net: $interface is driven by $driver"

ip link set lo up
ip link set "$interface" up || fail "cannot bring $interface up"
# The script writes what the server said to /run/lease.
udhcpc -i "$interface" -s /lease.sh -q -n -f -t 15 -T 2 || fail "no address by DHCP"
. /run/lease
echo "net: address $ip"

url=$(option payload)
url=${url:-$boot_file}
url=${url:-http://10.0.2.2:8000/payload}
echo "net: fetching $url"
# Not wget's own -T: Debian's static busybox crashes in it.
timeout 120 wget -q -O /run/payload.bin "$url" || fail "cannot fetch $url"

echo "$(cat /payload.sha256)  /run/payload.bin" >/run/expected
sha256sum -c /run/expected || fail "hash differs: $(sha256sum /run/payload.bin)"
grep "$interface" /proc/interrupts
echo "net: verified sha256 $(cat /payload.sha256)"
finish
