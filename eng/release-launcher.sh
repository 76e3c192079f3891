#!/bin/sh
# Starts the program in lib, beside this file, from wherever and by whatever link it is called.
home=$(dirname -- "$(readlink -f -- "$0")")
case $(PATH=$PATH:/usr/sbin:/sbin ldconfig -p 2>/dev/null) in
*libssl.so.3* | *libssl.so.1.1* | '') ;; # the program looks for it itself and would end with a core dump
*)
  if [ -z "${LD_LIBRARY_PATH:-}" ]; then
    echo "fedrlora: this system has no libssl; install OpenSSL's library (Debian, Ubuntu: apt-get install libssl3)." >&2
    exit 3
  fi
  ;;
esac
# Commands that the program prints begin as this one did.
case $0 in */*) started=$0 ;; *) started=./$0 ;; esac # sh may have been given its name alone
FEDRLORA_STARTED_AS=$started exec "$home/lib/fedrlora" "$@"
