# rclone: sync a folder up, down, and compare by checksum.
export RCLONE_CONFIG_T_TYPE=s3 RCLONE_CONFIG_T_PROVIDER=Other RCLONE_CONFIG_T_ENDPOINT=$ENDPOINT \
  RCLONE_CONFIG_T_ACCESS_KEY_ID=$ACCESS_KEY RCLONE_CONFIG_T_SECRET_ACCESS_KEY=$SECRET_KEY RCLONE_CA_CERT=$CA RCLONE_RETRIES=1
mkdir -p up/deep/er
for n in 1 2 3; do head -c $((n * 70000)) /dev/urandom > "up/deep/file $n"; done
head -c 200M /dev/urandom > up/deep/er/large
: > up/empty
rclone mkdir T:rclone
rclone sync --s3-chunk-size 16M up T:rclone/tree
rclone check --download up T:rclone/tree
rm "up/deep/file 2"
rclone sync up T:rclone/tree
test "$(rclone lsf -R --files-only T:rclone/tree | wc -l)" = 4
rclone copy T:rclone/tree down
diff -r up down
rclone copyto T:rclone/tree/deep/er/large T:rclone/copy
rclone copyto T:rclone/copy copy.back
cmp up/deep/er/large copy.back
rclone purge T:rclone
