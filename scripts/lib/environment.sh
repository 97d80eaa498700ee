# Sourced by the other scripts: installs what a build needs and says where its outputs go.
# Does nothing where everything is there already.

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"

install_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ "${#missing[@]}" -eq 0 ] && return
  say "installing system packages: ${missing[*]}"
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then as_root=(sudo); fi
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

if ! command -v cargo >/dev/null && [ -r "$HOME/.cargo/env" ]; then . "$HOME/.cargo/env"; fi
if ! command -v cargo >/dev/null; then
  say "cargo is missing: install a Rust toolchain first (https://rustup.rs)"
  exit 1
fi

# RocksDB is C++ (g++, make) with bindings made at build time (libclang); ccache spares its ten
# minutes when only a version number of some crate has changed.
if command -v dpkg-query >/dev/null; then
  install_packages g++ make clang libclang-dev ccache
else
  say "not Debian: make sure that a C++ compiler, libclang and ccache are installed"
fi

cache=${XDG_CACHE_HOME:-$HOME/.cache}/hongbao
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
if command -v ccache >/dev/null; then
  export CC="ccache gcc" CXX="ccache g++" CCACHE_DIR=${CCACHE_DIR:-$cache/ccache}
fi
