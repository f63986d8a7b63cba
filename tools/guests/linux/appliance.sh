#!/bin/busybox sh
# A guest with drives and a network interface, whatever they are: does what `disk` and `net` do.
#
# Kernel command line: what theirs have, and
#                      ide          loads the drivers of IDE disks.
#                      restart      resets the guest once, between two lives of its first drive.
. /lib.sh
. /measure.sh
. /drives.sh
. /network.sh
start appliance
if grep -qw ide /proc/cmdline; then load_ide 1; fi
if grep -qw restart /proc/cmdline; then survive "$(option disk)"; fi
verify_all
fetch_from_outside
exchange
finish
