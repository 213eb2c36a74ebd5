"""boto3 with buckets in host names (BUCKET.DOMAIN): virtual.py DOMAIN. The names are resolved here, to the server."""

import socket
import sys
import urllib.parse

import common

DOMAIN = sys.argv[1]
BUCKET = "virtual-bucket"
PORT = urllib.parse.urlsplit(common.ENDPOINT).port
asked = set()
resolve = socket.getaddrinfo


def resolve_here(host, *args, **kwargs):
    asked.add(host)
    return resolve("127.0.0.1" if host.endswith(DOMAIN) else host, *args, **kwargs)


socket.getaddrinfo = resolve_here
s3 = common.s3(endpoint=f"https://{DOMAIN}:{PORT}", addressing="virtual")
by_path = common.s3()

s3.create_bucket(Bucket=BUCKET)
assert BUCKET in [b["Name"] for b in s3.list_buckets()["Buckets"]]
body = common.some_bytes(300_000, 1)
for key in ["a", "dir/b c", "-/ready", f"{BUCKET}/a", "ü+&="]:
    put = s3.put_object(Bucket=BUCKET, Key=key, Body=body + key.encode())
    for client in (s3, by_path):
        got = client.get_object(Bucket=BUCKET, Key=key)
        assert got["ETag"] == put["ETag"] and got["Body"].read() == body + key.encode(), key
assert {o["Key"] for o in s3.list_objects_v2(Bucket=BUCKET)["Contents"]} == {"a", "dir/b c", "-/ready", f"{BUCKET}/a", "ü+&="}

url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "dir/b c"})
parts = urllib.parse.urlsplit(url)
assert parts.hostname == f"{BUCKET}.{DOMAIN}", url
status, _, got = common.request("GET", url, headers={"Host": parts.netloc})
assert status == 200 and got == body + b"dir/b c", status

upload = s3.create_multipart_upload(Bucket=BUCKET, Key="large/é")["UploadId"]
part = s3.upload_part(Bucket=BUCKET, Key="large/é", UploadId=upload, PartNumber=1, Body=body)
done = s3.complete_multipart_upload(
    Bucket=BUCKET, Key="large/é", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
)
assert done["Location"] == f"https://{BUCKET}.{DOMAIN}:{PORT}/large/%C3%A9", done["Location"]
s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "large/é"})
assert s3.get_object(Bucket=BUCKET, Key="copy")["Body"].read() == body

keys = [o["Key"] for o in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
assert len(s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in keys]})["Deleted"]) == len(keys)
s3.delete_bucket(Bucket=BUCKET)
assert f"{BUCKET}.{DOMAIN}" in asked, f"the bucket was never in a host name: {asked}"
print("boto3 with virtual hosts passed")
