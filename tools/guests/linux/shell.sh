#!/bin/busybox sh
# An interactive guest: every driver of the payload, and a shell on the console.
#
# Kernel command line: once        no prompt: the shell says what it found, and the guest ends.
#                      drive       reads the file on the first NVMe drive, which takes no writes;
#                                  drive=DEVICE on another one.
#                      ide         reads the same on the IDE disk, by DMA and by PIO.
#                      rng         reads the entropy device.
#                      hvc         prints at the virtio console, and reads a line there.
#                      vga         wants the kernel to show text as VGA does.
#                      uart        the same at the serial port that is a function.
#                      time=CLOCK  waits until the kernel keeps its time by CLOCK.
. /lib.sh
start shell
hostname shell
clock=$(option time)
if [ -n "$clock" ]; then
    current=/sys/devices/system/clocksource/clocksource0/current_clocksource
    wait_for 10 grep -qx "$clock" "$current" || fail "the time is kept by $(cat "$current")"
    echo "shell: the time is kept by $clock"
fi
# Reads the file on drive $1 and compares its hash.
verify() {
    wait_for 30 test -b "$1" || fail "no $1"
    mkdir -p /mnt
    mount -t ext2 -o ro "$1" /mnt || fail "cannot mount $1"
    read=$(sha256sum /mnt/data | cut -d ' ' -f 1)
    [ "$read" = "$(cat /drive.sha256)" ] || fail "read sha256 $read"
    umount /mnt
}
# Reads the IDE disk with DMA ($1 is 1) or without (0), that is by $2, which Linux calls $3.
verify_ide() {
    load_ide "$1"
    verify /dev/sda
    mode=$(cat /sys/class/ata_device/dev1.0/xfer_mode)
    [ "$mode" = "$3" ] || fail "the IDE disk is used by $mode"
    echo "shell: verified sha256 $read by $2 on $(cat /sys/block/sda/device/model) of $(blockdev --getsize64 /dev/sda) bytes"
    grep ata_piix /proc/interrupts
    rmmod ata_piix || fail "cannot unload ata_piix"
    rmmod libata || fail "cannot unload libata"
}
if grep -qw drive /proc/cmdline; then
    device=$(option drive)
    device=${device:-/dev/nvme0n1}
    wait_for 30 test -b "$device" || fail "no $device"
    [ "$(blockdev --getro "$device")" = 1 ] || fail "$device takes writes"
    verify "$device"
    grep -iE 'nvme|virtio' /proc/interrupts
    block=/sys/block/${device##*/}
    called=$(cat "$block/device/model" 2>/dev/null || cat "$block/serial")
    echo "shell: verified sha256 $read on $called of $(blockdev --getsize64 "$device") bytes"
fi
if grep -qw ide /proc/cmdline; then
    verify_ide 1 UDMA/33 XFER_UDMA_2
    verify_ide 0 PIO XFER_PIO_4
fi
if grep -qw rng /proc/cmdline; then
    rng=/sys/class/misc/hw_random/rng_current
    wait_for 10 grep -q '^virtio_rng' "$rng" || fail "random numbers are of $(cat "$rng")"
    head -c 4096 /dev/hwrng >/run/random || fail "cannot read random numbers"
    # What is random has no shorter form.
    [ "$(gzip -c /run/random | wc -c)" -gt 4096 ] || fail "random numbers repeat themselves"
    grep virtio /proc/interrupts
    echo "shell: read $(wc -c </run/random) random bytes of $(cat "$rng")"
fi
if grep -qw hvc /proc/cmdline; then
    wait_for 10 test -c /dev/hvc0 || fail "no /dev/hvc0"
    exec 3<>/dev/hvc0 || fail "cannot open /dev/hvc0"
    # More than the console's queue holds at once.
    for number in $(seq 100); do
        echo "line $number of the virtio console" >&3 || fail "cannot print at /dev/hvc0"
    done
    echo "shell: type a line at hvc0"
    read -r line <&3 || fail "cannot read at /dev/hvc0"
    exec 3<&-
    echo "shell: read \"$line\" at hvc0"
fi
if grep -qw uart /proc/cmdline; then
    for path in /sys/bus/pci/drivers/serial/*/tty/*; do port=${path##*/}; done
    [ -c "/dev/$port" ] || fail "8250_pci drives no port"
    # A port that is opened forgets what was typed before.
    exec 3<>"/dev/$port" || fail "cannot open $port"
    stty -F "/dev/$port" 115200 -echo || fail "cannot set $port up"
    for number in $(seq 20); do
        echo "line $number of the second port" >&3 || fail "cannot print at $port"
    done
    echo "shell: type a line at the second port"
    read -r line <&3 || fail "cannot read at $port"
    grep ttyS /proc/interrupts
    exec 3<&-
    echo "shell: read \"$line\" at the second port"
fi
if grep -qw vga /proc/cmdline; then
    text=$(grep -ho 'VGA+' /sys/class/vtconsole/*/name) || fail "text is shown by $(cat /sys/class/vtconsole/*/name)"
    echo "to be seen" >/dev/tty0 || fail "cannot print at /dev/tty0"
    echo "shell: text is shown by $text"
fi
if grep -qw once /proc/cmdline; then
    # The end of a session hangs its terminal up, which throws away what waits to be sent; stty
    # waits for that.
    setsid cttyhack sh -c 'echo "shell: $(nproc) processors"; stty -echo'
    finish
fi
echo "Type poweroff -f to end this guest."
while :; do
    setsid cttyhack sh
done
