#!/bin/busybox sh
# Not a guest of Bulkhead but a Linux host with KVM. Its one program is the monitor of tools/monitor: a Linux
# guest on Bulkhead's device models. The guest's serial port is the host's console, what is typed there
# included.
. /lib.sh
start host
/monitor --kernel /vmlinuz-cloud --initrd /shell.cpio --memory 256 --disk /drive.img --read-only \
    --command-line "console=ttyS0 quiet panic=-1 rng drive=/dev/vda" || fail "the monitor ended with $?"
finish
