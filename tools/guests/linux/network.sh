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

# A guest with two interfaces on one network (`pair`), where nobody else is: one of them goes to a name
# space of its own, so that what is sent between both goes through the switch.
cross() {
    ip link set lo up
    set -- /sys/class/net/[!l]*
    [ $# -eq 2 ] || fail "there are $# network interfaces"
    first=${1##*/}
    second=${2##*/}
    for interface in "$first" "$second"; do
        driver=$(basename "$(readlink "/sys/class/net/$interface/device/driver")")
        queues=$(ls -d "/sys/class/net/$interface/queues/tx-"* | wc -l)
        echo "net: $interface is driven by $driver with $queues queues"
    done
    # In there: waits for its interface, serves a file, and fetches one.
    unshare -n sh -c "
        until ip link show $second >/dev/null 2>&1; do sleep 1; done
        ip link set lo up
        ip link set $second up
        ip addr add 10.0.9.2/24 dev $second
        httpd -h /run/there
        until [ -e /run/fetch ]; do sleep 1; done
        timeout 120 wget -q -O /run/fetched.there http://10.0.9.1/data
        touch /run/there.done
        until [ -e /run/over ]; do sleep 1; done
    " &
    other=$!
    mkdir -p /run/here /run/there
    head -c 200000 /dev/urandom >/run/here/data
    head -c 200000 /dev/urandom >/run/there/data
    # Its name space is another one once it runs in it.
    wait_for 20 leaves || fail "there is no other name space"
    ip link set "$second" netns "$other" || fail "$second cannot be given away"
    ip link set "$first" up
    ip addr add 10.0.9.1/24 dev "$first"
    httpd -h /run/here
    wait_for 60 ping -c 1 -W 1 10.0.9.2 || fail "10.0.9.2 does not answer"
    ping -c 5 -s 1400 10.0.9.2 | grep 'packets\|round-trip'
    timeout 120 wget -q -O /run/fetched.here http://10.0.9.2/data || fail "cannot fetch from 10.0.9.2"
    cmp /run/fetched.here /run/there/data || fail "what 10.0.9.2 sent differs"
    touch /run/fetch
    wait_for 120 test -e /run/there.done || fail "10.0.9.2 does not fetch"
    cmp /run/fetched.there /run/here/data || fail "what 10.0.9.1 sent differs"
    grep "$first\|virtio\|$second" /proc/interrupts
    touch /run/over
    echo "net: verified what $first and $second sent each other"
}
leaves() { [ "$(readlink "/proc/$other/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }
