# What the scripts here share. Sourced, never run:
#   . "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck shell=bash
# shellcheck disable=SC2034 # root and cache are for whoever sources this

# A script stops where a command in $(…) fails, too.
shopt -s inherit_errexit

# The checkout, and where downloads and builds that outlive it are kept.
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cache=${CRESSET_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/cresset}

# Progress and errors go to stderr, so that a script's stdout stays its answer.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# One line: what is wrong, and what to do about it.
die() {
  say "error: $*"
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# A file's bytes; none where it isn't there.
size_of() { stat -c %s -- "$1" 2>/dev/null || echo 0; }

# "530.6 MB", from bytes.
megabytes() { printf '%d.%d MB' $(($1 / 1000000)) $(($1 % 1000000 / 100000)); }

# libtorch's wheels that we pin are built for this platform only.
require_platform() {
  local system machine
  system=$(uname -s) machine=$(uname -m)
  [[ $system == Linux && $machine == x86_64 ]] ||
    die "this is $system on $machine, and the pinned libtorch is built for Linux on x86_64 only; build on such a machine"
}

# Debian's names for what building needs and this machine lacks, one a line. Looked for by what they bring,
# so that a tool from elsewhere counts.
missing_packages() {
  have g++ || echo g++
  have curl || echo curl
  have unzip || echo unzip
  have python3 || echo python3
  # pip is asked for one thing: where the package index is.
  [[ -n ${PIP_INDEX_URL:-} ]] || python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
  [[ -n ${CURL_CA_BUNDLE:-}${SSL_CERT_FILE:-} || -s /etc/ssl/certs/ca-certificates.crt || -s /etc/pki/tls/certs/ca-bundle.crt ]] ||
    echo ca-certificates
}

# What installs those, as one line to type.
install_line() { # PACKAGES
  echo "apt-get install --no-install-recommends $*"
}

# The comment at the head of a script is its help.
help() {
  sed -n '2,/^set -/ { /^#/ s/^# \{0,1\}//p; }' "$0"
}

# --- containers ---------------------------------------------------------------------------------------

# Leaves the client in $docker. Debian's own first: another one on the PATH may not fit the daemon.
require_docker() {
  docker=$(PATH=/usr/bin:$PATH command -v docker) || die "docker is missing; run: $(install_line docker.io)"
  "$docker" info >/dev/null 2>&1 || die "docker's daemon doesn't answer; start it (or run this as a user who may use it), then run this again"
}

require_debootstrap() {
  ((EUID == 0)) || die "debootstrap needs root; run this as root"
  have debootstrap || die "debootstrap is missing; run: $(install_line debootstrap)"
}

# A Debian bookworm with nothing but the packages named, in a folder.
bare_debian() { # DIR PACKAGE,PACKAGE…
  local log
  log=$(debootstrap --variant=minbase --include="$2" bookworm "$1" 2>&1) || die "debootstrap failed: $(tail -n 1 <<<"$log")"
  rm -rf -- "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*
  # An authority that this machine trusts beside Debian's own (a company's proxy) is trusted there, too.
  cp -- /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/ca-certificates.crt"
  [[ ! -d /usr/local/share/ca-certificates ]] || cp -a -- /usr/local/share/ca-certificates "$1/usr/local/share/"
}

# This machine's Rust, put into such a folder.
add_rust() { # DIR
  local sysroot
  sysroot=$(cd -- "$root" && rustc --print sysroot)
  cp -a -- "$sysroot/bin" "$sysroot/lib" "$1/usr/local/"
}
