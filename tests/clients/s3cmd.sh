# s3cmd: put, get, list, multipart of 200 MiB, copy, sync, delete.
host=${ENDPOINT#https://}
s3() { s3cmd --access_key="$ACCESS_KEY" --secret_key="$SECRET_KEY" --host="$host" --host-bucket="$host" --ca-certs="$CA" --no-progress "$@"; }
head -c 200M /dev/urandom > large
echo hello > small
s3 mb s3://s3cmd-bucket
s3 put --multipart-chunk-size-mb=15 large s3://s3cmd-bucket/dir/large
s3 put small s3://s3cmd-bucket/small
s3 get s3://s3cmd-bucket/dir/large large.back
cmp large large.back
s3 cp s3://s3cmd-bucket/dir/large s3://s3cmd-bucket/copy
s3 get s3://s3cmd-bucket/copy copy.back
cmp large copy.back
mkdir tree back && cp small tree/a && head -c 300000 /dev/urandom > tree/b
s3 sync tree/ s3://s3cmd-bucket/tree/
s3 sync s3://s3cmd-bucket/tree/ back/
diff -r tree back
test "$(s3 ls -r s3://s3cmd-bucket | wc -l)" = 5
s3 del --recursive --force s3://s3cmd-bucket
s3 rb s3://s3cmd-bucket
