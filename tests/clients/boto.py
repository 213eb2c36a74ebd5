"""boto3 against the server: put, get, list, multipart, copy, delete, conditions, checksums, ranges."""

import hashlib
import os

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

import common

s3 = common.s3()
BUCKET = "boto"


def refused(status, code, call, **params):
    try:
        call(**params)
    except ClientError as error:
        got = error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]
        assert got == (status, code), f"{call.__name__} {params}: {got} instead of {(status, code)}"
        return error.response
    raise AssertionError(f"{call.__name__} {params}: not refused")


s3.create_bucket(Bucket=BUCKET)
s3.head_bucket(Bucket=BUCKET)
assert BUCKET in [b["Name"] for b in s3.list_buckets()["Buckets"]]
refused(404, "404", s3.head_bucket, Bucket="nobody")
refused(404, "NoSuchBucket", s3.list_objects_v2, Bucket="nobody")
refused(400, "InvalidBucketName", s3.create_bucket, Bucket="bad..name")

# Put, get, metadata, ranges.
body = common.some_bytes(300_000, 1)
put = s3.put_object(Bucket=BUCKET, Key="dir/a.bin", Body=body, Metadata={"k": "v"}, ContentType="text/x", CacheControl="no-cache")
assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
got = s3.get_object(Bucket=BUCKET, Key="dir/a.bin")
assert got["Body"].read() == body and got["Metadata"] == {"k": "v"} and got["ContentType"] == "text/x"
assert got["CacheControl"] == "no-cache"
for text, want in [("bytes=0-0", body[:1]), ("bytes=-5", body[-5:]), ("bytes=299990-", body[299990:]), ("bytes=10-9999999", body[10:])]:
    got = s3.get_object(Bucket=BUCKET, Key="dir/a.bin", Range=text)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206 and got["Body"].read() == want, text
refused(416, "InvalidRange", s3.get_object, Bucket=BUCKET, Key="dir/a.bin", Range="bytes=300000-")
refused(404, "NoSuchKey", s3.get_object, Bucket=BUCKET, Key="dir/none")
assert s3.head_object(Bucket=BUCKET, Key="dir/a.bin")["ContentLength"] == len(body)

# Conditions.
etag = put["ETag"]
refused(412, "PreconditionFailed", s3.put_object, Bucket=BUCKET, Key="dir/a.bin", Body=b"x", IfNoneMatch="*")
refused(412, "PreconditionFailed", s3.put_object, Bucket=BUCKET, Key="dir/a.bin", Body=b"x", IfMatch='"00000000000000000000000000000000"')
refused(404, "NoSuchKey", s3.put_object, Bucket=BUCKET, Key="dir/none", Body=b"x", IfMatch=etag)
s3.put_object(Bucket=BUCKET, Key="dir/a.bin", Body=body, IfMatch=etag)
refused(304, "304", s3.get_object, Bucket=BUCKET, Key="dir/a.bin", IfNoneMatch=etag)
refused(412, "PreconditionFailed", s3.get_object, Bucket=BUCKET, Key="dir/a.bin", IfMatch='"nope"')

# Checksums, by header and by trailer, verified, kept and returned.
for algorithm in ["CRC32", "SHA1", "SHA256"]:
    put = s3.put_object(Bucket=BUCKET, Key=f"sum/{algorithm}", Body=body, ChecksumAlgorithm=algorithm)
    got = s3.get_object(Bucket=BUCKET, Key=f"sum/{algorithm}", ChecksumMode="ENABLED")
    assert got[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"] and got["Body"].read() == body
refused(400, "BadDigest", s3.put_object, Bucket=BUCKET, Key="sum/bad", Body=b"abc", ChecksumCRC32="AAAAAA==")
refused(400, "BadDigest", s3.put_object, Bucket=BUCKET, Key="sum/bad", Body=b"abc", ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg==")
refused(404, "404", s3.head_object, Bucket=BUCKET, Key="sum/bad")

# Lists.
for n in range(25):
    s3.put_object(Bucket=BUCKET, Key=f"list/{n % 5}/{n:02}", Body=b"x")
pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="list/", PaginationConfig={"PageSize": 7})
assert [o["Key"] for p in pages for o in p.get("Contents", [])] == sorted(f"list/{n % 5}/{n:02}" for n in range(25))
pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="list/", Delimiter="/", PaginationConfig={"PageSize": 2})
assert [c["Prefix"] for p in pages for c in p.get("CommonPrefixes", [])] == [f"list/{n}/" for n in range(5)]
pages = s3.get_paginator("list_objects").paginate(Bucket=BUCKET, Prefix="list/", Delimiter="/", PaginationConfig={"PageSize": 2})
assert [c["Prefix"] for p in pages for c in p.get("CommonPrefixes", [])] == [f"list/{n}/" for n in range(5)]
odd = "list odd/ü &<>+%\n"
s3.put_object(Bucket=BUCKET, Key=odd, Body=b"x")
assert [o["Key"] for o in s3.list_objects_v2(Bucket=BUCKET, Prefix="list odd/")["Contents"]] == [odd]

# Multipart of 200 MiB, by the transfer manager, and by hand with parts out of order.
large = common.some_bytes(200 << 20, 2)
with open("large.bin", "wb") as file:
    file.write(large)
