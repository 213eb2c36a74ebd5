# restic: backup, check, restore, compare.
export AWS_ACCESS_KEY_ID=$ACCESS_KEY AWS_SECRET_ACCESS_KEY=$SECRET_KEY RESTIC_PASSWORD=test RESTIC_REPOSITORY="s3:$ENDPOINT/restic-bucket/repo"
restic() { command restic --cacert "$CA" --quiet "$@"; }
mkdir -p tree/deep
head -c 60M /dev/urandom > tree/deep/large
for n in $(seq 50); do head -c $((n * 900)) /dev/urandom > tree/file-$n; done
restic init
restic backup tree
rm tree/file-7; echo more > tree/more
restic backup tree
restic check --read-data
restic restore latest --target back
diff -r tree back/tree
restic forget --keep-last 1 --prune
restic check
