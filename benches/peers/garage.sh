# Garage, as a crate. It has no erasure coding and no TLS of its own.
version=2.5.0
binary=garage-$version
shape="one node, six folders, one copy of each byte (no erasure coding), plain HTTP"
syncs="blocks and metadata, told so by data_fsync and metadata_fsync; unless told, nothing"

fetch() {
  need cargo "Rust"
  scratch=$(mktemp -d)
  cargo install garage --version "=$version" --locked --root "$scratch" --target-dir "$scratch/target" \
    --no-default-features --features lmdb,bundled-libs
  mv "$scratch/bin/garage" "$BIN/$binary"
  rm -rf "$scratch"
}

start() { # FOLDER PORT
  cat >"$1/garage.toml" <<TOML
metadata_dir = "$1/meta"
data_dir = [$(for n in 0 1 2 3 4 5; do printf '{ path = "%s/disk-%s", capacity = "10G" }, ' "$1" "$n"; done)]
db_engine = "lmdb"
metadata_fsync = true
data_fsync = true
replication_factor = 1
compression_level = "none"
rpc_bind_addr = "127.0.0.1:$(($2 + 1))"
rpc_public_addr = "127.0.0.1:$(($2 + 1))"
rpc_secret = "$(printf '%064d' 7)"
[s3_api]
s3_region = "us-east-1"
api_bind_addr = "127.0.0.1:$2"
TOML
  exec "$BIN/$binary" -c "$1/garage.toml" server
}

after_start() { # FOLDER PORT
  admin() { "$BIN/$binary" -c "$1/garage.toml" "${@:2}"; }
  for _ in $(seq 100); do admin "$1" status >/dev/null 2>&1 && break; sleep 0.2; done
  node=$(admin "$1" node id -q | cut -d@ -f1)
  admin "$1" layout assign -z here -c 50G "$node"
  admin "$1" layout apply --version 1
  # Garage makes the names of its keys by itself unless they are imported; those must look like its own.
  admin "$1" key import --yes -n bench "$GARAGE_ACCESS_KEY" "$GARAGE_SECRET_KEY"
  admin "$1" key allow --create-bucket "$GARAGE_ACCESS_KEY"
}

access_key=GK00000000000000000000beef
secret_key=$(printf '%064d' 11)
GARAGE_ACCESS_KEY=$access_key
GARAGE_SECRET_KEY=$secret_key

url() { echo "http://127.0.0.1:$1"; }
