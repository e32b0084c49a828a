# Makes a store by hand, on a host without tools: busybox as the init of two systems. Prints NAME=PATH.
set -eu
work=/var/lib/machines/.stores
mkdir -p /gnu/store $work/gnu
mount --bind $work/gnu /gnu/store
item() { echo /gnu/store/$(printf '%032d' $1)-$2; }

tools=$(item 1 tools)
mkdir -p $tools/bin && cp /bin/busybox $tools/bin/ && ln -s busybox $tools/bin/sh
# system NUMBER NAME: an init that shows what it was given.
system() {
	path=$(item $1 system)
	mkdir -p $path && ln -s $tools $path/profile
	cat >$path/boot <<F
#!$tools/bin/sh
PATH=$tools/bin
[ -e /bin/sh ] || busybox ln -s $tools/bin/sh /bin/sh
trap 'echo $2 heard TERM; exit 0' TERM
busybox ls /proc/self/fd | busybox tr '\\n' ' '
echo "booted $2"
while :; do busybox sleep 0.1; done
F
	chmod 755 $path/boot
	echo $path
}
one=$(system 2 one)
two=$(system 3 two)
metal=$(item 4 system) && cp -r $one $metal && touch $metal/kernel $metal/initrd $metal/parameters
text=$(item 5 system) && cp -r $one $text && chmod 644 $text/boot
other=$(item 6 other) && echo unrelated >$other
# Items that are links: one within the store, one that would lead out of it.
within=$(item 7 link) && ln -s $other $within
out=$(item 8 out) && ln -s /etc/shadow $out
script=$(item 9 run-container)
printf '#!%s/bin/sh\n(setenv "GUIX_NEW_SYSTEM" "%s")\n(primitive-load "%s/boot")\n' $tools $one $one >$script
for name in tools one two metal text other within out script; do
	eval "echo $name=\$$name"
done
