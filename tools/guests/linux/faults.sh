# What a guest does whose devices fail: `. /faults.sh` behind lib.sh and network.sh.

read_at() { dd if="$1" of=/dev/null bs=4096 skip=$(($2 / 8)) count=1 iflag=direct 2>/run/said; }
write_at() { dd if=/dev/zero of="$1" bs=4096 seek=$(($2 / 8)) count=1 oflag=direct 2>/run/said; }
now() { cut -d . -f 1 /proc/uptime; }

# Sector 2048 of drive $1 can never be read, and sector 4096 not be written the first time, which
# the guest's driver may make up for. Everything else works.
bad_sectors() {
    wait_for 30 test -b "$1" || fail "no $1"
    for again in 1 2; do
        if read_at "$1" 2048; then fail "$1: a bad sector was read"; fi
        read_at "$1" 2040 || fail "$1: a good sector was not read: $(cat /run/said)"
    done
    write_at "$1" 4096 || echo "faults: $1: a write failed"
    write_at "$1" 4096 || fail "$1: no write helps: $(cat /run/said)"
    write_at "$1" 2048 || fail "$1: cannot write what cannot be read: $(cat /run/said)"
    echo "faults: $1: a bad sector is an error, and the others work"
}

# Drive $1 takes longer for a read than its driver waits.
stalled() {
    wait_for 30 test -b "$1" || fail "no $1"
    read_at "$1" 0 || fail "$1: $(cat /run/said)"
    echo "faults: $1: may stall"
    begin=$(now)
    while read_at "$1" 8; do
        [ $(($(now) - begin)) -lt 90 ] || fail "$1: no read failed"
    done
    echo "faults: $1: a read failed after $(($(now) - begin)) s"
    wait_for 60 read_at "$1" 16 || fail "$1: it never works again"
    echo "faults: $1: works again"
}

has_carrier() { [ "$(cat "/sys/class/net/$interface/carrier")" = "$1" ]; }

# The cable of what the network leads outside by is drawn, and put back.
unplugged() {
    fetch_from_outside
    echo "faults: $interface: may lose its link"
    wait_for 60 has_carrier 0 || fail "the link is still up"
    echo "faults: $interface: its link is lost"
    wait_for 60 has_carrier 1 || fail "the link is still down"
    fetch_from_outside
    echo "faults: $interface: works again"
}

# Drive $1 is pulled out while it is written to.
pulled() {
    wait_for 30 test -b "$1" || fail "no $1"
    writes=0
    while write_at "$1" $((writes % 1000 * 8)); do
        writes=$((writes + 1))
        [ $writes -ne 20 ] || echo "faults: $1: may be pulled out"
        [ $writes -lt 20000 ] || fail "$1: no write failed"
    done
    if read_at "$1" 0; then fail "$1: something was read"; fi
    echo "faults: $1: is gone after $writes writes"
}

# Works on drive $1 for $2 seconds while others' fail, and looks that nothing takes long.
neighbour() {
    longest=0
    rounds=0
    end=$(($(now) + $2))
    while [ "$(now)" -lt "$end" ]; do
        begin=$(now)
        verify "$1"
        took=$(($(now) - begin))
        [ $took -le $longest ] || longest=$took
        rounds=$((rounds + 1))
    done
    [ $longest -le 20 ] || fail "a round took $longest s"
    echo "faults: $1: verified $rounds times, in $longest s at most"
}

suffer() {
    for device in $(option bad | tr , ' '); do bad_sectors "$device"; done
    stalled "$(option slow)"
    unplugged
    pulled "$(option pulled)"
}
