#!/bin/busybox sh
# A guest with drives and a network interface, whatever they are: does what `disk` and `net` do.
#
# Kernel command line: what theirs have, and
#                      ide          loads the drivers of IDE disks.
#                      records=N    writes N records to each drive, and nothing else.
#                      bad=, slow=, pulled=  devices that fail, and nothing else.
#                      neighbour=N  works on the drive for N seconds, and nothing else.
#                      restart      resets the guest once, between two lives of its first drive.
#                      full=DEVICE,...  writes to these drives until their overlays are full.
#                      pair         has two interfaces of a network without an uplink send to each other,
#                                   and looks for nothing outside.
. /lib.sh
. /measure.sh
. /drives.sh
. /network.sh
. /faults.sh
start appliance
if grep -qw ide /proc/cmdline; then load_ide 1; fi
if [ -n "$(option records)" ]; then
    for device in $(option disk | tr , ' '); do keep_records "$device" "$(option records)"; done
    finish
fi
if [ -n "$(option bad)" ]; then suffer && finish; fi
if [ -n "$(option neighbour)" ]; then
    bytes=4194304
    neighbour "$(option disk)" "$(option neighbour)"
    finish
fi
if grep -qw restart /proc/cmdline; then survive "$(option disk)"; fi
verify_all
fill_all
if grep -qw pair /proc/cmdline; then
    cross
else
    fetch_from_outside
    exchange
fi
finish
