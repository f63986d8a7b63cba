#!/bin/busybox sh
# An interactive guest: every driver of the payload, and a shell on the console.
. /lib.sh
start shell
hostname shell
echo "Type poweroff -f to end this guest."
while :; do
    setsid cttyhack sh
done
