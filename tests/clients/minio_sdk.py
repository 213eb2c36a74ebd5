"""The MinIO SDK for Python: put, get, list, multipart of 200 MiB, copy, delete."""

import hashlib
import io
import urllib.parse

import urllib3
from minio import Minio
from minio.commonconfig import CopySource
from minio.deleteobjects import DeleteObject

import common

client = Minio(
    urllib.parse.urlsplit(common.ENDPOINT).netloc,
    access_key=common.ACCESS_KEY,
    secret_key=common.SECRET_KEY,
    secure=True,
    http_client=urllib3.PoolManager(cert_reqs="CERT_REQUIRED", ca_certs=common.CA, retries=False),
)
BUCKET = "minio-sdk"
client.make_bucket(BUCKET)
assert client.bucket_exists(BUCKET) and not client.bucket_exists("nobody")
large = common.some_bytes(200 << 20, 3)
for name, body in [("small", b"abc"), ("empty", b""), ("dir/large", large)]:
    client.put_object(BUCKET, name, io.BytesIO(body), len(body), part_size=16 << 20)
    answer = client.get_object(BUCKET, name)
    assert hashlib.sha256(answer.read()).digest() == hashlib.sha256(body).digest(), name
    answer.close()
answer = client.get_object(BUCKET, "dir/large", offset=70 << 20, length=12345)
assert answer.read() == large[70 << 20 : (70 << 20) + 12345]
answer.close()
client.copy_object(BUCKET, "copy", CopySource(BUCKET, "dir/large"))
answer = client.get_object(BUCKET, "copy")
assert hashlib.sha256(answer.read()).digest() == hashlib.sha256(large).digest(), "the copy"
answer.close()
# The SDK gives a page's objects first, then its prefixes.
assert sorted(o.object_name for o in client.list_objects(BUCKET)) == ["copy", "dir/", "empty", "small"]
names = [o.object_name for o in client.list_objects(BUCKET, recursive=True)]
assert names == ["copy", "dir/large", "empty", "small"]
assert list(client.remove_objects(BUCKET, [DeleteObject(n) for n in names])) == []
client.remove_bucket(BUCKET)
print("MinIO SDK passed")
