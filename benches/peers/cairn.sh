# Cairn of this tree, six folders, 4+2.
shape="six folders, 4+2, TLS"
syncs="the six shards of an object and the commit of its row, before it answers"
binary=cairn

# Built by the caller: PROFILE tells how.
fetch() { :; }

start() { # FOLDER PORT
  export CAIRN_ROOT_ACCESS_KEY=$ACCESS_KEY CAIRN_ROOT_SECRET_KEY=$SECRET_KEY
  exec "$CAIRN" server --data "$1" --s3-listen "127.0.0.1:$2" --tls "$CERTS/server.crt,$CERTS/server.key"
}

url() { echo "https://127.0.0.1:$1"; }
