# MinIO, its last public source, as a Go module. Erasure set of six folders, EC:2 = 4+2.
version=v0.0.0-20260212201848-7aac2a2c5b7c
binary=minio-$version
shape="six folders, 4+2 (EC:2), TLS"
syncs="the six shards by fdatasync and the six xl.meta (small objects lie in them) by O_DSYNC; neither renames nor folders"

fetch() {
  need go "the Go toolchain"
  scratch=$(mktemp -d)
  (
    cd "$scratch"
    printf 'module peers\n\ngo 1.26\n' >go.mod
    go get "github.com/minio/minio@$version"
    CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$BIN/$binary.new" github.com/minio/minio
  )
  chmod -R u+w "$scratch" && rm -rf "$scratch"
  mv "$BIN/$binary.new" "$BIN/$binary"
}

start() { # FOLDER PORT
  mkdir -p "$1/certs"
  cp "$CERTS/server.crt" "$1/certs/public.crt"
  cp "$CERTS/server.key" "$1/certs/private.key"
  export MINIO_ROOT_USER=$ACCESS_KEY MINIO_ROOT_PASSWORD=$SECRET_KEY MINIO_STORAGE_CLASS_STANDARD=EC:2
  # MinIO refuses folders on the root disk unless it is told that this is a test.
  export MINIO_CI_CD=1 MINIO_BROWSER=off MINIO_UPDATE=off
  exec "$BIN/$binary" server --quiet --certs-dir "$1/certs" --address "127.0.0.1:$2" "$1"/disk-{0..5}
}

url() { echo "https://127.0.0.1:$1"; }
