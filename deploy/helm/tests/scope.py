"""scope.py BUCKET PREFIX: a key may write below its prefix and nowhere else."""

import sys

import common
from botocore.exceptions import ClientError

bucket, prefix = sys.argv[1:3]
client = common.s3()
client.put_object(Bucket=bucket, Key=f"{prefix}inside", Body=b"x")
assert client.get_object(Bucket=bucket, Key=f"{prefix}inside")["Body"].read() == b"x"
for where in ((bucket, "outside"), ("gitlab-cache", f"{prefix}inside")):
    try:
        client.put_object(Bucket=where[0], Key=where[1], Body=b"x")
    except ClientError as error:
        assert error.response["Error"]["Code"] == "AccessDenied", error
        continue
    sys.exit(f"{where} could be written")
