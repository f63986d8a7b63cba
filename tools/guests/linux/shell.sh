#!/bin/busybox sh
# An interactive guest: every driver of the payload, and a shell on the console.
#
# Kernel command line: once  no prompt: the shell says what it found, and the guest ends.
. /lib.sh
start shell
hostname shell
if grep -qw once /proc/cmdline; then
    setsid cttyhack sh -c 'echo "shell: $(nproc) processors"'
    finish
fi
echo "Type poweroff -f to end this guest."
while :; do
    setsid cttyhack sh
done
