#!/bin/busybox sh
# Guest `net`: gets an address, fetches a file over HTTP, checks its hash, powers off. With a peer it
# offers what it fetched to it before, and fetches the same from it.
#
# Kernel command line: payload=URL  where the file is. Without it the DHCP server's boot
# file name is the URL (QEMU: -netdev user,bootfile=URL), and without that the default.
# own=ADDRESS peer=ADDRESS  to have an address beside that of DHCP, and that of another guest.
. /lib.sh
. /network.sh
start net

fetch_from_outside
exchange
finish