s3.upload_file("large.bin", BUCKET, "large", Config=TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=16 << 20, max_concurrency=4))
s3.download_file(BUCKET, "large", "large.back")
with open("large.back", "rb") as file:
    assert hashlib.sha256(file.read()).digest() == hashlib.sha256(large).digest()
head = s3.head_object(Bucket=BUCKET, Key="large")
assert head["ETag"].endswith('-13"'), head["ETag"]
upload = s3.create_multipart_upload(Bucket=BUCKET, Key="parts", Metadata={"m": "1"})["UploadId"]
parts = {}
for number in (3, 1, 2):
    piece = large[(number - 1) * (5 << 20) : number * (5 << 20)] if number < 3 else b"tail"
    parts[number] = s3.upload_part(Bucket=BUCKET, Key="parts", UploadId=upload, PartNumber=number, Body=piece)["ETag"]
listed = s3.list_parts(Bucket=BUCKET, Key="parts", UploadId=upload, MaxParts=2)
assert [p["PartNumber"] for p in listed["Parts"]] == [1, 2] and listed["IsTruncated"]
assert [u["UploadId"] for u in s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]] == [upload]
done = {"Parts": [{"PartNumber": n, "ETag": parts[n]} for n in (1, 2, 3)]}
refused(400, "InvalidPartOrder", s3.complete_multipart_upload, Bucket=BUCKET, Key="parts", UploadId=upload,
        MultipartUpload={"Parts": list(reversed(done["Parts"]))})
refused(400, "InvalidPart", s3.complete_multipart_upload, Bucket=BUCKET, Key="parts", UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": '"00000000000000000000000000000000"'}]})
first = s3.complete_multipart_upload(Bucket=BUCKET, Key="parts", UploadId=upload, MultipartUpload=done)
again = s3.complete_multipart_upload(Bucket=BUCKET, Key="parts", UploadId=upload, MultipartUpload=done)
assert first["ETag"] == again["ETag"]
got = s3.get_object(Bucket=BUCKET, Key="parts")
assert got["Body"].read() == large[: 10 << 20] + b"tail" and got["Metadata"] == {"m": "1"}
upload = s3.create_multipart_upload(Bucket=BUCKET, Key="small parts")["UploadId"]
small = [s3.upload_part(Bucket=BUCKET, Key="small parts", UploadId=upload, PartNumber=n, Body=b"x")["ETag"] for n in (1, 2)]
refused(400, "EntityTooSmall", s3.complete_multipart_upload, Bucket=BUCKET, Key="small parts", UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": n + 1, "ETag": e} for n, e in enumerate(small)]})
s3.abort_multipart_upload(Bucket=BUCKET, Key="small parts", UploadId=upload)
refused(404, "NoSuchUpload", s3.upload_part, Bucket=BUCKET, Key="small parts", UploadId=upload, PartNumber=1, Body=b"x")

# Copies: whole, with other metadata, of a part's range.
s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "large"})
assert s3.head_object(Bucket=BUCKET, Key="copy")["ContentLength"] == len(large)
s3.delete_object(Bucket=BUCKET, Key="large")
assert hashlib.sha256(s3.get_object(Bucket=BUCKET, Key="copy")["Body"].read()).digest() == hashlib.sha256(large).digest()
s3.copy_object(Bucket=BUCKET, Key="dir/b.bin", CopySource={"Bucket": BUCKET, "Key": "dir/a.bin"}, MetadataDirective="REPLACE", Metadata={"n": "w"})
assert s3.head_object(Bucket=BUCKET, Key="dir/b.bin")["Metadata"] == {"n": "w"}
refused(404, "NoSuchKey", s3.copy_object, Bucket=BUCKET, Key="x", CopySource={"Bucket": BUCKET, "Key": "none"})
upload = s3.create_multipart_upload(Bucket=BUCKET, Key="ranges")["UploadId"]
etag = s3.upload_part_copy(Bucket=BUCKET, Key="ranges", UploadId=upload, PartNumber=1,
                           CopySource={"Bucket": BUCKET, "Key": "copy"}, CopySourceRange="bytes=1000-6000999")["CopyPartResult"]["ETag"]
s3.complete_multipart_upload(Bucket=BUCKET, Key="ranges", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
assert s3.get_object(Bucket=BUCKET, Key="ranges")["Body"].read() == large[1000:6001000]

# What is not there says so.
refused(501, "NotImplemented", s3.put_bucket_versioning, Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
refused(501, "NotImplemented", s3.put_object_tagging, Bucket=BUCKET, Key="copy", Tagging={"TagSet": []})

# Deletes; a bucket goes when it is empty.
refused(409, "BucketNotEmpty", s3.delete_bucket, Bucket=BUCKET)
keys = [o["Key"] for p in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET) for o in p["Contents"]]
answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": k} for k in keys + ["none"]]})
assert sorted(d["Key"] for d in answer["Deleted"]) == sorted(keys + ["none"]) and "Errors" not in answer
s3.delete_object(Bucket=BUCKET, Key="none")
s3.delete_bucket(Bucket=BUCKET)
refused(404, "NoSuchBucket", s3.delete_bucket, Bucket=BUCKET)
print("boto3 passed")
