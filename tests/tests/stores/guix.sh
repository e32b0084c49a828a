# Makes real items in the host's Guix store, by a real daemon: Debian's Guile and Shepherd as a Guix system has them.
# Prints the paths that the tests need, NAME=PATH.
set -eu
work=/var/lib/machines/.stores
arch=$(uname -m)-linux-gnu

mkdir -p /gnu/store $work/gnu $work/var /var/guix
mount --bind $work/gnu /gnu/store
mount --bind $work/var /var/guix
systemd-run --quiet --unit=test-guix-daemon guix-daemon --disable-chroot
i=0
until [ -S /var/guix/daemon-socket/socket ]; do
	i=$((i + 1)); [ $i -lt 300 ] || { systemctl status test-guix-daemon >&2; exit 1; }; sleep 0.1
done

# add NAME DIRECTORY [DEPENDENCY...]: with dependencies as a build, which finds the references.
cat >$work/add.scm <<'F'
(use-modules (guix store) (guix derivations) (ice-9 match))
(define (build store name source dependencies)
  (let* ((busybox (string-append (car dependencies) "/bin/busybox"))
         (script (string-append busybox " cp -r " source " $out"))
         (drv (derivation store name busybox (list "sh" "-c" script)
                          #:sources (cons source dependencies))))
    (parameterize ((current-build-output-port (%make-void-port "w")))
      (build-derivations store (list drv)))
    (derivation->output-path drv)))
(match (cdr (command-line))
  ((name directory)
   (with-store store
     (display (add-to-store store name #t "sha256" directory))))
  ((name directory dependencies ...)
   (with-store store
     (set-build-options store #:use-substitutes? #f #:offload? #f)
     (let ((source (add-to-store store (string-append name "-source") #t "sha256" directory)))
       (display (build store name source dependencies))))))
F
add() { guix repl -- $work/add.scm "$@" 2>$work/log || { cat $work/log >&2; exit 1; }; }

cd $work
mkdir -p tools/bin && cp /bin/busybox tools/bin/ && ln -sf busybox tools/bin/sh
tools=$(add tools $work/tools)

real=$(readlink -f /usr/bin/guile)
mkdir -p glibc/lib && cp -L $(ldd $real | grep -o '/[^ ]*') glibc/lib/
cp -r /usr/lib/$arch/gconv glibc/lib/
glibc=$(add glibc $work/glibc)

mkdir -p guile/bin && cp $real guile/bin/guile
patchelf --force-rpath --set-interpreter $glibc/lib/ld-linux-x86-64.so.2 --set-rpath $glibc/lib guile/bin/guile
guile=$(add guile $work/guile $tools $glibc)

lib=/usr/lib/$arch/guile/3.0
mkdir -p modules/ccache modules/scheme modules/lib
cp -r $lib/ccache/. modules/ccache/
cp -r /usr/share/guile/3.0/. modules/scheme/
for part in shepherd fibers; do
	cp -r $lib/site-ccache/$part* modules/ccache/
	cp -r /usr/share/guile/site/3.0/$part* modules/scheme/
done
[ ! -d $lib/extensions ] || cp -rL $lib/extensions/. modules/lib/
find /usr/lib/$arch -name 'fibers-*.so*' -exec cp -L {} modules/lib/ \;
cp /usr/lib/$arch/shepherd/crash-handler.so modules/lib/
modules=$(add modules $work/modules)

mkdir -p profile/bin
cat >profile/bin/guile <<F
#!$tools/bin/sh
export GUILE_SYSTEM_PATH=$modules/scheme GUILE_SYSTEM_COMPILED_PATH=$modules/ccache
export GUILE_SYSTEM_EXTENSIONS_PATH=$modules/lib GUILE_EXTENSIONS_PATH=$modules/lib
export GCONV_PATH=$glibc/lib/gconv
exec $guile/bin/guile "\$@"
F
chmod 755 profile/bin/guile
profile=$(add profile $work/profile $tools $guile $modules $glibc)

mkdir -p shepherd/bin
cat >shepherd/bin/shepherd <<F
#!$profile/bin/guile --no-auto-compile
!#
(apply (@ (shepherd) main) (cdr (command-line)))
F
cat >shepherd/bin/herd <<F
#!$profile/bin/guile --no-auto-compile
!#
(apply (@ (shepherd scripts herd) main) (cdr (command-line)))
F
chmod 755 shepherd/bin/*
shepherd=$(add shepherd $work/shepherd $tools $profile)

# system NAME: a system whose boot program does what Guix' does last.
system() {
	mkdir -p $1
	ln -sfn $profile $1/profile
	cat >$1/shepherd.conf <<F
(register-services
 (list (service '(hello) #:start (lambda () (format #t "service hello of $1 runs~%") #t) #:stop (const #f))))
(start-service (lookup-service 'hello))
F
	cat >$1/boot <<F
(format #t "boot of $1: ~s~%" (environ))
(format #t "descriptors ~s~%" ((@ (ice-9 ftw) scandir) "/proc/self/fd"))
(mkdir "/var/run")
(mkdir "/var/run/shepherd" #o700)
;; Debian's modules name their libraries by path.
(system* "$tools/bin/busybox" "mkdir" "-p" "$lib")
(symlink "$modules/lib" "$lib/extensions")
(symlink "$modules/lib" "/usr/lib/$arch/shepherd")
(unless (file-exists? "/bin/sh") (symlink "$tools/bin/sh" "/bin/sh"))
(force-output)
(execl "$shepherd/bin/shepherd" "shepherd" "--config" (string-append (getenv "GUIX_NEW_SYSTEM") "/shepherd.conf")
       "--logfile=/var/shepherd.log" "--socket=/var/run/shepherd/socket")
F
	add system $work/$1 $tools $profile $shepherd
}
one=$(system one)
two=$(system two)
mkdir -p metal && cp -r one/. metal/ && touch metal/kernel metal/initrd metal/parameters
metal=$(add system $work/metal $tools $profile $shepherd)
mkdir -p script
other=$(add unrelated $work/script)
cat >run-container <<F
#!$profile/bin/guile --no-auto-compile
!#
(setenv "GUIX_NEW_SYSTEM" "$one")
(primitive-load (string-append "$one" "/boot"))
F
script=$(add run-container $work/run-container $tools $profile $one)
for name in tools glibc guile modules profile shepherd one two metal script other; do
	eval "echo $name=\$$name"
done
