# What every guest of the Linux payload begins with. Sourced by the init scripts;
# `busybox sh` runs its own applets by their names, so there is no PATH to speak of.

# Ends the guest. The text after "FAILED:" is what the tests look for.
fail() {
    echo "$NAME: FAILED: $*"
    finish
}

# A guest that is done powers itself off. There is no init system to ask, hence -f.
finish() {
    sync
    poweroff -f
    # The request returns before the machine is off.
    while :; do sleep 1; done
}

# Mounts the kernel's file systems and loads the drivers that the archive holds for this
# kernel. A kernel without a folder of its own there has them built in.
start() {
    NAME=$1
    /bin/busybox mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev
    echo "$NAME: init after $(cut -d ' ' -f 1 /proc/uptime) s"
    for module in "/lib/modules/$(uname -r)"/*.ko; do
        [ -e "$module" ] || continue
        insmod "$module" || fail "cannot load ${module##*/}"
    done
}

# Loads the drivers of IDE disks, which use DMA ($1 is 1) or not (0). Some may be there already; what
# is missing shows where there is no disk.
load_ide() {
    for module in "/lib/ide/$(uname -r)"/*.ko; do
        case $module in
        *-libata.ko) insmod "$module" "dma=$1" ;;
        *) insmod "$module" 2>/dev/null ;;
        esac
    done
}

# The value of the word `$1=...` of the kernel's command line.
option() {
    for word in $(cat /proc/cmdline); do
        case $word in "$1="*) echo "${word#*=}" ;; esac
    done
}

# Waits up to $1 seconds for the command that follows to succeed.
wait_for() {
    patience=$1
    shift
    until "$@" >/dev/null 2>&1; do
        patience=$((patience - 1))
        [ "$patience" -gt 0 ] || return 1
        sleep 1
    done
}
