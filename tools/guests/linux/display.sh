#!/bin/busybox sh
# Guest `display`: shows text as VGA has it, then dots by the driver of its display. Each time it waits for
# a line on its console, from whoever has looked.
. /lib.sh
start display

dmesg | grep -o 'Console: colour VGA+ 80x25' || fail "the kernel has found no VGA: $(dmesg | grep Console:)"
# White on blue, all over.
printf '\033[44;37;1m\033[2J\033[H' >/dev/tty0
for row in $(seq 20); do echo "row $row of the guest's text" >/dev/tty0; done
echo "display: text is shown"
read -r line

for module in "/lib/display/$(uname -r)"/*.ko; do
    insmod "$module" || fail "cannot load ${module##*/}"
done
wait_for 20 test -c /dev/fb0 || fail "there is no /dev/fb0"
dmesg | grep -E 'bochs|fb0'
# No cursor, which would blink in the picture.
printf '\033[0m\033[2J\033[?25l' >/dev/tty0
size=$(cat /sys/class/graphics/fb0/virtual_size)
bytes=$(($(cat /sys/class/graphics/fb0/stride) * (${size#*,} / 3)))
# A third of the picture in the color whose four bytes are $1.
third() {
    printf "$1" >/run/dots
    while [ "$(wc -c </run/dots)" -lt "$bytes" ]; do
        cat /run/dots /run/dots >/run/twice
        mv /run/twice /run/dots
    done
    head -c "$bytes" /run/dots
}
{
    third '\000\000\377\000'
    third '\000\377\000\000'
    third '\377\000\000\000'
} >/run/picture
# In large pieces: of a write that ends with a line and begins in it Linux 6.1 shows nothing.
dd if=/run/picture of=/dev/fb0 bs=1M 2>/dev/null || fail "cannot write to /dev/fb0"
echo "display: a picture of $size dots is shown by $(cat /sys/class/graphics/fb0/name)"
read -r line
finish
