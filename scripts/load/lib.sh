# shellcheck shell=bash
# What the load tests share: the generator, the server's address, where reports go.
# shellcheck source=../lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"

# The settings that all of them have, each from the environment.
# shellcheck disable=SC2034
duration=${DURATION:-10s}
# shellcheck disable=SC2034
objective=${SLO:-p99<100ms}
reports=${REPORTS:-load-reports}

# Reads URL and leaves the rest, which goes to `cresset bench`, in $rest.
read_arguments() { # ARGUMENTS…
  case ${1:---help} in
    -h | --help)
      help
      exit
      ;;
    -*) die "the server's address comes first; see scripts/load/${0##*/} --help" ;;
  esac
  url=$1 rest=("${@:2}")
  # A model's own words win over ours.
  [[ " ${rest[*]} " == *' --model '* || " ${rest[*]} " == *' -m '* || " ${rest[*]} " == *' --body '* || " ${rest[*]} " == *' --input '* ]] ||
    die "say what to load: --model NAME, or --body FILE"
  generator=$(find_generator)
  mkdir -p -- "$reports"
}

# CRESSET names the binary; else the one built here, else the one on the PATH.
find_generator() {
  local candidate
  for candidate in "${CRESSET:-}" "$root/target/release/cresset" "$(command -v cresset || true)" "$root/target/debug/cresset"; do
    if [[ -n $candidate && -x $candidate ]]; then
      printf '%s' "$candidate"
      return
    fi
  done
  die "no cresset is here; run: cargo build --release --no-default-features"
}

bench() { "$generator" bench "$url" "${rest[@]}" "$@"; }

# One number out of a report's JSON: an expression of Python over `levels`.
number() { # EXPRESSION <JSON
  python3 -c 'import json, sys; levels = json.load(sys.stdin)["levels"]; print(eval(sys.argv[1]))' "$1"
}

# What the server answers a second when it is never idle: the best of a few concurrencies.
capacity() {
  bench --concurrency 8,32 --duration "${CAPACITY_DURATION:-5s}" --json --quiet |
    number 'round(max(level["requests_per_second"] for level in levels), 1)'
}
