;; What the script of "guix system container" does at run time, by Guix' own modules: PID-FILE SYSTEM.
(use-modules (gnu build linux-container) (gnu system file-systems) (guix build utils) (ice-9 match))

(define store-mount
  (file-system (device "/gnu/store") (mount-point "/gnu/store") (type "none")
               (flags '(bind-mount read-only)) (check? #f) (create-mount-point? #t)))

(match (cdr (command-line))
  ((pid-file system)
   (call-with-container (cons store-mount %container-file-systems)
     (lambda ()
       (setenv "HOME" "/root")
       (setenv "TMPDIR" "/tmp")
       (setenv "GUIX_NEW_SYSTEM" system)
       (for-each mkdir-p '("/run" "/bin" "/etc" "/home" "/var"))
       (primitive-load (string-append system "/boot")))
     #:namespaces %namespaces #:host-uids 65536 #:lock-mounts? #f #:writable-root? #t
     #:process-spawned-hook
     (lambda (pid)
       (call-with-output-file pid-file (lambda (port) (display pid port)))))))
