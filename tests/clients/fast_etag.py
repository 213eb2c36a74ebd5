"""What an SDK makes of a bucket whose ETags are no MD5s.

    fast_etag.py BUCKET
"""

import hashlib
import base64
import io
import sys

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

import common

BUCKET = sys.argv[1]
client = common.s3()

body = common.some_bytes(3 << 20, 1)
md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
etag = client.put_object(Bucket=BUCKET, Key="one", Body=body, ContentMD5=md5)["ETag"].strip('"')
assert "-" in etag and hashlib.md5(body).hexdigest() not in etag, etag
assert client.get_object(Bucket=BUCKET, Key="one", IfMatch=etag)["Body"].read() == body
try:
    client.put_object(Bucket=BUCKET, Key="one", Body=b"other", ContentMD5=md5)
    raise SystemExit("a wrong Content-MD5 was taken")
except ClientError as error:
    assert error.response["Error"]["Code"] == "BadDigest", error.response

large = common.some_bytes(20 << 20, 2)
config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=8 << 20)
client.upload_fileobj(io.BytesIO(large), BUCKET, "many", Config=config)
head = client.head_object(Bucket=BUCKET, Key="many")
assert head["ETag"].strip('"').endswith("-3"), head["ETag"]
found = io.BytesIO()
client.download_fileobj(BUCKET, "many", found, Config=config)
assert found.getvalue() == large
print("fast ETags passed")
