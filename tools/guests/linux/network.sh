# What guests with a network interface have in common: `. /network.sh` behind lib.sh.

interface() { ls -d /sys/class/net/[!l]*; }
# Gets an address, fetches a file over HTTP and checks its hash.
fetch_from_outside() {
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
}

# Fetches file $1 of the peer's.
fetch() { timeout 60 wget -q -O "/run/peer.$1" "http://$peer/$1"; }

# With a peer, offers what was fetched to it, and fetches the same from it.
exchange() {
    peer=$(option peer)
    if [ -n "$peer" ]; then
        ip addr add "$(option own)/24" dev "$interface" || fail "cannot have a second address"
        mkdir -p /run/www
        mv /run/payload.bin /run/www/payload
        httpd -h /run/www || fail "cannot serve"
        wait_for 120 ping -c 1 -W 1 "$peer" || fail "$peer does not answer"
        ping -c 5 -s 1400 "$peer" | grep 'packets\|round-trip'
        wait_for 60 fetch payload || fail "cannot fetch from $peer"
        echo "$(cat /payload.sha256)  /run/peer.payload" >/run/expected
        sha256sum -c /run/expected || fail "the peer's hash differs: $(sha256sum /run/peer.payload)"
        echo "net: verified what $peer sent"
        # The peer needs what is served here until it says so.
        echo done >/run/www/done
        wait_for 120 fetch done || fail "$peer does not come to its end"
        sleep 3
    fi
}
