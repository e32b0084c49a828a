# Makes items with references in a real Nix store of the host. Prints NAME=PATH.
set -eu
work=/var/lib/machines/.stores
mkdir -p /nix $work/nix $work/build
mount --bind $work/nix /nix
export HOME=/root NIX_CONFIG='sandbox = false
build-users-group =
substitute = false'
mkdir -p $work/tools/bin && cp /bin/busybox $work/tools/bin/ && ln -sf busybox $work/tools/bin/sh
tools=$(nix-store --add $work/tools)
# system NAME COMMAND
system() {
	cat >$work/build/init <<F
#!$tools/bin/sh
export PATH=$tools/bin
echo "stage 2 of $1 in \$container, \$NOTIFY_SOCKET"
[ -e /bin/sh ] || busybox ln -s $tools/bin/sh /bin/sh
$2
F
	chmod 755 $work/build/init
	nix-build --no-out-link --expr "derivation { name = \"nixos-system-$1\"; system = builtins.currentSystem;
	  builder = \"\${builtins.storePath $tools}/bin/busybox\";
	  args = [ \"sh\" \"-c\" \"\${builtins.storePath $tools}/bin/busybox mkdir \$out; \${builtins.storePath $tools}/bin/busybox cp $work/build/* \$out/\" ]; }" 2>$work/log || { cat $work/log >&2; exit 1; }
}
plain=$(system plain 'trap "exit 0" 37; while :; do busybox sleep 0.1; done')
systemd=$(system systemd 'exec /usr/lib/systemd/systemd')
touch $work/build/kernel
metal=$(system metal true)
echo other >$work/other && other=$(nix-store --add $work/other)
for name in tools plain systemd metal other; do
	eval "echo $name=\$$name"
done
