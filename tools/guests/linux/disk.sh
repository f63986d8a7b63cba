#!/bin/busybox sh
# Guest `disk`: makes a file system on each of its drives, writes to it, drops its caches, reads
# back, compares hashes, powers off.
#
# Kernel command line: disk=DEVICE,...  instead of the first NVMe name space; mib=N  to write
# instead of 64; exits=ALONE,DEEP,INTERRUPTS  to count what reads cost and to fail where 100 of them
# cost more exits, one by one or 32 at a time, or more interrupts 32 at a time.
. /lib.sh
. /measure.sh
. /drives.sh
start disk

verify_all
finish
